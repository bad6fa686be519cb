"""The agent's home as the broker writes it, with an agent that has put traps there."""

import os
import stat
from pathlib import Path

import pytest

from immure.broker import agent_home
from immure.errors import UsageError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    agent_home.make(str(made))
    return made


def test_home_and_files_are_the_owners_alone(home: Path) -> None:
    agent_home.fill(str(home), {"auth.json": b"{}"})
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "auth.json").stat().st_mode) == 0o600
    assert (home / "auth.json").read_bytes() == b"{}"
    assert os.listdir(home) == ["auth.json"]


def test_what_is_there_is_replaced_unless_it_is_the_agents_own(home: Path) -> None:
    agent_home.fill(str(home), {"auth.json": b"old", "config.toml": b"old"}, keep=["config.toml"])
    agent_home.fill(str(home), {"auth.json": b"new", "config.toml": b"new"}, keep=["config.toml"])
    assert ((home / "auth.json").read_bytes(), (home / "config.toml").read_bytes()) == (b"new", b"old")


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_is_replaced_and_not_written_through(home: Path, tmp_path: Path, link: object) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    assert callable(link)
    link(precious, home / "auth.json")
    agent_home.fill(str(home), {"auth.json": b"new"})
    assert precious.read_bytes() == b"precious"
    assert (home / "auth.json").read_bytes() == b"new"
    assert not (home / "auth.json").is_symlink()


def test_a_pipe_keeps_nobody_waiting(home: Path) -> None:
    os.mkfifo(home / "auth.json")
    agent_home.fill(str(home), {"auth.json": b"new"})
    assert (home / "auth.json").read_bytes() == b"new"


def test_a_directory_in_the_place_of_a_file_is_said_and_nothing_left_beside(home: Path) -> None:
    (home / "auth.json").mkdir()
    with pytest.raises(UsageError, match=r"in the place of auth\.json"):
        agent_home.fill(str(home), {"auth.json": b"new"})
    assert os.listdir(home) == ["auth.json"]


def test_a_home_that_went_with_its_sandbox_is_said(home: Path) -> None:
    home.rmdir()
    with pytest.raises(UsageError, match="has ended"):
        agent_home.fill(str(home), {"auth.json": b"new"})
