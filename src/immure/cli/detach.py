"""`immure detach`: take a provider from running sandboxes."""

import click

from immure.cli.sandboxes import PROVIDERS, SandboxName, change


@click.command(help="Detach a provider from a running sandbox: its rules go, and its placeholders are dead from the next request on.")
@click.argument("provider", type=click.Choice(PROVIDERS))
@click.argument("sandbox", type=SandboxName(), required=False)
@click.option("--all", "from_all", is_flag=True, help="From every sandbox that has it.")
@click.pass_context
def command(context: click.Context, provider: str, sandbox: str | None, from_all: bool) -> None:
    if from_all == (sandbox is not None):
        raise click.UsageError("Name a sandbox (immure list shows them), or say --all.", context)
    status, changed = change("detach", provider=provider, sandbox=sandbox)
    for identifier in changed:
        click.echo(f"{provider} is detached from {identifier}.", err=True)
    if from_all and not changed and status == 0:
        click.echo(f"no sandbox has {provider}", err=True)
    context.exit(status)
