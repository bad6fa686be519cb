"""One non-blocking stream socket, plain or TLS, that reads a bounded amount a turn and lets nothing pile up.

TLS is the public `ssl.SSLSocket` on the descriptor itself: no copy through memory buffers, 48 KiB a connection where asyncio's
transport takes ten times that.

Rules: at most `RECORDS` records are read a turn, so that one download does not keep the others waiting. Two streams that are `joined`
hold each other back: while the output of one waits, the other is not read. Writing never calls the owner back; an owner that has more
to send than it may in one turn asks for the next with room. A connection found broken while writing is reported by the loop, as its end.
"""

import os
import socket
import ssl
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final, Protocol

from immure.gate.loop import HANG_UP, READ, WRITE, Loop

RECORD: Final = 16 * 1024
"""Octets of the largest TLS record; reading less would leave decrypted bytes behind that no epoll knows of."""
RECORDS: Final = 8
LINGER: Final = 5.0
"""Seconds to read on after the last answer, and the octets to read at most: closing at once would reset the connection, and the reset
may overtake the answer (RFC 9112 section 9.6)."""
LINGER_OCTETS: Final = 16 << 20

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_TCP_CORK: Final = socket.TCP_CORK

# Why a stream is not read; several reasons may hold at once.
BY_PEER: Final = 1
BY_OWNER: Final = 2
BY_DIAL: Final = 4


class Owner(Protocol):
    """What a stream reports to."""

    def received(self, data: bytes) -> None:
        """The next bytes; of a stream that is `ARRIVING` the first one, which stays to be read."""

    def drained(self) -> None:
        """Output that had waited is gone, or there is room that was asked for."""

    def ended(self) -> None:
        """The other side has closed, or the connection broke."""

    def opened(self) -> None:
        """The connection, or the TLS handshake on it, is complete."""

    def failed(self, error: OSError) -> None:
        """It never will be."""

    def expired(self) -> None: ...

    def abort(self) -> None: ...


