"""`immure doctor`: what this host lacks, found by trying, each with the command that mends it."""

import json
import os
import sys
from dataclasses import asdict

import click

from immure.doctor import Check, examine
from immure.errors import EXIT_FAILURE

_MARKS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@click.command(help="Check whether this host can do what immure needs, by trying it. Exit status 1 if something needed is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    found = []
    for check in examine(os.environ, os.getcwd()):
        found.append(check)
        if not as_json:
            click.echo(_line(check), color=colour)
    is_well = all(check.status != "failed" for check in found)
    if as_json:
        click.echo(json.dumps({"ok": is_well, "checks": [asdict(check) for check in found]}, indent=2))
    context.exit(0 if is_well else EXIT_FAILURE)


def _line(check: Check) -> str:
    mark = click.style(_MARKS[check.status], fg=_COLOURS[check.status])
    hint = f"\n{' ' * 25}hint: {check.fix}" if check.fix else ""
    return f"{mark} {check.id:16} {check.detail}{hint}"
