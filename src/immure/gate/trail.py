"""The way of audit events out of a gate: gathered during a turn, written with one call at its end.

Rules: no audit, no traffic. The write blocks, so a reader that falls behind slows the sandbox instead of losing events; a reader that
is gone ends the gate.
"""

import os

from immure.gate.loop import Loop


class Trail:
    """Writes whole lines to a pipe. Raises SystemExit at the end of a turn in which they cannot be written."""

    def __init__(self, loop: Loop, pipe: int) -> None:
        os.set_blocking(pipe, True)
        self._pipe = pipe
        self._lines: list[bytes] = []
        loop.after_turn(self.flush)

    def add(self, line: bytes) -> None:
        self._lines.append(line)

    def flush(self) -> None:
        if not self._lines:
            return
        left = memoryview(b"".join(self._lines))
        self._lines.clear()
        try:
            while left:
                left = left[os.write(self._pipe, left) :]
        except OSError:
            raise SystemExit("gate: the audit trail is gone") from None
