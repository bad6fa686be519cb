"""The suite that ships with the product (`immure attack`), against a sandbox of root and against one of an ordinary user.

An attack is stopped only if it failed in the way that is claimed, and could have succeeded as far as its control tells.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from far_side import EAR
from ordinary_user import OrdinaryUser, ordinary_user

from immure.attack import suite
from immure.testing.household import Household, command
from immure.testing.openai.service import FakeOpenAI

USERS = ("owner", "ordinary user")
CLAIMED = [one.id for one in suite.attacks() if one.stopped_by]
UNSTOPPED = [one.id for one in suite.attacks() if not one.stopped_by]
AFTERWARDS = ["afterwards/nobody-was-heard", "afterwards/nothing-has-changed", "afterwards/nothing-has-survived"]
PATIENCE = 120

Report = dict[str, Any]


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(ears=[EAR]) as running:
        yield running


@pytest.fixture(scope="module")
def household(fake: FakeOpenAI) -> Iterator[Household]:
    with Household(fake) as home:
        yield home


@pytest.fixture(scope="module")
def user(fake: FakeOpenAI) -> Iterator[OrdinaryUser]:
    with ordinary_user(fake) as made:
        yield made


@pytest.fixture(scope="module")
def reports(household: Household, user: OrdinaryUser) -> dict[str, Report]:
    """What the suite says to whoever runs the tests, and to an ordinary user."""
    owner = household.run("attack", "--json", timeout=PATIENCE)
    assert owner.stderr == ""
    ordinary = user.call("attack", "--json")
    assert ordinary.stderr == b""
    return {"owner": json.loads(owner.stdout), "ordinary user": json.loads(ordinary.stdout)}


def results(report: Report) -> dict[str, Report]:
    return {one["id"]: one for one in report["attacks"]}


@pytest.mark.parametrize("attack", [*CLAIMED, *AFTERWARDS])
@pytest.mark.parametrize("who", USERS)
def test_an_attack_is_stopped(who: str, attack: str, reports: dict[str, Report]) -> None:
    found = results(reports[who])[attack]
    assert found["verdict"] == "stopped", found


@pytest.mark.parametrize("attack", UNSTOPPED)
@pytest.mark.parametrize("who", USERS)
def test_what_is_said_not_to_be_stopped_is_not(who: str, attack: str, reports: dict[str, Report]) -> None:
    assert results(reports[who])[attack]["verdict"] == "known"


@pytest.mark.parametrize("who", USERS)
def test_the_score_is_of_all_attacks(who: str, reports: dict[str, Report]) -> None:
    report = reports[who]
    assert set(results(report)) == {*CLAIMED, *UNSTOPPED, *AFTERWARDS}
    score = {name: report[name] for name in ("ok", "stopped", "reached", "unproven", "known")}
    wanted = {"ok": True, "stopped": len(CLAIMED) + len(AFTERWARDS), "reached": 0, "unproven": 0, "known": len(UNSTOPPED)}
    assert score == wanted


def test_what_an_option_opens_is_reached_and_fails_the_suite(household: Household) -> None:
    """The suite can fail: here are holes in the wall, which it finds, and nothing but a decoy is broken by that."""
    result = household.run("--unprotect", "git-hooks", "attack", "--env", "DISPLAY=:0", "--env", "TMUX=/tmp/tmux", timeout=PATIENCE)
    reached = {line.split()[1] for line in result.stdout.splitlines() if line.startswith("REACHED")}
    assert reached >= {
        "processes/find-an-agent-of-the-user-in-the-environment",
        "workspace/plant-a-hook",
        "workspace/plant-a-hook-where-the-configuration-says",
        "afterwards/nothing-has-changed",
    }
    assert "workspace/change-the-configuration" not in reached
    assert result.returncode == 1
    assert result.stdout.splitlines()[-2].endswith("proved nothing.")


def test_nothing_is_left_of_it(household: Household, reports: dict[str, Report]) -> None:
    assert [path.name for path in Path(household.home).glob(".immure-attack*")] == []
    assert list(Path(household.workspace).iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_either(number: signal.Signals, household: Household) -> None:
    terminal, theirs = os.openpty()
    with subprocess.Popen(
        [command(), "attack"], cwd=household.workspace, env=household.environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as program:
        os.close(theirs)
        said = b""
        while b"\r9 of" not in said:
            said += os.read(terminal, 1024)
        program.send_signal(number)
        assert program.wait(PATIENCE) == 130
    os.close(terminal)
    assert [path.name for path in Path(household.home).glob(".immure-attack*")] == []
    assert household.run("list", "--json").stdout == "[]\n"


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["--workspace", ".", "attack"], 2, "usage"),
        (["attack", "--allow", "no endpoint"], 2, "usage.endpoint"),
        (["attack", "--unprotect", "nothing"], 2, "usage.unprotect"),
    ],
)
def test_what_cannot_be_attacked_is_said_once(words: list[str], status: int, code: str, household: Household) -> None:
    result = household.run(*words)
    assert result.returncode == status
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "hint"], result.stderr
    assert lines[0].endswith(f"[{code}]")
