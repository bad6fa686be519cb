"""The limits of a sandbox, against programs that want more."""

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
from near_side import assert_one_error, call

from immure.launcher import cgroup
from immure.testing.household import Household

REPORT = "import json, resource as r; print(json.dumps([r.getrlimit(k) for k in (r.RLIMIT_NPROC, r.RLIMIT_NOFILE, r.RLIMIT_FSIZE)]))"

# Forks until it may not, and says how often that went well; all end together.
FORK = """
import os
reader, writer = os.pipe()
made = 0
try:
    while made < 300:
        if os.fork() == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        made += 1
except BlockingIOError:
    pass
print(made)
"""
NESTED = ["unshare", "--user", "--map-root-user"]
RAISE = """
import resource
for kind in (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE):
    _, hard = resource.getrlimit(kind)
    try:
        resource.setrlimit(kind, (hard, hard + 1))
    except (ValueError, OSError):
        print("refused")
"""


def limits(home: Household, *options: str) -> list[list[int]]:
    found: list[list[int]] = json.loads(home.run("run", *options, "--", "python3", "-c", REPORT).stdout)
    return found


def at_most(default: int, kind: int) -> int:
    _, hard = resource.getrlimit(kind)
    return default if hard == resource.RLIM_INFINITY else min(default, hard)


def test_processes_and_open_files_are_limited_unasked(home: Household) -> None:
    processes, files, size = limits(home)
    most = at_most(4096, resource.RLIMIT_NPROC)
    assert processes == [most, most]
    assert files[1] == at_most(65536, resource.RLIMIT_NOFILE)
    assert size == list(resource.getrlimit(resource.RLIMIT_FSIZE))


def test_what_is_asked_for_is_in_force(home: Household) -> None:
    options = ("--pids", "100", "--open-files", "200", "--file-size", "8M")
    assert limits(home, *options) == [[100, 100], [200, 200], [8 << 20, 8 << 20]]


def test_the_settings_limit_too_and_an_option_is_stronger(home: Household) -> None:
    settings = Path(home.immure_home) / "config" / "config.toml"
    before = settings.read_text()
    settings.write_text(before + '\n[limits]\npids = 50\nfile_size = "16M"\nopen_files = "unlimited"\n')
    try:
        processes, files, size = limits(home, "--pids", "60")
    finally:
        settings.write_text(before)
    assert (processes, size) == ([60, 60], [16 << 20, 16 << 20])
    assert files == list(resource.getrlimit(resource.RLIMIT_NOFILE))


@pytest.mark.parametrize("within", [[], NESTED, [*NESTED, *NESTED]], ids=["here", "in a nested namespace", "in one of that"])
def test_a_fork_bomb_ends_at_the_limit_of_the_whole_sandbox(within: list[str], home: Household) -> None:
    result = home.run("run", "--pids", "40", "--", *within, "python3", "-c", FORK)
    assert 20 < int(result.stdout) < 40


def test_the_control_of_the_fork_bomb_that_more_is_possible(home: Household) -> None:
    assert home.run("run", "--", "python3", "-c", FORK).stdout == "300\n"


def test_two_sandboxes_do_not_count_each_others_processes(home: Household) -> None:
    with home.started("run", "--pids", "40", "--", "python3", "-c", FORK + "import sys; sys.stdout.flush(); input()") as first:
        assert first.stdout
        alone = int(first.stdout.readline())
        assert int(home.run("run", "--pids", "40", "--", "python3", "-c", FORK).stdout) >= alone - 2


def test_no_file_grows_beyond_its_limit(home: Household) -> None:
    result = home.run("run", "--file-size", "4M", "--", "head", "--bytes=5M", "/dev/zero")
    assert result.returncode == 0, "a pipe is no file"
    result = home.run("run", "--file-size", "4M", "--", "sh", "-c", "exec head --bytes=5M /dev/zero > large")
    assert result.returncode == 128 + signal.SIGXFSZ
    assert (Path(home.workspace) / "large").stat().st_size == 4 << 20


def test_a_limit_is_not_raised_from_inside(home: Household) -> None:
    options = ("--pids", "100", "--open-files", "200", "--file-size", "8M")
    for within in ([], NESTED):
        result = home.run("run", *options, "--", *within, "python3", "-c", RAISE)
        assert result.stdout.split() == ["refused"] * 3


MISTAKES = [("--pids", "0"), ("--pids", "many"), ("--pids", "2"), ("--memory", "4"), ("--memory", "4X"), ("--cpus", "0"), ("--cpus", "-1")]


@pytest.mark.parametrize(("option", "value"), MISTAKES)
def test_what_is_no_limit_is_refused(option: str, value: str, home: Household) -> None:
    result = call(home, "run", option, value, "--", "true")
    assert_one_error(result.returncode, result.stderr, expected=2, code="usage.limit")


def test_a_limit_that_this_host_does_not_grant_is_refused(home: Household) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    result = call(home, "run", "--open-files", str(hard + 1), "--", "touch", "ran")
    assert_one_error(result.returncode, result.stderr, expected=125, code="host.no-limit")
    assert str(hard).encode() in result.stderr
    assert os.listdir(home.workspace) == []


def can_limit(*controllers: str) -> bool:
    try:
        cgroup.place(controllers)
    except OSError:
        return False
    return True


HOG = "import sys; block = bytearray(b'x' * (1 << 28)); print(len(block))"


def assert_held_or_refused(home: Household, held: Any, *options: str) -> None:
    """A limit that needs a control group is held where there are any, and refused with the reason where there are none: never left out."""
    result = call(home, "run", *options, "--", "python3", "-c", HOG)
    if can_limit(*(option.removeprefix("--").removesuffix("s") for option in options[::2])):
        assert held(result)
    else:
        assert_one_error(result.returncode, result.stderr, expected=125, code="host.no-limit")
        assert result.stdout == b""


def test_memory_is_limited_or_the_launch_refused(home: Household) -> None:
    assert_held_or_refused(home, lambda result: result.returncode == 128 + signal.SIGKILL, "--memory", "64M")


def test_processors_are_limited_or_the_launch_refused(home: Household) -> None:
    assert_held_or_refused(home, lambda result: result.returncode == 0, "--cpus", "0.5")
