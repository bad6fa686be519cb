"""The interactive Codex in a real pseudo-terminal: it draws, it answers, it ends, and the terminal is left as it was."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from immure.testing.household import Household, command
from immure.testing.openai.scenario import Say, Script
from immure.testing.openai.service import FakeOpenAI

# What Codex asks of a terminal before it draws, and what an xterm would say: cursor position, attributes, keyboard protocol.
QUERIES = {b"\x1b[6n": b"\x1b[1;1R", b"\x1b[c": b"\x1b[?62;c", b"\x1b[?u": b"\x1b[?0u"}
QUERY = re.compile(b"|".join(map(re.escape, QUERIES)))
CONTROLS = re.compile(rb"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[[0-9;?<>=]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>78]")
CTRL_C, ENTER = b"\x03", b"\r"
PATIENCE, STILL = 30.0, 0.3
"""Seconds until something counts as not happening, and without output until a screen counts as still."""


class Terminal:
    """The user's side of a pseudo-terminal with a program on the other."""

    def __init__(self, side: int, program: subprocess.Popen[bytes]) -> None:
        self.program = program
        self.drawn = b""
        self._side = side
        self._fresh = b""
        self._unanswered = b""

    def settings(self) -> list[Any]:
        """The line discipline's settings (termios(3)), the same from either side."""
        return termios.tcgetattr(self._side)

    def press(self, keys: bytes) -> None:
        os.write(self._side, keys)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._side, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def expect(self, text: str, *, pressing: bytes = b"") -> None:
        """Read until `text` was drawn, white space and control sequences aside; forget what was drawn before.

        `pressing`: keys to press whenever nothing moves on the screen. Codex throws away what is typed before a dialogue stands, and
        gives up if keys come while it does (0.169.0).
        """
        wanted = "".join(text.split()).encode()
        deadline = time.monotonic() + PATIENCE
        while wanted not in (drawn := b"".join(CONTROLS.sub(b"", self._fresh).split())):
            shown = drawn[-2000:].decode(errors="replace")
            assert time.monotonic() < deadline, f"{text!r} was not drawn, but: {shown}"
            if not self._read():
                assert self.program.poll() is None, f"the program ended before {text!r} was drawn: {shown}"
                self.press(pressing)
        self._fresh = b""

    def status(self, *, pressing: bytes = b"") -> int:
        """Read to the end and return the exit status; `pressing` as for `expect`."""
        deadline = time.monotonic() + PATIENCE
        while self.program.poll() is None and time.monotonic() < deadline:
            if not self._read():
                self.press(pressing)
        return self.program.wait(0)

    def _read(self) -> bool:
        """Take in what is drawn within a moment; whether anything was."""
        ready, _, _ = select.select([self._side], [], [], STILL)
        if not ready:
            return False
        try:
            data = os.read(self._side, 65536)
        except OSError:  # EIO: nobody holds the other side any more
            return False
        self._fresh += data
        self.drawn += data
        # Each is answered, in order, also when a read ends within it.
        self._unanswered += data
        for query in QUERY.findall(self._unanswered):
            self.press(QUERIES[query])
        self._unanswered = QUERY.split(self._unanswered)[-1][-3:]
        return True


@contextmanager
def terminal(home: Household, *arguments: str) -> Iterator[Terminal]:
    """`immure ARGUMENTS` in a terminal of 40 rows and 120 columns."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
    words = ["setsid", "--ctty", command(), *arguments]
    program = subprocess.Popen(words, cwd=home.workspace, env=home.environment, stdin=theirs, stdout=theirs, stderr=theirs)
    try:
        yield Terminal(ours, program)
    finally:
        if program.poll() is None:
            program.kill()
        program.wait()
        os.close(ours)
        os.close(theirs)


def test_a_conversation_in_a_terminal(fake: FakeOpenAI, home: Household) -> None:
    fake.script = Script(Say("Greetings from the model"))
    with terminal(home, "codex") as screen:
        before = screen.settings()
        screen.expect("Trust and continue")
        screen.expect("Ask Codex to do anything", pressing=ENTER)
        screen.press(b"hello")
        screen.expect("hello")
        screen.expect("Greetings from the model", pressing=ENTER)
        assert screen.settings() != before, "an interactive program has the terminal raw"
        assert screen.status(pressing=CTRL_C) == 0
        assert screen.settings() == before
    assert not any(secret.encode() in screen.drawn for secret in fake.account.secrets().values())


def test_the_size_of_the_window_is_known_inside_and_follows(home: Household) -> None:
    script = (
        "import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH, signal.SIGINT}); print(*os.get_terminal_size())\n"
        "while signal.sigwait({signal.SIGWINCH, signal.SIGINT}) == signal.SIGWINCH: print(*os.get_terminal_size())"
    )
    with terminal(home, "run", "--", "python3", "-c", script) as screen:
        screen.expect("120 40")
        for columns in range(150, 450):  # each as soon as the last is drawn, when the relay is about to wait again
            screen.resize(50, columns)
            screen.expect(f"{columns} 50")
        screen.press(CTRL_C)
        assert screen.status() == 0


def test_a_key_for_an_interrupt_reaches_the_program_inside(home: Household) -> None:
    script = "trap 'echo caught; exit 3' INT; echo ready; while :; do read -r -t 0.2; done"
    with terminal(home, "run", "--", "bash", "-c", script) as screen:
        before = screen.settings()
        screen.expect("ready")
        screen.press(CTRL_C)
        screen.expect("caught")
        assert screen.status() == 3
        assert screen.settings() == before


def test_a_terminal_that_goes_away_ends_the_program_inside(home: Household) -> None:
    # Not a shell that reads: bash notes a signal that comes just before its read(2), and then waits for a key all the same.
    with terminal(home, "run", "--", "bash", "-c", "echo ready; exec sleep 600") as screen:
        screen.expect("ready")
        screen.program.send_signal(signal.SIGHUP)
        assert screen.status() == 128 + signal.SIGHUP
