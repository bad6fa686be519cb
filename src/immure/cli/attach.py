"""`immure attach`: give a running sandbox a provider."""

import click

from immure.cli.sandboxes import PROVIDERS, SandboxName, change, environment


@click.command(help="Attach a provider to a running sandbox: its rules, and new placeholders in the agent's home.")
@click.argument("provider", type=click.Choice(PROVIDERS))
@click.argument("sandbox", type=SandboxName())
@click.pass_context
def command(context: click.Context, provider: str, sandbox: str) -> None:
    status, changed = change("attach", provider=provider, sandbox=sandbox, environment=environment())
    for identifier in changed:
        click.echo(f"{provider} is attached to {identifier}. An agent that runs there already has to be started again.", err=True)
    context.exit(status)
