"""`immure completion SHELL`: the script that a shell sources to complete our words."""

import click
from click.shell_completion import get_completion_class


@click.command(help='Print the completion script of a shell. For bash: eval "$(immure completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "immure", "_IMMURE_COMPLETE").source())
