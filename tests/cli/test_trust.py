"""`immure trust` by its words: what it prints, and what it refuses."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from immure.broker.trust import Trust
from immure.cli.application import immure
from immure.errors import UsageError

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def invoke(*words: str) -> Result:
        return CliRunner().invoke(immure, ["trust", *words], env={"IMMURE_HOME": str(tmp_path)})

    return invoke


@pytest.fixture
def programs(tmp_path: Path) -> list[Path]:
    """Three that are pinned: one as it was, one that has changed, one that is gone."""
    made = [tmp_path / name for name in ("a-same", "b-changed", "c-gone")]
    for path in made:
        path.write_text("first")
    Trust(str(tmp_path / "state" / "trust.db")).settle(map(str, made), 1_790_000_000)
    made[1].write_text("other")
    made[2].unlink()
    return made


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_list_says_what_has_changed(run: Run, programs: list[Path]) -> None:
    day = time.strftime("since %Y-%m-%d", time.localtime(1_790_000_000))
    short = digest("first")[:12]
    assert run("list").stdout.splitlines() == [
        f"{short}  {day}  as it was       {programs[0]}",
        f"{short}  {day}  has changed     {programs[1]}",
        f"{short}  {day}  cannot be read  {programs[2]}",
    ]


def test_the_list_for_programs(run: Run, programs: list[Path]) -> None:
    listed = json.loads(run("list", "--json").stdout)
    assert [entry["state"] for entry in listed] == ["same", "changed", "unreadable"]
    assert listed[0] == {"path": str(programs[0]), "sha256": digest("first"), "since": 1_790_000_000, "state": "same"}


def test_an_empty_list(run: Run) -> None:
    assert run("list").output == ""
    assert json.loads(run("list", "--json").stdout) == []


def test_an_update_says_what_has_become_of_what(run: Run, programs: list[Path], tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(programs[1])
    result = run("update", str(link), str(programs[0]))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [
        f"{programs[1]} is trusted as it is now: sha256 {digest('other')[:12]}…, was {digest('first')[:12]}…",
        f"{programs[0]} is as it was",
    ]
    assert "has changed" not in run("list").stdout


def test_an_update_of_all_tells_of_those_that_are_gone(run: Run, programs: list[Path]) -> None:
    result = run("update", "--all")
    assert result.exit_code == 1
    assert f"immure trust remove {programs[2]}" in result.stderr
    assert str(programs[0]) not in result.stderr
    assert [entry["state"] for entry in json.loads(run("list", "--json").stdout)] == ["same", "same", "unreadable"]
    run("remove", str(programs[2]))
    assert run("update", "--all").exit_code == 0


def test_what_is_forgotten_is_listed_no_more(run: Run, programs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(programs[2].parent)
    assert run("remove", "c-gone", str(programs[0])).exit_code == 0
    assert [os.path.basename(entry["path"]) for entry in json.loads(run("list", "--json").stdout)] == ["b-changed"]


@pytest.mark.parametrize("words", [("update", "/nowhere"), ("update", "/usr/bin/env"), ("remove", "/nowhere")])
def test_what_is_not_pinned_is_an_error(words: tuple[str, ...], run: Run, programs: list[Path]) -> None:
    result = run(*words)
    assert isinstance(result.exception, UsageError)
    assert result.exception.code in ("trust.unknown", "trust.unreadable")


@pytest.mark.parametrize("words", [("update",), ("update", "--all", "/usr/bin/env"), ("remove",)])
def test_what_to_update_must_be_said(words: tuple[str, ...], run: Run) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
