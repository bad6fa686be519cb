"""A person at a terminal: what they see, what they press, and how the terminal is left."""

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from near_side import PATIENCE

from immure.testing.household import Household, command


class Screen:
    """The person's side of a pseudo-terminal. `seen` is all that was drawn, line ends as the terminal got them."""

    def __init__(self, side: int, other: int, program: subprocess.Popen[bytes]) -> None:
        self.program = program
        self.seen = b""
        self._side = side
        self._other = other
        self._read_to = 0

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self._other)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._side, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        """Type, and look at the same time: a program that answers every key must not wait for us."""
        deadline = time.monotonic() + PATIENCE
        while keys:
            assert time.monotonic() < deadline, f"{len(keys)} keys were never taken"
            _, writable, _ = select.select([], [self._side], [], 0)
            if writable:
                keys = keys[os.write(self._side, keys[:512]) :]
            self._look(0 if writable else 0.1)

    def expect(self, text: str) -> None:
        """Look until `text` is drawn after what was expected before."""
        deadline = time.monotonic() + PATIENCE
        while (at := self.seen.find(text.encode(), self._read_to)) < 0:
            assert time.monotonic() < deadline, f"{text!r} was not drawn, but: {self.seen[self._read_to :][-500:]!r}"
            assert self._look(0.1) or self.program.poll() is None, f"it ended; drawn was {self.seen[self._read_to :][-500:]!r}"
        self._read_to = at + len(text)

    def status(self) -> int:
        """Look on until it has ended and all is drawn; the exit status."""
        deadline = time.monotonic() + PATIENCE
        while self.program.poll() is None:
            assert time.monotonic() < deadline, f"it does not end; drawn was {self.seen[-500:]!r}"
            self._look(0.05)
        while self._look(0):
            pass
        return self.program.returncode

    def hang_up(self) -> None:
        """Close the window: both ends go, as far as they are ours."""
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, self._other)
        os.dup2(null, self._side)
        os.close(null)

    def _look(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._side], [], [], seconds)
        if ready:
            self.seen += os.read(self._side, 65536)
        return bool(ready)


@contextmanager
def screen(home: Household, *words: str, shell: bool = False, **streams: Any) -> Iterator[Screen]:
    """`immure WORDS` in a terminal of 40 rows and 120 columns, or, with `shell`, the command line `WORDS` of a shell in it."""
    side, other = os.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
    program = subprocess.Popen(
        ["setsid", "--ctty", *(["sh", "-c", *words] if shell else [command(), *words])],
        cwd=home.workspace,
        env=home.environment,
        **{"stdin": other, "stdout": other, "stderr": other, **streams},
    )
    try:
        yield Screen(side, other, program)
    finally:
        if program.poll() is None:
            program.kill()
        program.wait()
        os.close(side)
        os.close(other)
