"""`immure logs`: the audit trail, a line each."""

import os
import sys
from collections.abc import Iterator

import click

from immure.audit.render import render
from immure.broker import roster
from immure.cli.sandboxes import SandboxName
from immure.paths import Paths


@click.command(help="Show what was allowed and denied, oldest first.")
@click.option("--json", "as_json", is_flag=True, help="Print the events as they are kept: one JSON object a line (OCSF).")
@click.option("-n", "--lines", type=click.IntRange(min=0), help="Only the last N.")
@click.option("--sandbox", metavar="ID", type=SandboxName(), help="Only those of one sandbox: its id, or the beginning of it.")
def command(as_json: bool, lines: int | None, sandbox: str | None) -> None:
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    found = list(_events(Paths(dict(os.environ)).audit, sandbox))
    for line in found[len(found) - lines if lines is not None and lines < len(found) else 0 :]:
        click.echo(line.decode(errors="replace") if as_json else render(line, colour=colour), color=colour)


def _events(path: str, sandbox: str | None) -> Iterator[bytes]:
    if not os.path.exists(path):
        return
    # An agent can put these words into an event, but no bare quotes.
    begin = b"" if sandbox is None else f'"correlation_uid":"{roster.PREFIX}{sandbox.removeprefix(roster.PREFIX)}'.encode()
    with open(path, "rb") as file:
        for line in file:
            if begin in line:
                yield line.rstrip(b"\n")
