"""File accesses that fail inside, found for `--log-denials` while the program stands in its system call.

The seccomp program of a watched sandbox reports calls that would change files (launcher/seccomp.py). Each is looked at on a thread
aside, since a path may lie on a file system that takes its time, and is then let go: whether it succeeds is the kernel's to say.

Rules: the call is always let go, whatever is found and at the latest after `PATIENCE`; when all threads are kept waiting, it is let go
unseen. The loop does no more than to hand it over. What is found is told once for each program, operation and path, and no more than
`MOST` are told.

*Trust:* nothing depends on what is found. *Fails:* a call that is not seen is not told.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from queue import SimpleQueue
from typing import Final

from immure.gate import process
from immure.gate.file_refusal import refusal
from immure.gate.loop import READ, Loop

PATIENCE: Final = 1.0
"""Seconds for which a call may be held."""
MOST: Final = 200
_MOST_HELD: Final = 256
_THREADS: Final = 2
_BUILDER: Final = "bwrap"
"""Makes mount points before anything runs, and tries what it does not need. An agent may call a program so: it keeps it out of a list."""

Judge = Callable[[int, int, tuple[int, ...]], tuple[str, str, str] | None]
"""Thread, number and arguments of a call to operation, path and reason, if it would be refused (file_refusal.py)."""


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """`is_last`: no further ones will be told."""

    program: str
    pid: int
    operation: str
    path: str
    reason: str
    is_last: bool = False


class FileWatch:
    """`let_go(number)` answers a notification, from any thread; `told` is called in the loop's. `judge` may wait."""

    def __init__(self, loop: Loop, let_go: Callable[[int], object], told: Callable[[RefusedFile], None], judge: Judge = refusal) -> None:
        self.deadline = inf
        self._loop = loop
        self._let_go = let_go
        self._told = told
        self._judge = judge
        self._held: dict[int, float] = {}
        self._late: set[int] = set()
        self._work: SimpleQueue[tuple[int, int, int, tuple[int, ...]]] = SimpleQueue()
        self._found: deque[RefusedFile] = deque()
        self._seen: set[tuple[str, str, str]] = set()
        self._threads = 0
        self._signal = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        loop.watch(self._signal, READ, self)

    def look(self, notification: int, thread: int, call: int, arguments: tuple[int, ...]) -> None:
        """Look at a call and let it go. `thread` is who stands in it."""
        if len(self._held) >= _MOST_HELD or len(self._late) >= _THREADS or len(self._seen) >= MOST:
            self._let_go(notification)
            return
        self._held[notification] = self._loop.now + PATIENCE
        if self.deadline == inf:
            self._loop.expect_within(PATIENCE, self)
        self._work.put((notification, thread, call, arguments))
        if self._threads < min(_THREADS, len(self._held)):
            self._threads += 1
            threading.Thread(target=self._serve, name="files", daemon=True).start()

    def _serve(self) -> None:
        while True:
            notification, thread, call, arguments = self._work.get()
            if notification in self._held:
                found = self._look(thread, call, arguments)
                if found is not None:
                    self._found.append(found)
                    os.eventfd_write(self._signal, 1)  # before the program can end, and its sandbox with it
            if self._held.pop(notification, None) is not None:
                self._let_go(notification)
            self._late.discard(notification)

    def _look(self, thread: int, call: int, arguments: tuple[int, ...]) -> RefusedFile | None:
        try:
            found = self._judge(thread, call, arguments)
            if found is None:
                return None
            program = os.readlink(f"/proc/{thread}/exe")
            pid = process.leader(thread)
        except (OSError, ValueError):
            return None
        return None if os.path.basename(program) == _BUILDER else RefusedFile(program, pid, *found)

    def ready(self, _: int) -> None:
        os.eventfd_read(self._signal)
        while self._found:
            one = self._found.popleft()
            key = (one.program, one.operation, one.path)
            if key in self._seen or len(self._seen) >= MOST:
                continue
            self._seen.add(key)
            last = len(self._seen) == MOST
            self._told(RefusedFile(one.program, one.pid, one.operation, one.path, one.reason, last))

    def expired(self) -> None:
        """Let go what has been held too long; of the threads that still look, those are late."""
        for notification, due in list(self._held.items()):
            if due <= self._loop.now and self._held.pop(notification, None) is not None:
                self._late.add(notification)
                self._let_go(notification)
        earliest = min(self._held.copy().values(), default=inf)
        if earliest != inf:
            self._loop.expect_within(max(earliest - self._loop.now, 0.0), self)

    def abort(self) -> None:
        """What is found is told at the next turn."""