class Stream:
    """A socket of which the stream becomes the owner: connected, or on its way there (`CONNECTING`), or accepted and not to be read
    before its owner has seen the first byte (`ARRIVING`). It is read as soon as it can be; `hold` it to stop that.

    `left` is called once, when the socket is closed.
    """

    __slots__ = (
        *("_broken", "_events", "_forgotten", "_held", "_left", "_lingered", "_loop", "_mode", "_owner", "_pending"),
        *("_receive", "_socket", "_transmit", "deadline", "fd", "peer"),
    )

    OPEN, CONNECTING, ARRIVING, _SHAKING, _FINISHING, _LINGERING, _CLOSED = range(7)

    def __init__(
        self, loop: Loop, transport: socket.socket, owner: Owner, mode: int = OPEN, left: Callable[[], None] | None = None
    ) -> None:
        transport.setblocking(False)
        transport.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop = loop
        self._socket = transport
        self._receive: Callable[[int], bytes] = transport.recv
        self._transmit: Callable[[bytes | memoryview], int] = transport.send
        self._owner = owner
        self._mode = mode
        self._left = left
        self.peer: Stream | None = None
        self._pending: deque[bytes | memoryview] = deque()
        self._held = 0
        self._broken = False
        self._forgotten = False
        self._lingered = -1
        self._events = WRITE if mode == self.CONNECTING else READ
        self.deadline = inf
        self.fd = transport.fileno()
        loop.watch(self.fd, self._events, self)

    @property
    def closed(self) -> bool:
        """Nothing more can be sent: it is closed, or will be once what was sent is gone."""
        return self._mode >= self._FINISHING

    @property
    def blocked(self) -> bool:
        """Output is waiting."""
        return bool(self._pending)

    def hand_over(self, owner: Owner) -> None:
        """From now on the stream reports to `owner`, and is read."""
        self._owner = owner
        self._mode = self.OPEN

    def expect_within(self, seconds: float) -> None:
        self._loop.expect_within(seconds, self)

    # Reading

    def ready(self, events: int) -> None:
        if self._mode != self.OPEN:
            self._ready_otherwise(events)
            return
        if events & WRITE:
            self._flush()
        if not events & ~WRITE or self._mode != self.OPEN:
            return
        if self._broken:
            self._owner.ended()
        elif not self._held:
            self._read()
        elif events & HANG_UP:
            self._loop.forget(self.fd)  # else it would be reported for ever; `_interest` takes it up again
            self._forgotten = True

    def _read(self) -> None:
        receive, peer = self._receive, None
        for _ in range(RECORDS):
            try:
                data = receive(RECORD)
            except _WOULD_BLOCK:
                break
            except OSError:
                data = b""
            if not data:
                self._owner.ended()
                break
            self._owner.received(data)
            if len(data) < RECORD or self._held or self._mode != self.OPEN:
                break
            if peer is None and self.peer is not None:
                peer = self.peer
                peer.cork(True)
        if peer is not None:
            peer.cork(False)

    def quiet(self) -> bool:
        """Whether the connection is open and nothing waits to be read on it."""
        try:
            self._receive(RECORD)
        except _WOULD_BLOCK:
            return True
        except OSError:
            return False
        return False

    def hold(self, reason: int) -> None:
        """Stop reading for a reason."""
        if not self._held and self._mode == self.OPEN:
            self._interest(self._events & ~READ)
        self._held |= reason

    def release(self, reason: int) -> None:
        """Read again once no reason against it is left."""
        if self._held & reason:
            self._held &= ~reason
            if not self._held and self._mode == self.OPEN:
                self._interest(self._events | READ)

    def _interest(self, events: int) -> None:
        if self._forgotten:
            self._forgotten = False
            self._loop.watch(self.fd, events, self)
        elif events != self._events:
            self._loop.change(self.fd, events)
        self._events = events

    # Writing

    def send(self, data: bytes) -> None:
        """Send, or keep what cannot be sent yet."""
        if self._pending:
            self._pending.append(data)
            return
        if self._broken or self.closed:
            return
        rest: bytes | memoryview = data
        try:
            sent = self._transmit(data)
            if sent == len(data):
                return
            rest = memoryview(data)[sent:]
            while rest:
                rest = rest[self._transmit(rest) :]
        except _WOULD_BLOCK:
            self._pending.append(rest)
            self._interest(self._events | WRITE)
            if self.peer is not None:
                self.peer.hold(BY_PEER)
        except OSError:
            self._break()

    def ask_for_room(self) -> None:
        """Have the owner told that it can send, at the next turn or whenever there is room again."""
        if self._mode == self.OPEN and not self._broken:
            self._interest(self._events | WRITE)

    def _flush(self) -> None:
        pending = self._pending
        try:
            while pending:
                rest = pending[0]
                sent = self._transmit(rest)
                if sent == len(rest):
                    pending.popleft()
                else:
                    pending[0] = memoryview(rest)[sent:]
        except _WOULD_BLOCK:
            return
        except OSError:
            self._break()
            return
        self._interest(self._events & ~WRITE)
        if self.peer is not None:
            self.peer.release(BY_PEER)
        if self._mode == self.OPEN:
            self._owner.drained()

    def _break(self) -> None:
        """Writing failed. What is left to read is of no use either, and shutting down makes the loop report the end."""
        self._pending.clear()
        self._broken = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not connected any more, which is reported as well
        self._interest(READ)

    def cork(self, on: bool) -> None:
        """Let the kernel fill packets while several records are on their way (TCP_CORK): worth a quarter of a download's speed."""
        if self._mode == self.OPEN:
            self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_CORK, on)

    # Two streams

    def join(self, peer: "Stream") -> None:
        """From now on what one reads is what the other sends."""
        self.peer, peer.peer = peer, self
        for one, other in ((self, peer), (peer, self)):
            if one.blocked:
                other.hold(BY_PEER)

    def part(self) -> None:
        """Undo `join`."""
        peer, self.peer = self.peer, None
        if peer is not None:
            peer.peer = None
            peer.release(BY_PEER)
            self.release(BY_PEER)

    # Opening

    def _arrived(self) -> None:
        try:
            first = self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            first = b""
        if first:
            self._owner.received(first)
        else:
            self._owner.ended()

    def _connected(self) -> None:
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._owner.failed(OSError(number, os.strerror(number)))
            return
        self._mode = self.OPEN
        self._interest(0 if self._held else READ)
        self._owner.opened()

    def secure(self, context: ssl.SSLContext, *, server_side: bool, name: str | None = None) -> None:
        """Begin the TLS handshake; the owner is told how it went."""
        self._mode = self._SHAKING
        try:
            secured = context.wrap_socket(self._socket, server_side=server_side, do_handshake_on_connect=False, server_hostname=name)
        except (OSError, ValueError) as error:  # it has been reset meanwhile, and its descriptor is closed
            self._owner.failed(error if isinstance(error, OSError) else OSError(str(error)))
            return
        self._socket, self._receive, self._transmit = secured, secured.read, secured.write
        self._shake()

    def _shake(self) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self._interest(READ)
            return
        except ssl.SSLWantWriteError:
            self._interest(WRITE)
            return
        except OSError as error:
            self._owner.failed(error)
            return
        self._mode = self.OPEN
        self._interest(0 if self._held else READ)
        self._owner.opened()

    # The end

    def close(self) -> None:
        """Close at once. A TLS peer sees that the connection was cut off."""
        if self._mode != self._CLOSED:
            self.part()
            self._mode = self._CLOSED
            self._pending.clear()
            self._loop.forget(self.fd)
            self._socket.close()
            if self._left is not None:
                self._left()

    def finish(self, *, linger: bool) -> None:
        """Close once everything is sent; with `linger`, read on for a moment so that the peer gets to see the last of it."""
        if self.closed:
            return
        self.part()
        self._mode = self._FINISHING
        self._lingered = 0 if linger else -1
        self.expect_within(LINGER)
        if self._pending:
            self._interest(WRITE)
        else:
            self._finish()

    def _ready_otherwise(self, events: int) -> None:
        if self._mode == self._SHAKING:
            self._shake()
        elif self._mode == self.CONNECTING:
            self._connected()
        elif self._mode == self.ARRIVING:
            self._arrived()
        elif self._mode == self._LINGERING:
            self._discard()
        elif self._mode == self._FINISHING:
            if self._pending and not events & HANG_UP:
                self._flush()
            if not self._pending or events & HANG_UP:
                self._finish()

    def _finish(self) -> None:
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket.unwrap()  # close_notify; the answer to it is not waited for
        except (OSError, ValueError):
            pass
        if self._lingered < 0 or self._broken:
            self.close()
            return
        self._mode = self._LINGERING
        try:
            self._socket.shutdown(socket.SHUT_WR)
            self._interest(READ)
        except OSError:
            self.close()

    def _discard(self) -> None:
        try:
            data = os.read(self.fd, 8 * RECORD)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._lingered += len(data)
        if not data or self._lingered > LINGER_OCTETS:
            self.close()

    def expired(self) -> None:
        if self.closed:
            self.close()
        else:
            self._owner.expired()

    def abort(self) -> None:
        try:
            self._owner.abort()
        finally:
            self.close()
