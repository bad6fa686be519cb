"""What is in a file, and when that may be remembered."""

import hashlib
import os
import threading
from pathlib import Path

import pytest

from immure.digest import LARGEST, SETTLED, measured, stamp_of
from immure.model import Binary

CONTENTS = [b"", b"#!/bin/sh\n", b"x" * (256 * 1024), b"x" * (256 * 1024 + 1)]


def read(path: Path, later: int = SETTLED + 1) -> Binary:
    """As read at a time after the last change of the file, in nanoseconds."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return measured(str(path), descriptor, lambda: path.stat().st_ctime_ns + later)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("content", CONTENTS, ids=len)
def test_the_digest_is_that_of_the_content(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "program"
    file.write_bytes(content)
    status = file.stat()
    found = read(file)
    assert found == Binary(str(file), status.st_dev, status.st_ino, hashlib.sha256(content).hexdigest())
    assert found.stamp == stamp_of(status)


def test_a_file_that_has_just_changed_is_not_to_be_remembered(tmp_path: Path) -> None:
    file = tmp_path / "program"
    file.write_bytes(b"x")
    assert read(file, later=SETTLED).stamp == ()
    assert read(file, later=-SETTLED).stamp == (), "nor if the clock was set back"
    assert read(file).stamp != ()


CHANGES = {
    "written": lambda file: file.write_bytes(b"y"),
    "written, and its time set back": lambda file: (file.write_bytes(b"y"), os.utime(file, ns=(5, 5))),
    "linked": lambda file: os.link(file, file.with_suffix(".link")),
    "made executable": lambda file: file.chmod(0o755),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_no_change_leaves_the_stamp(change: object, tmp_path: Path) -> None:
    file = tmp_path / "program"
    file.write_bytes(b"x")
    os.utime(file, ns=(5, 5))
    before = stamp_of(file.stat())
    while stamp_of(file.stat())[2] == before[2]:
        change(file)  # type: ignore[operator]
        file.with_suffix(".link").unlink(missing_ok=True)


def test_a_file_that_grows_while_it_is_read_has_no_digest(tmp_path: Path) -> None:
    file = tmp_path / "program"
    file.write_bytes(b"x" * 1000)
    descriptor = os.open(file, os.O_RDONLY)
    with pytest.raises(OSError, match="changed while"):
        measured(str(file), descriptor, lambda: os.truncate(file, 2000) or 0)  # type: ignore[func-returns-value]
    os.close(descriptor)


def test_what_is_larger_than_any_program_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "program"
    file.touch()
    os.truncate(file, LARGEST + 1)
    with pytest.raises(OSError, match="large"):
        read(file)


def test_other_threads_run_on_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "program"
    file.touch()
    os.truncate(file, 64 << 20)
    reading = threading.Thread(target=read, args=(file,))
    reading.start()
    turns = 0
    while reading.is_alive():
        turns += 1
    assert turns > 100
