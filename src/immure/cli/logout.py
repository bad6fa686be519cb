"""`immure logout`: revoke the logins that are immure's own, and forget the one that was imported."""

import os

import click

from immure.broker import login_name
from immure.broker.attachment import codex_home_of
from immure.cli.login import changing, say


@click.command(help="Sign out of Codex: revoke immure's own logins, forget the imported one, remove both from the vault.")
@click.argument("provider", type=click.Choice(["codex"]), default="codex")
@click.pass_context
def command(context: click.Context, provider: str) -> None:
    here = login_name.of_home(codex_home_of(os.environ))
    failed = False
    with changing() as (logins, _):
        names = [name for name in logins.held() if name == here or login_name.home_of(name) is None]
        if not names:
            say(f"no {provider} login is in the vault")
        for name in names:
            why = logins.sign_out(name)
            failed = failed or bool(why)
            if why:
                say(f"Removed here, but not revoked: {login_name.described(name)}: {why}.")
            elif name == here:
                say(f"Forgotten here: {login_name.described(name)}. It is that of your own Codex too: `codex logout` ends it there.")
            else:
                say(f"Signed out: {login_name.described(name)}.")
    context.exit(1 if failed else 0)
