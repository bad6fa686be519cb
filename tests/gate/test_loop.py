"""The loop: a fault stays where it happened, and deadlines pass."""

import os
from math import inf

import pytest

from immure.gate.loop import READ, Loop


class Reader:
    """Something watched: a pipe of which every event is noted."""

    def __init__(self, loop: Loop, *, faulty: str = "") -> None:
        self.deadline = inf
        self.loop = loop
        self.faulty = faulty
        self.seen: list[str] = []
        self.fd, self.end = os.pipe()
        loop.watch(self.fd, READ, self)

    def ready(self, _: int) -> None:
        self.note("ready")
        os.read(self.fd, 1)

    def expired(self) -> None:
        self.note("expired")

    def abort(self) -> None:
        self.note("abort")
        self.close()

    def note(self, what: str) -> None:
        self.seen.append(what)
        if what in self.faulty:
            raise ValueError("a secret-looking text that must not be printed")

    def close(self) -> None:
        self.loop.forget(self.fd)
        os.close(self.fd)
        os.close(self.end)


def turns(loop: Loop, count: int) -> None:
    """Run that many turns."""
    left = count

    def stop() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            loop.stop()

    loop.after_turn(stop)
    loop.run()


@pytest.mark.parametrize("faulty", ["ready", "ready abort"])
def test_a_fault_ends_its_own_flow_and_nothing_else(capsys: pytest.CaptureFixture[str], faulty: str) -> None:
    loop = Loop()
    good, bad = Reader(loop), Reader(loop, faulty=faulty)
    for reader in (bad, good):
        os.write(reader.end, b"xx")
    turns(loop, 2)
    assert good.seen == ["ready", "ready"]
    assert bad.seen == ["ready", "abort"]
    said = capsys.readouterr().err
    assert "fault: ValueError at test_loop.py:" in said
    assert "secret" not in said
    good.close()
    if "abort" in faulty:
        bad.close()


def test_a_handler_may_close_another_of_the_same_turn() -> None:
    loop = Loop()
    readers = [Reader(loop) for _ in range(2)]
    for reader, other in (readers, readers[::-1]):
        os.write(reader.end, b"x")
        reader.ready = lambda _, mine=reader, other=other: (mine.note("ready"), other.close())  # type: ignore[method-assign]
    turns(loop, 1)
    assert [reader.seen for reader in readers].count(["ready"]) == 1
    next(reader for reader in readers if reader.seen).close()


def test_deadlines_pass_in_time_and_only_once() -> None:
    loop = Loop()
    early, late, never = Reader(loop), Reader(loop, faulty="expired"), Reader(loop)
    loop.expect_within(0.01, early)
    loop.expect_within(0.02, late)
    loop.expect_within(3600, never)
    turns(loop, 1)
    assert (early.seen, late.seen, never.seen) == (["expired"], ["expired", "abort"], [])
    assert early.deadline == inf
    early.close()
    never.close()
