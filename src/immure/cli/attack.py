"""`immure attack`: hostile programs against a sandbox made with your own options and settings, and what stopped each."""

import json
import os
import signal
import sys
from collections import Counter
from dataclasses import asdict
from typing import Any

import click

from immure.attack import trial
from immure.attack.decoy import decoy
from immure.attack.verdict import Result, Verdict
from immure.cli.application import launch_options, merged
from immure.cli.options import LAUNCH, Values
from immure.errors import EXIT_FAILURE, UsageError
from immure.paths import Paths

_MARKS: dict[Verdict, str] = {"stopped": "stopped ", "reached": "REACHED ", "unproven": "unproven", "known": "open    "}
_COLOURS = {"stopped": "green", "reached": "red", "unproven": "yellow", "known": "cyan"}
_HELP = """Attack a sandbox of your own: hostile programs try to get out of it, and each is scored.

The sandbox has your settings and these options; its workspace is a decoy, which goes away with it.
Exit status 1 if anything was not stopped.
"""


@click.command(help=_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@launch_options
@click.pass_context
def command(context: click.Context, /, as_json: bool, **parameters: Any) -> None:
    options = _arguments(merged(context.obj, parameters))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # the decoys are to be removed
    home = os.path.realpath(os.path.expanduser("~"))
    shows_progress = not as_json and sys.stderr.isatty()

    def told(made: int, of: int) -> None:
        if shows_progress:
            click.echo(f"\r{made} of {of} attacks made", nl=made == of, err=True)

    try:
        with decoy(home, Paths(dict(os.environ)).socket) as laid_out:
            results = trial.run(laid_out, options, told)
    except trial.NotStarted as refused:
        context.exit(refused.status)
    counts = Counter(one.verdict for one in results)
    is_well = not counts["reached"] and not counts["unproven"]
    if as_json:
        counted = {verdict: counts[verdict] for verdict in _MARKS}
        click.echo(json.dumps({"ok": is_well, **counted, "attacks": [asdict(one) for one in results]}, indent=2))
    else:
        _show(results)
        score = f"{counts['stopped']} of {len(results) - counts['known']} attacks stopped"
        click.echo(f"\n{score}; {counts['reached']} reached what they were after, {counts['unproven']} proved nothing.")
        click.echo(f"{counts['known']} more are known not to be stopped: see THREATS.md.")
    context.exit(0 if is_well else EXIT_FAILURE)


def _arguments(values: Values) -> list[str]:
    """The options of a launch as they are typed. Raises UsageError for a workspace, which would be attacked in earnest."""
    if values["workspace"] is not None:
        what = "the workspace of an attack is a decoy, and yours is not touched"
        raise UsageError(what, code="usage", hint="leave --workspace out")
    words: list[str] = []
    for option in LAUNCH:
        given = values[option.name]
        if isinstance(given, bool):
            words += [option.spellings[-1]] * given
        else:
            for value in given if isinstance(given, list) else [given] if given is not None else []:
                words += [option.spellings[-1], value]
    return words


def _show(results: list[Result]) -> None:
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = max(len(one.id) for one in results)
    for one in results:
        mark = click.style(_MARKS[one.verdict], fg=_COLOURS[one.verdict])
        by = f"{one.stopped_by} ({one.found})" if one.verdict == "stopped" and one.found else one.stopped_by or "nothing"
        why = by if one.verdict in ("stopped", "known") else f"{one.found}; {one.control}"
        click.echo(f"{mark} {one.id.ljust(width)}  {why}", color=colour)
