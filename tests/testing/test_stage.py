"""What a demonstration prints is readable without colour, counts what failed, and never fills the screen with a token."""

import io
import subprocess
import sys

import pytest

from immure.testing.stage import Output, Stage, shortened

TOKEN = "fake-at-" + "Ab3" * 400


@pytest.mark.parametrize(
    ("colour", "shown"), [(False, "\nOne\n  ✓ held\n  ✗ not held\n    │ said\n    │ twice\n"), (True, "\x1b[31m✗\x1b[0m not held\n")]
)
def test_lines(colour: bool, shown: str) -> None:
    out = io.StringIO()
    stage = Stage(out, colour=colour)
    stage.heading("One")
    stage.check([1], "held")
    stage.check("", "not held")
    stage.quote("said\ntwice\n")
    assert shown in out.getvalue()
    assert ("\x1b" in out.getvalue()) == colour
    assert stage.failed == 1


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain words", "plain words"),
        (f"token: {TOKEN}!", f"token: {TOKEN[:20]}…{TOKEN[-6:]}!"),
        ("ab " * 100, ("ab " * 100)[:149] + "…"),
    ],
)
def test_long_lines_are_cut(line: str, shown: str) -> None:
    assert shortened(line) == shown


def test_output_is_shown_as_it_comes_and_kept_whole() -> None:
    out = io.StringIO()
    code = f"import sys; print({TOKEN!r}); print('aside', file=sys.stderr)"
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        output = Output(program, Stage(out, colour=False))
        program.wait()
        output.finish()
    assert (output.stdout.decode(), output.stderr.decode()) == (f"{TOKEN}\n", "aside\n")
    assert sorted(out.getvalue().splitlines()) == ["    │ aside", f"    │ {TOKEN[:20]}…{TOKEN[-6:]}"]
