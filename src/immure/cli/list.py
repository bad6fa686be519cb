"""`immure list`: the sandboxes that run."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import click

from immure.audit.render import neutral
from immure.cli.sandboxes import running

_DAY = 24 * 3600


@click.command(help="Show the sandboxes that run: id, program, workspace, since when, providers, pid of the first process.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    status, found = running()
    if status:
        context.exit(status)
    if as_json:
        shown = [{**each, "since": datetime.fromtimestamp(each["since"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")} for each in found]
        click.echo(json.dumps(shown, indent=2))
    elif not found:
        click.echo("no sandbox is running", err=True)
    else:
        rows = [("ID", "COMMAND", "WORKSPACE", "SINCE", "PROVIDERS", "PID"), *map(_row, found)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    context.exit(0)


def _row(sandbox: dict[str, Any]) -> tuple[str, ...]:
    since = datetime.fromtimestamp(sandbox["since"])
    when = f"{since:%H:%M:%S}" if time.time() - sandbox["since"] < _DAY else f"{since:%Y-%m-%d}"
    providers = ",".join(name if state == "ready" else f"{name} (login {state})" for name, state in sandbox["providers"].items()) or "-"
    return sandbox["id"], neutral(sandbox["command"]), neutral(sandbox["workspace"]), when, providers, str(sandbox["pid"])
