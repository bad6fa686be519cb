"""The quick reader of launch options and click read the same thing."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immure import client
from immure.cli import application, options

WORDS = st.lists(
    st.sampled_from(
        [
            "run",
            "codex",
            "--",
            "--allow",
            "--ro",
            "--env",
            "-w",
            "--workspace",
            "--policy",
            "--hide",
            "--pids",
            "--file-size",
            "--provider",
            "--log-denials",
            "a.example",
            "A=1",
            "exec",
            "-x",
            "",
        ]
    ),
    max_size=9,
)

# (command line, verb, what differs from the empty options, command)
TABLE = [
    (["run", "--", "true"], "run", {}, ["true"]),
    (["run", "true", "--", "-x"], "run", {}, ["true", "--", "-x"]),
    (["codex"], "codex", {}, []),
    (["codex", "--help"], "codex", {}, ["--help"]),
    (["codex", "--", "exec"], "codex", {}, ["--", "exec"]),
    (["--allow", "a", "codex", "exec", "-m", "x"], "codex", {"allow": ["a"]}, ["exec", "-m", "x"]),
    (["--allow", "a", "run", "--allow", "b", "-w", "d", "--", "true"], "run", {"allow": ["a", "b"], "workspace": "d"}, ["true"]),
    (["--log-denials", "run", "--log-denials", "--", "true"], "run", {"log_denials": True}, ["true"]),
    (["run", "--env", "--", "true"], "run", {"env": ["--"]}, ["true"]),
]


@pytest.mark.parametrize(("argv", "verb", "values", "command"), TABLE)
def test_read(argv: list[str], verb: str, values: dict[str, Any], command: list[str]) -> None:
    assert (verb, options.empty() | values, command) == options.read(argv)


@pytest.mark.parametrize("argv", [[], ["--help"], ["logs"], ["run"], ["run", "--"], ["run", "--alow", "x", "--", "true"], ["run", "-w"]])
def test_what_is_not_understood_is_left_to_click(argv: list[str]) -> None:
    assert options.read(argv) is None


@settings(max_examples=300)
@given(WORDS)
def test_click_reads_the_same(argv: list[str]) -> None:
    quick = options.read(argv)
    if quick is None:
        return
    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "launch", lambda *request: seen.append(request) or 0)
        assert application.main(argv) == 0
    assert [quick] == seen
