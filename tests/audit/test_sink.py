"""The sink: whole lines, appended, owner only; or an error."""

import errno
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from immure.audit.sink import Sink
from immure.errors import Fault, HostError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "events.jsonl"


@pytest.fixture(autouse=True)
def permissive_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_file_and_directory_are_made_for_the_owner_alone(trail: Path) -> None:
    sink = Sink(str(trail))
    sink.write(b"1\n")
    sink.close()
    assert (mode(trail), mode(trail.parent)) == (0o600, 0o700)


def test_lines_are_appended_across_openings(trail: Path) -> None:
    for lines in (b"1\n", b"2\n3\n"):
        sink = Sink(str(trail))
        sink.write(lines)
        sink.close()
    assert trail.read_bytes() == b"1\n2\n3\n"


def test_two_sinks_do_not_overwrite_each_other(trail: Path) -> None:
    one, other = Sink(str(trail)), Sink(str(trail))
    for sink, line in [(one, b"1\n"), (other, b"2\n"), (one, b"3\n")]:
        sink.write(line)
    one.close()
    other.close()
    assert trail.read_bytes() == b"1\n2\n3\n"


def test_permissions_that_were_widened_are_narrowed(trail: Path) -> None:
    trail.parent.mkdir()
    trail.touch(0o644)
    Sink(str(trail)).close()
    assert mode(trail) == 0o600


def test_after_half_a_line_the_next_one_stands_alone(trail: Path) -> None:
    trail.parent.mkdir()
    trail.write_bytes(b'{"a":1}\n{"b":')
    sink = Sink(str(trail))
    sink.write(b'{"c":3}\n')
    sink.close()
    assert trail.read_bytes().splitlines() == [b'{"a":1}', b'{"b":', b'{"c":3}']


def test_a_line_without_its_end_is_a_fault(trail: Path) -> None:
    sink = Sink(str(trail))
    for lines in (b"", b"1", b"1\n2"):
        with pytest.raises(Fault):
            sink.write(lines)
    sink.close()
    assert trail.read_bytes() == b""


def test_a_link_in_its_place_is_not_followed(trail: Path, tmp_path: Path) -> None:
    trail.parent.mkdir()
    target = tmp_path / "target"
    trail.symlink_to(target)
    with pytest.raises(HostError, match=os.strerror(errno.ELOOP)):
        Sink(str(trail))
    assert not target.exists()


def test_something_else_in_its_place_is_refused(trail: Path) -> None:
    trail.parent.mkdir()
    os.mkfifo(trail)
    with pytest.raises(HostError, match="not a file") as caught:
        Sink(str(trail))
    assert caught.value.hint


@contextmanager
def room(size: int) -> Iterator[None]:
    """Files of this process may grow to that many bytes; Python ignores SIGXFSZ, so that write(2) fails as on a full disk.

    For no longer than it must be: the test run's own output may be a file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_that_does_not_fit_is_an_error_and_the_next_one_is_kept(trail: Path) -> None:
    sink = Sink(str(trail))
    with room(4), pytest.raises(HostError, match=os.strerror(errno.EFBIG)) as caught:
        sink.write(b"123456\n")
    assert caught.value.code == "audit.write"
    assert str(trail.parent) in caught.value.hint
    assert trail.read_bytes() == b"1234"
    sink.write(b"7\n")
    sink.close()
    assert trail.read_bytes().splitlines()[-1] == b"7"


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError):
        Sink(str(tmp_path / "file" / "events.jsonl"))
