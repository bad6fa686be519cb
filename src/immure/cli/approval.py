"""`immure login approve` and `immure login deny`: the user's word on a sign-in that something inside a sandbox has begun."""

import click

from immure.cli.sandboxes import SandboxName, change


@click.command(help="Let something in a sandbox sign in, once, within a quarter of an hour.")
@click.argument("sandbox", type=SandboxName())
@click.option("--browser", is_flag=True, help="With a browser on this machine: let it come back to the sandbox.")
@click.pass_context
def approve(context: click.Context, sandbox: str, *, browser: bool) -> None:
    context.exit(change("approve", sandbox=sandbox, browser=browser)[0])


@click.command(help="Refuse the sign-in that a sandbox asks for, and those that it will ask for.")
@click.argument("sandbox", type=SandboxName())
@click.pass_context
def deny(context: click.Context, sandbox: str) -> None:
    context.exit(change("deny", sandbox=sandbox)[0])
