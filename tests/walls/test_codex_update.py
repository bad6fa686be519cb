"""What a user meets who has updated Codex: one error before anything starts, with the command that mends it."""

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from near_side import assert_one_error

from immure.testing.household import Household
from immure.testing.openai.service import FakeOpenAI


@pytest.fixture
def codex(tmp_path: Path) -> Path:
    """A program that is installed as Codex and does nothing."""
    program = tmp_path / "bin" / "codex"
    program.parent.mkdir()
    install(program, "true")
    return program


def install(program: Path, name: str) -> None:
    new = program.with_suffix(".new")
    shutil.copy(shutil.which(name) or name, new)
    new.rename(program)


@pytest.fixture
def owner(fake: FakeOpenAI, codex: Path) -> Iterator[Household]:
    with Household(fake, codex=str(codex)) as made:
        yield made


def test_an_update_of_codex_is_met_before_the_launch(owner: Household, codex: Path) -> None:
    first, second = owner.run("codex"), owner.run("codex")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert f"immure: trusted from now on as it is (see immure trust list): {codex}\n" in first.stderr
    assert second.stderr == ""

    install(codex, "false")
    refused = owner.run("codex")
    assert_one_error(refused.returncode, refused.stderr, expected=2, code="trust.changed")
    assert str(codex) in refused.stderr
    assert os.listdir(Path(owner.immure_home) / "state" / "sandboxes") == []

    _, _, command = refused.stderr.rpartition(": ")
    assert shlex.split(command) == ["immure", "trust", "update", str(codex)]
    assert owner.run(*shlex.split(command)[1:]).returncode == 0
    after = owner.run("codex")
    assert (after.returncode, after.stderr) == (1, "")


def test_the_same_codex_installed_anew_is_no_change(owner: Household, codex: Path) -> None:
    owner.run("codex")
    install(codex, "true")
    again = owner.run("codex")
    assert (again.returncode, again.stderr) == (0, "")
