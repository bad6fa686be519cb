"""`immure trust`: the programs that rules and credentials name, pinned at their first use."""

import json
import os
import time

import click

from immure import client
from immure.broker.trust import Pin, State, Trust
from immure.errors import UsageError
from immure.paths import Paths

_IN_WORDS: dict[State, str] = {"same": "as it was", "changed": "has changed", "unreadable": "cannot be read"}


def _trust() -> Trust:
    return Trust(Paths(dict(os.environ)).trust)


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


@click.group(help="Say which programs are the ones that you know. Each that a rule names is pinned as it was when you first used it.")
def command() -> None:
    pass


@command.command("list", help="Show every pinned program, and whether it is as it was.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(as_json: bool) -> None:
    trust = _trust()
    rows = [(pin, trust.state(pin)) for pin in trust.pins()]
    if as_json:
        click.echo(json.dumps([_described(pin, state) for pin, state in rows], indent=2))
    for pin, state in [] if as_json else rows:
        day = time.strftime("%Y-%m-%d", time.localtime(pin.since))
        click.echo(f"{pin.digest[:12]}  since {day}  {_IN_WORDS[state]:14}  {pin.path}")


def _described(pin: Pin, state: State) -> dict[str, object]:
    return {"path": pin.path, "sha256": pin.digest, "since": pin.since, "state": state}


@command.command("update", help="Trust programs as they are now. Sandboxes that run let them through from then on.")
@click.argument("paths", metavar="[PATH]…", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every pinned program that has changed.")
@click.pass_context
def update(context: click.Context, paths: tuple[str, ...], everything: bool) -> None:
    if everything == bool(paths):
        raise click.UsageError("name programs, or --all", context)
    trust = _trust()
    gone = 0
    if everything:
        states = [(pin.path, trust.state(pin)) for pin in trust.pins()]
        paths = tuple(path for path, state in states if state == "changed")
        for path in (path for path, state in states if state == "unreadable"):
            _say(f"{path} cannot be read. If it is gone for good: immure trust remove {path}")
            gone = 1
    try:
        for path in paths:
            before, now = trust.update(os.path.realpath(path), time.time())
            same = "is as it was" if before == now else f"is trusted as it is now: sha256 {now[:12]}…, was {before[:12]}…"
            _say(f"{os.path.realpath(path)} {same}")
    finally:
        client.ask("trust")
    context.exit(gone)


@command.command("remove", help="Forget programs. Their next use is their first; sandboxes that run are not touched.")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
def remove(paths: tuple[str, ...]) -> None:
    trust = _trust()
    for path in paths:
        trust.remove(_known(trust, path))


def _known(trust: Trust, path: str) -> str:
    """The path of a pin, as it was given or as it is resolved: what is to be forgotten may be gone."""
    pinned = {pin.path for pin in trust.pins()}
    for candidate in (os.path.abspath(path), os.path.realpath(path)):
        if candidate in pinned:
            return candidate
    raise UsageError(f"{path} is not among the trusted programs", code="trust.unknown", hint="immure trust list")
