"""The event loop of a gate: one epoll, deadlines, and the promise that a fault stays where it happened.

Rules: a handler never blocks; it does a bounded amount of work and returns. An exception that leaves a handler is a bug: it ends the
flow that the handler served and is reported by kind and place, never by its text, which may quote what an agent sent.

*Fails:* a hook that runs at the end of a turn is not guarded: what it raises ends the loop, and with it the gate.
"""

import select
import sys
import time
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Final, Protocol

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
HANG_UP: Final = select.EPOLLHUP | select.EPOLLERR
"""Reported whether asked for or not."""

_SWEEP_EVERY: Final = 1.0
"""Seconds. Deadlines guard against what never happens, so late by a second is in time."""


class Watched(Protocol):
    """What the loop serves. Any event is a hint: the descriptor may have been reused since, so a handler must bear finding nothing."""

    deadline: float

    def ready(self, events: int) -> None:
        """The descriptor can be read, written, or has hung up."""

    def expired(self) -> None:
        """The deadline has passed."""

    def abort(self) -> None:
        """End at once: a handler of this object has raised."""


class Loop:
    """`now` is the monotonic time at which the present turn began, in seconds."""

    def __init__(self) -> None:
        self.now = time.monotonic()
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}
        self._sweep_at = inf
        self._after_turn: list[Callable[[], None]] = []
        self._running = True

    def watch(self, fd: int, events: int, watched: Watched) -> None:
        self._epoll.register(fd, events)
        self._watched[fd] = watched

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Stop watching a descriptor, before it is closed."""
        if self._watched.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except OSError:
                pass  # something closed it on the way to an error, which took it out of the epoll

    def expect_within(self, seconds: float, watched: Watched) -> None:
        """Set the deadline of something that is being watched."""
        watched.deadline = deadline = self.now + seconds
        if deadline < self._sweep_at:
            self._sweep_at = max(deadline, self.now + _SWEEP_EVERY)

    def after_turn(self, hook: Callable[[], None]) -> None:
        """Call `hook` at the end of every turn."""
        self._after_turn.append(hook)

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        """Serve until `stop`."""
        while self._running:
            timeout = None if self._sweep_at == inf else max(0.0, self._sweep_at - time.monotonic())
            events = self._epoll.poll(timeout)
            self.now = time.monotonic()
            for fd, event in events:
                watched = self._watched.get(fd)
                if watched is None:
                    continue
                try:
                    watched.ready(event)
                except Exception as error:
                    self._contain(fd, watched, error)
            if self.now >= self._sweep_at:
                self._sweep()
            for hook in self._after_turn:
                hook()

    def _sweep(self) -> None:
        self._sweep_at = inf
        for fd, watched in list(self._watched.items()):
            if watched.deadline > self.now or self._watched.get(fd) is not watched:
                continue
            watched.deadline = inf
            try:
                watched.expired()
            except Exception as error:
                self._contain(fd, watched, error)
        earliest = min((watched.deadline for watched in self._watched.values()), default=inf)
        self._sweep_at = max(earliest, self.now + _SWEEP_EVERY)

    def _contain(self, fd: int, watched: Watched, error: Exception) -> None:
        """End one flow because of a bug in serving it. Nothing here may raise, whatever state the flow is in."""
        report_fault(error)
        try:
            watched.abort()
        except Exception as second:
            report_fault(second)
        if self._watched.get(fd) is watched:
            self.forget(fd)


def report_fault(error: BaseException) -> None:
    """Write the kind and the place of an exception to standard error."""
    place = "nowhere"
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} in {code.co_qualname}"
        trace = trace.tb_next
    try:
        sys.stderr.write(f"gate: fault: {type(error).__name__} at {place}\n")
    except (OSError, ValueError):
        pass  # nobody is listening
