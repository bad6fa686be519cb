"""Work that may wait, aside from the loop: reading a file, or what only a process of the agent can tell.

It is done on a few threads; what comes of it returns to the loop by an eventfd.

Rules: the work touches nothing of the gate. At most `threads` pieces wait at one time, so one that never ends, as on a file system that
the agent serves itself, keeps others waiting but not the loop; the threads are daemons and end with the gate.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from math import inf
from queue import SimpleQueue
from typing import TypeVar

from immure.gate.loop import READ, Loop, report_fault

Result = TypeVar("Result")


class Aside:
    """Does pieces of work in the order in which they come."""

    def __init__(self, loop: Loop, name: str, threads: int) -> None:
        self.deadline = inf
        self._name = name
        self._most = threads
        self._threads = 0
        self._under_way = 0
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._done: deque[Callable[[], None]] = deque()
        self._signal = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        loop.watch(self._signal, READ, self)

    def do(self, work: Callable[[], Result], told: Callable[[Result | None], None]) -> None:
        """Call `told` in a later turn with what `work` returns, or with None if it raises OSError or ValueError."""

        def piece() -> None:
            try:
                result = work()
            except (OSError, ValueError):
                result = None
            self._done.append(lambda: told(result))
            os.eventfd_write(self._signal, 1)

        self._under_way += 1
        self._work.put(piece)
        if self._threads < min(self._most, self._under_way):
            self._threads += 1
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()

    def _serve(self) -> None:
        while True:
            self._work.get()()

    def ready(self, _: int) -> None:
        os.eventfd_read(self._signal)
        while self._done:
            self._under_way -= 1
            tell = self._done.popleft()
            try:
                tell()
            except Exception as error:  # whom it harms has a deadline of its own; the others are told all the same
                report_fault(error)

    def expired(self) -> None:
        """It has no deadline."""

    def abort(self) -> None:
        """What is done is told at the next turn."""
