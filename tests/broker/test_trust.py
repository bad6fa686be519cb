"""Programs pinned as they were when they were first used: what that holds to, and what it survives."""

import hashlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from immure.broker.trust import Trust
from immure.errors import HostError, UsageError

NOW = 1_790_000_000


def digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


@pytest.fixture
def programs(tmp_path: Path) -> tuple[str, str]:
    made = tmp_path / "one", tmp_path / "two"
    for path in made:
        path.write_text(path.name)
    return str(made[0]), str(made[1])


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust(str(tmp_path / "state" / "trust.db"))


def write(path: str, content: str) -> None:
    """As a package manager does it: another file, put into its place."""
    Path(path + ".new").write_text(content)
    os.rename(path + ".new", path)


def test_a_program_is_pinned_by_its_first_use(trust: Trust, programs: tuple[str, str]) -> None:
    found, new = trust.settle(programs, NOW)
    assert [binary.path for binary in new] == list(programs)
    assert {path: binary.digest for path, binary in found.items()} == {path: digest(os.path.basename(path)) for path in programs}
    assert [(pin.path, pin.digest, pin.since) for pin in trust.pins()] == [(path, digest(os.path.basename(path)), NOW) for path in programs]
    again, new = trust.settle(programs[:1], NOW + 1)
    assert (new, again[programs[0]]) == ((), found[programs[0]])
    assert trust.pins()[0].since == NOW


def test_all_that_have_changed_are_named_with_the_command_that_mends_it(trust: Trust, programs: tuple[str, str], tmp_path: Path) -> None:
    trust.settle(programs, NOW)
    for path in programs:
        write(path, "new")
    third = tmp_path / "third program"
    third.touch()
    with pytest.raises(UsageError) as caught:
        trust.settle([str(third), *programs], NOW)
    assert caught.value.code == "trust.changed"
    assert str(caught.value).startswith(f"{programs[0]}, {programs[1]} have changed")
    assert caught.value.hint == f"if you have updated it: immure trust update {programs[0]} {programs[1]}"
    assert [pin.path for pin in trust.pins()] == list(programs), "nothing is pinned by a launch that is refused"


CHANGES: dict[str, Callable[[str], object]] = {
    "another file": lambda path: write(path, "new"),
    "other content in the same file": lambda path: Path(path).write_text("new"),
    "of the same length": lambda path: Path(path).write_text("eno"),
    "one byte more": lambda path: Path(path).write_text("one" + "x"),
    "with its time set back": lambda path: (Path(path).write_text("new"), os.utime(path, ns=(5, 5))),
}
NO_CHANGES: dict[str, Callable[[str], object]] = {
    "another file of the same content": lambda path: write(path, "one"),
    "touched": lambda path: os.utime(path),
    "linked": lambda path: os.link(path, path + ".link"),
    "made executable": lambda path: os.chmod(path, 0o755),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_a_change(change: Callable[[str], object], trust: Trust, programs: tuple[str, str]) -> None:
    trust.settle(programs, NOW)
    change(programs[0])
    assert trust.current(programs).keys() == {programs[1]}
    assert [trust.state(pin) for pin in trust.pins()] == ["changed", "same"]
    with pytest.raises(UsageError, match="has changed"):
        trust.settle(programs, NOW)


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_what_is_none(change: Callable[[str], object], trust: Trust, programs: tuple[str, str]) -> None:
    trust.settle(programs, NOW)
    change(programs[0])
    assert trust.settle(programs, NOW)[1] == ()


def test_an_update_trusts_a_program_as_it_is(trust: Trust, programs: tuple[str, str]) -> None:
    trust.settle(programs, NOW)
    write(programs[0], "new")
    assert trust.update(programs[0], NOW + 5) == (digest("one"), digest("new"))
    assert trust.update(programs[0], NOW + 9) == (digest("new"), digest("new"))
    assert trust.settle(programs, NOW)[0][programs[0]].digest == digest("new")
    assert [pin.since for pin in trust.pins()] == [NOW + 5, NOW]


def test_what_is_forgotten_is_new_again(trust: Trust, programs: tuple[str, str]) -> None:
    trust.settle(programs, NOW)
    write(programs[0], "new")
    trust.remove(programs[0])
    assert [binary.digest for binary in trust.settle(programs, NOW)[1]] == [digest("new")]


def test_what_has_no_pin_cannot_be_updated_or_forgotten(trust: Trust, programs: tuple[str, str]) -> None:
    for change in (lambda: trust.update(programs[0], NOW), lambda: trust.remove(programs[0])):
        with pytest.raises(UsageError, match="not among") as caught:
            change()
        assert caught.value.code == "trust.unknown"
    assert trust.pins() == ()


def test_a_program_that_is_gone_cannot_be_used(trust: Trust, programs: tuple[str, str]) -> None:
    trust.settle(programs, NOW)
    os.unlink(programs[0])
    assert trust.state(trust.pins()[0]) == "unreadable"
    assert trust.current(programs).keys() == {programs[1]}
    with pytest.raises(UsageError) as caught:
        trust.settle(programs, NOW)
    assert caught.value.code == "trust.unreadable"


def test_a_digest_is_taken_once_for_a_file_that_stays_as_it_is(trust: Trust, programs: tuple[str, str]) -> None:
    """A file that nobody may have changed for long is not read again: what is remembered is under its stamp."""
    settled = os.path.realpath(sys.executable)
    first = trust.measured(settled)
    assert first.stamp, "it has been there for a while"
    read = os.preadv
    os.preadv = lambda *_: pytest.fail("it was read again")  # type: ignore[assignment]
    try:
        assert trust.measured(settled) == first
    finally:
        os.preadv = read


def test_the_file_is_the_users_alone(trust: Trust, programs: tuple[str, str], tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        trust.settle(programs, NOW)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state" / "trust.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_file_that_is_none_is_an_error_and_not_the_beginning(trust: Trust, programs: tuple[str, str], tmp_path: Path) -> None:
    trust.settle(programs, NOW)
    (tmp_path / "state" / "trust.db").write_text("not a database" * 1000)
    with pytest.raises(HostError) as caught:
        trust.settle(programs, NOW)
    assert caught.value.code == "trust.file"


def test_two_that_use_a_program_first_pin_one_content(trust: Trust, programs: tuple[str, str]) -> None:
    def use(number: int) -> str:
        write_own = f"{programs[0]}.{number}"
        Path(write_own).write_text(str(number))
        os.rename(write_own, programs[0])
        try:
            return trust.settle([programs[0]], NOW)[0][programs[0]].digest
        except UsageError:
            return ""

    with ThreadPoolExecutor(8) as pool:
        used = set(pool.map(use, range(40))) - {""}
    assert used == {trust.pins()[0].digest}


def test_a_writer_killed_at_any_moment_leaves_the_old_pin_or_the_new(trust: Trust, programs: tuple[str, str], tmp_path: Path) -> None:
    trust.settle(programs, NOW)
    code = f"""
import sys
from immure.broker.trust import Trust
trust = Trust({str(tmp_path / "state" / "trust.db")!r})
print("ready", flush=True)
while True:
    trust.remove({programs[1]!r})
    trust.settle([{programs[1]!r}], {NOW})
"""
    for round_ in range(5):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            for _ in range(round_ * 3):
                trust.pins()
            writer.send_signal(signal.SIGKILL)
        pins = {pin.path: pin.digest for pin in trust.pins()}
        assert pins.pop(programs[0]) == digest("one")
        assert pins in ({}, {programs[1]: digest("two")})
        trust.settle([programs[1]], NOW)
