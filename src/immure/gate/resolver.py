"""Real names to real addresses, off the loop.

The system's resolver blocks, so it is called on a few threads; what they find comes back to the loop by an eventfd. It is asked only
about names that policy has allowed.

Rules: an answer is used for a short while, and judged by `reach` at each use.
"""

import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from math import inf
from queue import SimpleQueue
from typing import Final

from immure.gate.loop import READ, Loop, report_fault

THREADS: Final = 4
"""So that a name server that does not answer keeps at most a few names waiting."""
REMEMBER: Final = 30.0
"""Seconds an answer is used. The system's resolver does not say how long it would be good for."""
MAX_REMEMBERED: Final = 512

Answer = tuple[str, ...]
"""Addresses in the order to try them; empty if the name has none."""
Told = Callable[[Answer], None]


class Resolver:
    """Asks the system, once for all who ask for the same name at the same time."""

    def __init__(self, loop: Loop) -> None:
        self.deadline = inf
        self._loop = loop
        self._known: dict[str, tuple[float, Answer]] = {}
        self._asking: dict[str, list[Told]] = {}
        self._questions: SimpleQueue[str] = SimpleQueue()
        self._answers: deque[tuple[str, Answer]] = deque()
        self._threads = 0
        self._signal = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        loop.watch(self._signal, READ, self)

    def resolve(self, name: str, told: Told) -> None:
        """Call `told` with the addresses of a name: at once if they are known, else in a later turn."""
        until, answer = self._known.get(name, (0.0, ()))
        if until > self._loop.now:
            told(answer)
            return
        waiting = self._asking.setdefault(name, [])
        waiting.append(told)
        if len(waiting) > 1:
            return
        self._questions.put(name)
        if self._threads < min(THREADS, len(self._asking)):
            self._threads += 1
            threading.Thread(target=self._ask, name="resolver", daemon=True).start()

    def ready(self, _: int) -> None:
        os.eventfd_read(self._signal)
        while self._answers:
            name, answer = self._answers.popleft()
            self._known.pop(name, None)
            if answer:
                self._known[name] = (self._loop.now + REMEMBER, answer)
                if len(self._known) > MAX_REMEMBERED:
                    del self._known[next(iter(self._known))]
            for told in self._asking.pop(name, ()):
                try:
                    told(answer)
                except Exception as error:  # a flow of its own: the others are told all the same, and this one has a deadline
                    report_fault(error)

    def _ask(self) -> None:
        """One thread: it touches nothing of the gate but the two queues."""
        while True:
            name = self._questions.get()
            try:
                # As bytes, for which Python does not load its IDNA codec; the name is canonical.
                found = socket.getaddrinfo(name.encode(), 0, type=socket.SOCK_STREAM)
                answer = tuple(str(address[0]) for _, _, _, _, address in found)
            except (OSError, UnicodeError):
                answer = ()
            self._answers.append((name, answer))
            os.eventfd_write(self._signal, 1)

    def expired(self) -> None:
        """It has no deadline."""

    def abort(self) -> None:
        """Whoever still waits has a deadline of its own."""
