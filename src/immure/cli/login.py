"""`immure login`: sign in on the host, and see which logins there are. Secrets come from a browser or standard input, never by argument."""

import json
import os
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from immure.agents.codex import read_login
from immure.agents.codex.host_keyring import read_keyring
from immure.agents.codex.login_file import FILE
from immure.audit.sink import Sink
from immure.broker import callback, desk, login_name
from immure.broker.attachment import codex_home_of
from immure.broker.issuer import Issuer
from immure.broker.lineage import Lineage
from immure.broker.login import Logins
from immure.cli.approval import approve, deny
from immure.cli.sandboxes import tell_logins_changed
from immure.config.settings import Settings, load_settings
from immure.errors import UsageError
from immure.paths import Paths
from immure.providers import oauth
from immure.vault import open_vault
from immure.vault.key import find_keyring


def say(sentence: str) -> None:
    click.echo(sentence, err=True)


@contextmanager
def opened() -> Iterator[tuple[Logins, Settings]]:
    """The logins of this user."""
    paths = Paths(dict(os.environ))
    settings = load_settings(paths.settings)
    vault = open_vault(paths.vault, os.environ, say)
    sink = Sink(paths.audit)
    try:
        yield Logins(vault, settings.upstreams, sink.write), settings
    finally:
        sink.close()


@contextmanager
def changing() -> Iterator[tuple[Logins, Settings]]:
    """The same for a command that changes them; at its end sandboxes that run go by what was changed."""
    try:
        with opened() as made:
            yield made
    finally:
        tell_logins_changed()


@click.group(help="Sign in for sandboxes, or show the logins that there are.")
def command() -> None:
    pass


command.add_command(approve, "approve")
command.add_command(deny, "deny")


@command.command("codex", help="Sign in to Codex: with a browser, or in the way that an option says. The login is immure's own.")
@click.option("--device-auth", "way", flag_value="device", help="Enter a code in a browser anywhere.")
@click.option("--with-api-key", "way", flag_value="api-key", help="Read an API key, whose use is billed, from standard input.")
@click.option("--with-access-token", "way", flag_value="access-token", help="Read a personal access token (at-…) or an agent identity.")
@click.option("--import", "way", flag_value="import", help="Take over the login of your own Codex, from its file or its keyring.")
@click.pass_context
def codex(context: click.Context, way: str | None) -> None:
    with changing() as (logins, settings):
        reception = desk.Desk(Issuer(settings.upstreams), say)
        if way == "import":
            _import(logins, reception)
        else:
            _keep(logins, _made(reception, way))
    context.exit(0)


def _made(reception: desk.Desk, way: str | None) -> Lineage:
    match way:
        case "device":
            return reception.by_device_code()
        case "api-key":
            return reception.by_api_key(_line("the API key"))
        case "access-token":
            return reception.by_access_token(_line("the access token"))
    with callback.listening() as listener:
        return reception.by_browser(listener, sys.stdin if sys.stdin.isatty() else None, _visit)


def _line(what: str) -> str:
    """A secret from standard input; a terminal does not show it."""
    if sys.stdin.isatty():
        text: str = click.prompt(f"Paste {what}", hide_input=True, err=True)
        return text.strip()
    return sys.stdin.read(oauth.MAX_TOKEN + 1).strip()


def _visit(url: str) -> None:
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(url)


def _import(logins: Logins, reception: desk.Desk) -> None:
    home = os.path.realpath(codex_home_of(os.environ))
    try:
        read_login(os.path.join(home, FILE))
    except UsageError as error:
        if error.code != "login.missing":
            raise
        lineage = reception.by_copy(read_keyring(home, lambda: find_keyring(os.environ)), "the keyring's login")
        if lineage.kind == "chatgpt":
            say("The Codex outside keeps its copy in the keyring, and has to sign in again once immure has renewed this login.")
        _keep(logins, lineage)
    else:
        logins.take(home, say)
        say(f"Signed in: {login_name.described(login_name.of_home(home))}.")


def _keep(logins: Logins, lineage: Lineage) -> None:
    name = logins.sign_in(lineage)
    who = desk.described(lineage.claims())
    signed_in, *others = logins.announcement(name, codex_home_of(os.environ))
    say(f"{signed_in.removesuffix('.')} ({who})." if who and sys.stderr.isatty() else signed_in)
    for sentence in others:
        say(sentence)


@command.command("status", help="Show every login: which is used, where it comes from, and how long it lasts. No secret is shown.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    held: dict[str, Lineage] = {}
    first = ""
    if os.path.exists(Paths(dict(os.environ)).vault):  # looking makes none
        with opened() as (logins, _):
            held, first = logins.held(), logins.first(codex_home_of(os.environ))
    found = [_state(name, lineage, used=name == first) for name, lineage in held.items()]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not found:
        click.echo("No login is in the vault. `immure login codex` makes one; `immure codex` imports that of your own Codex.")
    else:
        for state, lineage in zip(found, held.values(), strict=True):
            click.echo(_line_of(state, desk.described(lineage.claims()) if sys.stdout.isatty() else ""))
    context.exit(0)


def _state(name: str, lineage: Lineage, *, used: bool) -> dict[str, Any]:
    return {
        "login": name,
        "kind": lineage.kind,
        "source": lineage.source or "immure",
        "used": used,
        "state": "ended" if lineage.ended else "signed in",
        "ended": lineage.ended,
        "issued": _time(lineage.last_refresh),
        "expires": _time(lineage.expires),
        "billed": lineage.kind == "api_key",
    }


def _line_of(state: dict[str, Any], who: str) -> str:
    kind = desk.kind_in_words(state["kind"])
    parts = [f"{'*' if state['used'] else ' '} {state['login']}: {kind}"]
    parts += [who] if who else []
    if state["ended"]:
        parts.append(f"ended ({state['ended']}): {login_name.advice(state['login'])}")
    elif state["issued"]:
        parts.append(f"issued {state['issued']}")
    if state["expires"] and not state["ended"]:
        renewed = state["kind"] == "chatgpt"
        parts.append(f"access token until {state['expires']}, then renewed" if renewed else f"until {state['expires']}")
    if state["billed"]:
        parts.append("its use is billed")
    return "; ".join(parts)


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
