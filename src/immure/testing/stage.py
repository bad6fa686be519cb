"""Where a demonstration is shown: lines for a person, marks for what was checked, and the output of programs as it comes.

Rule: readable without colour; colour only on a terminal whose owner does not mind (no-color.org).
"""

import re
import subprocess
import threading
from typing import IO

_PATIENCE = 60.0
"""Seconds to wait for the last words of a program that has ended."""


class Stage:
    """Text to a terminal or a pipe; `failed` counts the checks that did not hold."""

    def __init__(self, out: IO[str], *, colour: bool) -> None:
        self._out = out
        self._colour = colour
        self._lock = threading.Lock()
        self.failed = 0

    def heading(self, text: str) -> None:
        self._write("\n" + self._painted(text, "1"))

    def quote(self, text: str) -> None:
        """Something that a program said, or that lies in a file."""
        for line in text.rstrip("\n").split("\n"):
            self._write(self._painted(f"    │ {shortened(line)}", "2"))

    def check(self, held: object, claim: str) -> None:
        self.failed += not held
        self._write(f"  {self._painted('✓', '32') if held else self._painted('✗', '31')} {claim}")

    def _painted(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def _write(self, line: str) -> None:
        with self._lock:
            print(line, file=self._out, flush=True)


def shortened(line: str, width: int = 150) -> str:
    """The line with long tokens cut in their middle, and cut itself at `width`."""
    line = re.sub(r"[\w.-]{48,}", lambda token: f"{token[0][:20]}…{token[0][-6:]}", line)
    return line if len(line) <= width else line[: width - 1] + "…"


class Output:
    """What a program writes, shown live and kept."""

    def __init__(self, program: subprocess.Popen[bytes], stage: Stage) -> None:
        assert program.stdout
        assert program.stderr
        self.stdout, self.stderr = bytearray(), bytearray()
        self._readers = [
            threading.Thread(target=self._read, args=(program.stdout, self.stdout, stage), daemon=True),
            threading.Thread(target=self._read, args=(program.stderr, self.stderr, stage), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: IO[bytes], kept: bytearray, stage: Stage) -> None:
        with pipe:
            for line in pipe:
                kept += line
                stage.quote(line.decode(errors="replace"))

    def finish(self) -> None:
        for reader in self._readers:
            reader.join(_PATIENCE)
