"""`immure stop`: end the broker and every sandbox of this user."""

import click

from immure import client


@click.command(help="End the broker and every sandbox. A new broker starts with the next command that needs one.")
@click.pass_context
def command(context: click.Context) -> None:
    if not client.stop():
        click.echo("no broker is running", err=True)
    context.exit(0)
