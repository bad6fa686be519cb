"""The watch on file accesses: what is held is let go whatever happens, and what is told is told once."""

import os
import threading
from collections.abc import Iterator

import pytest

from immure.gate.file_watch import MOST, FileWatch, Judge, RefusedFile
from immure.gate.loop import Loop


class Watched:
    """A watch whose calls are numbers; `judge` says what becomes of them."""

    def __init__(self, judge: Judge) -> None:
        self.loop = Loop()
        self.let_go: list[int] = []
        self.told: list[RefusedFile] = []
        self.changed = threading.Condition()
        self.watch = FileWatch(self.loop, self._go, self.told.append, judge)

    def _go(self, number: int) -> None:
        with self.changed:
            self.let_go.append(number)
            self.changed.notify_all()

    def look(self, *numbers: int, call: int | None = None) -> None:
        for number in numbers:
            self.watch.look(number, os.getpid(), number if call is None else call, ())

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.let_go) >= count, 10), self.let_go


def refused(_: int, call: int, __: tuple[int, ...]) -> tuple[str, str, str]:
    return "write", f"/{call}", "it is read-only inside"


def test_what_is_refused_is_told_once_for_each_path() -> None:
    watched = Watched(refused)
    watched.look(1, 2)
    watched.look(3, call=1)
    watched.wait_for(3)
    watched.watch.ready(0)
    assert sorted(watched.let_go) == [1, 2, 3]
    assert [(one.path, one.pid, one.is_last) for one in sorted(watched.told, key=lambda one: one.path)] == [
        ("/1", os.getpid(), False),
        ("/2", os.getpid(), False),
    ]


def test_the_list_ends_and_says_so() -> None:
    watched = Watched(refused)
    for number in range(MOST + 5):
        watched.look(number)
        watched.wait_for(number + 1)
        if watched.watch._found:
            watched.watch.ready(0)
    assert (len(watched.told), watched.told[-1].is_last, len(watched.let_go)) == (MOST, True, MOST + 5)


@pytest.fixture
def stuck() -> Iterator[Watched]:
    """A watch of which every look waits, until the end of the test."""
    end = threading.Event()

    def judge(*_: object) -> None:
        end.wait(60)

    yield Watched(judge)
    end.set()


def test_what_takes_too_long_is_let_go_without_waiting(stuck: Watched) -> None:
    stuck.look(1, 2, 3)
    assert stuck.let_go == []
    stuck.loop.now += 2
    stuck.watch.expired()
    assert sorted(stuck.let_go) == [1, 2, 3]
    stuck.look(4)
    assert stuck.let_go[-1] == 4


def test_a_process_that_is_gone_is_let_go() -> None:
    def gone(*_: object) -> None:
        raise ProcessLookupError

    watched = Watched(gone)
    watched.look(1)
    watched.wait_for(1)
    assert watched.told == []
