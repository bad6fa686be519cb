"""By whom a process was started, and by whom that: the ancestors of a caller, up to the first program of the sandbox.

A parent can leave while it is looked at, and its pid can be another's a moment later. So one that was not seen before counts only if its
child still has it afterwards; one that was seen before and has the same life has been there all the time, and need not be looked at.

Rules: as in `immure.gate.process`. *Fails:* closed: where a process has left, the ancestors end, and what was above is not known. A
daemon has left its ancestors behind on purpose.

*Trust:* the kernel's word on parents. It tells what a parent runs now, not what it ran when it forked.
"""

from collections.abc import Iterator
from typing import Final

from immure.gate import process
from immure.gate.process import Life
from immure.model import Binary, Process

MAX_ANCESTORS: Final = 64
MAX_REMEMBERED: Final = 1024
"""Programs of ancestors; the oldest is dropped first."""


class Ancestry:
    """Of the processes of one sandbox, whose first two are bubblewrap's and nobody's ancestors: `first` and the one that it started."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._second = 0
        self._programs: dict[Life, Binary] = {}

    def of(self, child: Life) -> Iterator[Process]:
        """The parent of a process, the parent of that, and so on, each as it was found, without digest."""
        try:
            for _ in range(MAX_ANCESTORS):
                if child.parent in (self._first, self._second):
                    return
                parent = process.life(child.parent)
                if parent.parent == self._first:
                    self._second = parent.pid
                    return
                binary = self._programs.get(parent)
                if binary is None:
                    binary = process.program(parent.pid)
                    if process.life(child.pid).parent != parent.pid:
                        return
                    self._remember(parent, binary)
                yield Process(binary, parent.pid)
                child = parent
        except (OSError, ValueError):
            return  # gone

    def _remember(self, life: Life, binary: Binary) -> None:
        if len(self._programs) >= MAX_REMEMBERED:
            del self._programs[next(iter(self._programs))]
        self._programs[life] = binary
