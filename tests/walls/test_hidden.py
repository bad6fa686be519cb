"""Files that are hidden from a sandbox, against a program that wants to read them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from claims import HIDDEN, Outcomes, assert_stopped, outcomes_of
from near_side import assert_one_error, call

from immure.testing.household import Household

HOSTILE = Path(__file__).parent / "hostile.py"
SECRET = "what-is-hidden"
HIDE = ("--hide", ".env", "--hide", "deep/*.key", "--hide", "private", "--hide", "by-a-link")


def furnish(workspace: Path) -> None:
    shutil.copy(HOSTILE, workspace)
    (workspace / "deep").mkdir()
    for name in (".env", "removed.key", "replaced.key", "real-secret"):
        (workspace / "deep" / name).write_text(SECRET)
    (workspace / "by-a-link").symlink_to("deep/real-secret")
    (workspace / "private").mkdir()
    (workspace / "private" / SECRET).touch()


@pytest.fixture(scope="module")
def inside(household: Household) -> Outcomes:
    furnish(Path(household.workspace))
    result = household.run("run", *HIDE, "--", "python3", "hostile.py", *HIDDEN, text="{}")
    assert result.returncode == 0, result.stderr
    assert SECRET not in result.stdout
    deep = Path(household.workspace) / "deep"
    assert {path.name: path.read_text() for path in deep.iterdir()} == dict.fromkeys(
        (".env", "removed.key", "replaced.key", "real-secret"), SECRET
    )
    return outcomes_of(result.stdout)


@pytest.mark.parametrize("attempt", HIDDEN)
def test_what_is_hidden_is_not_read_or_changed(attempt: str, inside: Outcomes, tmp_path: Path) -> None:
    assert_stopped(inside, attempt, HIDDEN[attempt])
    furnish(tmp_path)
    words = [sys.executable, "hostile.py", attempt]
    found = outcomes_of(subprocess.run(words, cwd=tmp_path, input=b"{}", stdout=subprocess.PIPE, check=True).stdout)
    assert found[attempt][0], "the control: where nothing is hidden it works"


def test_it_looks_empty(home: Household) -> None:
    (Path(home.workspace) / ".env").write_text(SECRET)
    assert home.run("run", "--hide", ".env", "--", "stat", "--format=%s", ".env").stdout == "0\n"


def test_the_settings_hide_too(home: Household) -> None:
    settings = Path(home.immure_home) / "config" / "config.toml"
    before = settings.read_text()
    (Path(home.workspace) / "sub").mkdir()
    for path in (".env", "sub/.env.local", "sub/plain"):
        (Path(home.workspace) / path).write_text(SECRET)
    settings.write_text(before + '\n[workspace]\nhide = [".env", ".env.*"]\n')
    try:
        result = home.run("run", "--", "sh", "-c", "cat .env; cat sub/.env.local; cat sub/plain")
    finally:
        settings.write_text(before)
    assert (result.stdout, result.stderr.count("Permission denied")) == (SECRET, 2)


@pytest.mark.parametrize("pattern", ["", "/", "..", "../secret", "a/../../b"])
def test_a_pattern_that_can_match_nothing_is_refused(pattern: str, home: Household) -> None:
    result = call(home, "run", "--hide", pattern, "--", "true")
    assert_one_error(result.returncode, result.stderr, expected=2, code="workspace.hide")
