"""One end of a channel in the broker's event loop: messages come in by callback, go out at once."""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

from immure import channel

_PATIENCE = 5.0
"""Seconds for which a peer may leave its messages unread before it counts as dead."""


class Line:
    """Owns `sock`. `on_message(message, descriptors)` owns the descriptors; `on_close()` is called once, unless we close first."""

    def __init__(self, sock: socket.socket, on_message: Callable[[channel.Message, list[int]], None], on_close: Callable[[], None]) -> None:
        sock.settimeout(_PATIENCE)
        self._sock = sock
        self._on_message = on_message
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    def _readable(self) -> None:
        try:
            received = channel.receive(self._sock)
        except (OSError, ValueError):
            received = None  # a peer that does not speak our language is as good as gone
        if received is not None:
            self._on_message(*received)
        elif self._sock.fileno() >= 0:
            self.close()
            self._on_close()

    def send(self, message: channel.Message, descriptors: Sequence[int] = ()) -> None:
        """Send, if the peer is still there; that it is not is told by `on_close`."""
        try:
            channel.send(self._sock, message, descriptors)
        except OSError:
            pass

    def send_word(self, word: str, descriptor: int | None = None) -> None:
        """What a client understands: see client.py."""
        try:
            socket.send_fds(self._sock, [word.encode()], [] if descriptor is None else [descriptor], socket.MSG_NOSIGNAL)
        except OSError:
            pass

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._sock.close()


def close_all(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)
