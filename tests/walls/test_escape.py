"""Hostile programs against the walls. Each attempt is made inside, where it must fail, and outside, where it must work.

The outside run is the control: it shows that the target was there to be reached and that the program knows how. There is none where
it would change this machine, or where the machine or an ordinary user cannot do the thing outside either: those tables say so.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from claims import (
    FILES,
    FILES_WITHOUT_CONTROL,
    KERNEL,
    NETWORK,
    NETWORK_WITHOUT_CONTROL,
    PROTECTED,
    PROTECTED_BY_THE_MOUNT_TREE,
    SHOWN,
    Outcomes,
    assert_stopped,
    outcomes_of,
)
from far_side import Listeners, listeners
from near_side import make_repository

from immure.sandbox.protected import GIT_DIRECTORY, WORKING_TREE
from immure.testing.household import Household

HOSTILE = Path(__file__).parent / "hostile.py"
SECRET = "what-nobody-inside-may-read"


class Scene:
    """A workspace that is a repository, a secret beside it, and listeners; attempts are made `inside` or `outside`."""

    def __init__(self, home: Household, found: Listeners) -> None:
        self.home = home
        self.heard = found.heard
        secret = Path(home.home) / "secret.txt"
        secret.write_text(SECRET)
        broker = f"{home.immure_home}/run/broker.sock"
        self._targets = json.dumps({**found.targets, "secret": str(secret), "pid": os.getpid(), "broker": broker})

    def inside(self, *attempts: str) -> Outcomes:
        shutil.copy(HOSTILE, self.home.workspace)
        result = self.home.run("run", "--", "python3", "hostile.py", *attempts, text=self._targets)
        assert result.returncode == 0, result.stderr
        return outcomes_of(result.stdout)

    def outside(self, directory: Path, *attempts: str) -> Outcomes:
        words = [sys.executable, str(HOSTILE), *attempts]
        result = subprocess.run(words, cwd=directory, input=self._targets, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
        return outcomes_of(result.stdout)


def snapshot(workspace: Path) -> dict[str, bytes | None]:
    """Everything that is protected, as it lies on the host."""
    git = [workspace / ".git", workspace / ".git/modules/sub", workspace / ".git/worktrees/linked", workspace / "nested/.git"]
    paths = [directory / one.path for directory in git for one in GIT_DIRECTORY]
    paths += [workspace / name for name in ("tools/hooks", "team.gitconfig", "vendor/sub/.git", *(one.path for one in WORKING_TREE))]
    found = [below for path in paths for below in (path, *(path.rglob("*") if path.is_dir() else ()))]
    return {str(path): path.read_bytes() if path.is_file() else None for path in found if path.exists()}


@pytest.fixture(scope="module")
def scene(household: Household) -> Iterator[Scene]:
    make_repository(Path(household.workspace))
    with listeners(household.home) as found:
        yield Scene(household, found)


@pytest.fixture(scope="module")
def inside(scene: Scene) -> Outcomes:
    """All attempts, in one sandbox. Whatever they say of themselves: nothing protected may have changed, nobody may have heard them."""
    workspace = Path(scene.home.workspace)
    before = snapshot(workspace)
    scene.heard.clear()
    outcomes = scene.inside(*SHOWN, *FILES, *FILES_WITHOUT_CONTROL, *NETWORK, *NETWORK_WITHOUT_CONTROL, *KERNEL)
    outcomes |= scene.inside(*SHOWN, *PROTECTED, *PROTECTED_BY_THE_MOUNT_TREE)
    assert snapshot(workspace) == before
    assert scene.heard == []
    return outcomes


@pytest.mark.parametrize("attempt", {**FILES, **NETWORK})
def test_what_is_outside_is_out_of_reach(attempt: str, scene: Scene, inside: Outcomes, tmp_path: Path) -> None:
    assert_stopped(inside, attempt, {**FILES, **NETWORK}[attempt])
    assert scene.outside(tmp_path, attempt)[attempt][0], "the control: outside it works"


@pytest.mark.parametrize("attempt", {**FILES_WITHOUT_CONTROL, **NETWORK_WITHOUT_CONTROL, **KERNEL})
def test_there_is_no_other_way(attempt: str, inside: Outcomes) -> None:
    assert_stopped(inside, attempt, {**FILES_WITHOUT_CONTROL, **NETWORK_WITHOUT_CONTROL, **KERNEL}[attempt])


def test_the_listeners_were_alive(scene: Scene, inside: Outcomes, tmp_path: Path) -> None:
    scene.heard.clear()
    scene.outside(tmp_path, *FILES, *NETWORK)
    assert set(scene.heard) == {"tcp", "tcp6", "udp", "udp6", "path", "abstract", "datagram"}


def test_the_environment_of_pid_1_is_empty(inside: Outcomes) -> None:
    assert inside["read_the_environment_of_pid_1"] == (True, "empty")


@pytest.mark.parametrize("attempt", PROTECTED)
def test_a_protected_path_stays_as_it_is(attempt: str, scene: Scene, inside: Outcomes, tmp_path: Path) -> None:
    assert_stopped(inside, attempt, PROTECTED[attempt])
    make_repository(tmp_path)
    (tmp_path / ".codex").mkdir()
    assert scene.outside(tmp_path, attempt)[attempt][0], "the control: where nothing is protected it works"


@pytest.mark.parametrize("attempt", PROTECTED_BY_THE_MOUNT_TREE)
def test_the_mount_tree_cannot_be_undone(attempt: str, inside: Outcomes) -> None:
    assert_stopped(inside, attempt, PROTECTED_BY_THE_MOUNT_TREE[attempt])


def test_the_rest_of_the_workspace_is_writable(scene: Scene, inside: Outcomes) -> None:
    """Else the attempts on protected paths would prove nothing."""
    assert inside["make_an_ordinary_file"] == (True, len("made"))
    assert inside["change_an_ordinary_file_of_git"] == (True, len("made"))
    workspace = Path(scene.home.workspace)
    assert (workspace / "ordinary.txt").read_text() == (workspace / ".git" / "description").read_text() == "made"
