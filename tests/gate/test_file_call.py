"""Which system calls are watched, and what each needs."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.gate.file_call import CALLS, CHANGING, Need, absolute, need_of
from immure.launcher import seccomp


def test_the_watcher_knows_every_call_that_the_seccomp_program_reports() -> None:
    assert set(CALLS) == {number for number, _ in seccomp.OPENS.values()} | set(seccomp.CHANGES.values())
    assert {number: call.flags for number, call in CALLS.items() if call.flags is not None} == dict(seccomp.OPENS.values())


@pytest.mark.parametrize(
    ("flags", "need"),
    [
        (os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY, None),
        (os.O_WRONLY, Need.FILE),
        (os.O_RDWR | os.O_APPEND, Need.FILE),
        (os.O_RDONLY | os.O_TRUNC, Need.FILE),
        (os.O_WRONLY | os.O_CREAT | os.O_TRUNC, Need.FILE_OR_PLACE),
        (os.O_RDONLY | os.O_CREAT, Need.FILE_OR_PLACE),
        (os.O_RDWR | os.O_CREAT | os.O_EXCL, Need.PLACE),
        (os.O_RDWR | os.O_TMPFILE, Need.DIRECTORY),
    ],
)
def test_what_an_open_needs(flags: int, need: Need | None) -> None:
    assert need_of(flags) == need


@given(st.integers(0, 2**32 - 1))
def test_an_open_is_looked_at_if_it_is_reported(flags: int) -> None:
    assert (need_of(flags) is not None) == bool(flags & CHANGING)


@pytest.mark.parametrize(
    ("directory", "path", "named"),
    [("/work", "a", "/work/a"), ("/", "./a//b/", "/a/b"), ("/work", "/a", "/a"), ("/work", "../a", "/work/../a"), ("/", "", "/")],
)
def test_a_path_is_named_from_the_root(directory: str, path: str, named: str) -> None:
    assert absolute(directory, path) == named
