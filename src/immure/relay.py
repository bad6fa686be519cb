"""The terminal of a walled program: bytes between your terminal and the one inside, both ways, and its window size.

The program inside never holds your terminal, only a pseudo-terminal of its own, so it can neither type into your shell (TIOCSTI) nor
leave your terminal in a strange mode: `close` puts it back as it was.
"""

import fcntl
import os
import select
import signal
import struct
import termios
import tty

_CHUNK = 64 * 1024
_MAX_TYPED = 64 * 1024
"""Bytes typed ahead that wait for a program that does not read; more stay in your terminal."""


class Relay:
    """Raw relay between `terminals` (descriptors of one terminal) and the pty `master`, which it owns."""

    def __init__(self, master: int, terminals: list[int]) -> None:
        self._master = master
        self._input = terminals[0] if terminals[0] == 0 else None
        self._output = terminals[-1]
        self._typed = b""
        self._open = True
        os.set_blocking(master, False)
        self._before = termios.tcgetattr(self._output)
        signal.signal(signal.SIGWINCH, lambda *_: self._resize())
        self._resize()
        tty.setraw(self._output, termios.TCSADRAIN)

    def _resize(self) -> None:
        size = fcntl.ioctl(self._output, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("=HHHH", *struct.unpack("=HHHH", size)))

    def until_readable(self, *descriptors: int) -> dict[int, int]:
        """Relay until there is something to read on one of `descriptors`; returns which, and what poll(2) says of it."""
        while True:
            poll = select.poll()
            for descriptor in descriptors:
                poll.register(descriptor, select.POLLIN)
            if self._open:
                poll.register(self._master, select.POLLIN | (select.POLLOUT if self._typed else 0))
            if self._input is not None and len(self._typed) < _MAX_TYPED:
                poll.register(self._input, select.POLLIN)
            ready = dict(poll.poll())
            if self._master in ready:
                self._pump(ready[self._master])
            if self._input in ready:
                self._read_input()
            if found := {descriptor: ready[descriptor] for descriptor in descriptors if descriptor in ready}:
                return found

    def _pump(self, events: int) -> None:
        if events & select.POLLOUT and self._typed:
            self._typed = self._typed[_write(self._master, self._typed) :]
        if events & ~select.POLLOUT and not self._show():
            self._open = False

    def _show(self) -> bool:
        """Show what the program wrote; False at its end, or at that of your terminal.

        The kernel says EIO when the last holder of the other side is gone, and when a terminal was hung up.
        """
        try:
            data = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._output, view) :]
            except BlockingIOError:  # whoever else has your terminal open may have made it so
                poll = select.poll()
                poll.register(self._output, select.POLLOUT)
                poll.poll()
            except OSError:
                return False
        return bool(data)

    def _read_input(self) -> None:
        assert self._input is not None
        try:
            data = os.read(self._input, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._input = None
        self._typed += data
        self._typed = self._typed[_write(self._master, self._typed) :]

    def close(self) -> None:
        """Show the last output and give your terminal back."""
        try:
            while self._open:
                poll = select.poll()
                poll.register(self._master, select.POLLIN)
                self._open = bool(poll.poll(0)) and self._show()
        finally:
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
            os.close(self._master)
            try:
                termios.tcsetattr(self._output, termios.TCSADRAIN, self._before)
            except termios.error:
                pass  # it was hung up


def _write(descriptor: int, data: bytes) -> int:
    """How many bytes were taken: none if the other side is full or gone."""
    try:
        return os.write(descriptor, data)
    except OSError:
        return 0
