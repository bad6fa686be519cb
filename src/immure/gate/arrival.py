"""Connections as they come in, up to the point where HTTP can be spoken: accepted, identified, named, decrypted.

Rules: the host of a flow is the name that its address was given out for, or the address itself. The first byte says whether it is TLS
or plain HTTP; anything else is not served. A destination that policy denies gets its handshake all the same, so that the refusal can
be explained inside it.

*Trust:* the agent opens as many connections as it likes, to anywhere, and sends anything. *Fails:* the connection is closed, and the
audit trail says why. Above `capacity` connections are answered 503; well above it, or with no descriptors left, they wait to be accepted.
"""

import errno
import resource
import socket
from math import inf
from typing import Final

from immure.gate.conversation import Conversation
from immure.gate.flow import Flow
from immure.gate.loop import READ
from immure.gate.sandbox import Sandbox
from immure.gate.stream import Stream
from immure.model import Deny, canonical_host

OPENING_TIMEOUT: Final = 30.0
"""Seconds from accept to the end of the TLS handshake."""
MAX_CLIENTS: Final = 4096
SURPLUS: Final = 64
"""Connections above the capacity that are told so, and not just left waiting."""

_ACCEPTS_A_TURN: Final = 16
_RESERVED_DESCRIPTORS: Final = 128
_PAUSE: Final = 1.0
"""Seconds before accepting is tried again without descriptors."""
_TLS_HANDSHAKE: Final = 0x16
"""The record type that a TLS connection begins with (RFC 8446 section 5.1)."""


def capacity() -> int:
    """Clients that the descriptors of this process suffice for, each with a connection upstream."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(MAX_CLIENTS, (limit - _RESERVED_DESCRIPTORS) // 2))


class Reception:
    """Accepts on the listeners of a sandbox, and counts who is there."""

    def __init__(self, sandbox: Sandbox, listeners: list[socket.socket]) -> None:
        self.sandbox = sandbox
        self._capacity = capacity()
        self._present = 0
        self._arrived = 0
        self._listeners = [Listener(self, listener) for listener in listeners]

    def arrive(self, accepted: socket.socket, client: tuple[str, int]) -> None:
        self._present += 1
        self._arrived += 1
        self._judge()
        Arrival(self, accepted, client, f"{self.sandbox.id}-{self._arrived:x}")

    def leave(self) -> None:
        """A connection has been closed."""
        self._present -= 1
        self._judge()

    def _judge(self) -> None:
        self.sandbox.overloaded = self._present > self._capacity
        full = self._present >= self._capacity + SURPLUS
        for listener in self._listeners:
            listener.listen(not full)

    def out_of_descriptors(self) -> None:
        """Give back what can be spared."""
        self.sandbox.pool.shed()


class Listener:
    """One listening socket."""

    def __init__(self, reception: Reception, listener: socket.socket) -> None:
        listener.setblocking(False)
        self.deadline = inf
        self._reception = reception
        self._loop = reception.sandbox.loop
        self._socket = listener
        self._listening = True
        self._loop.watch(listener.fileno(), READ, self)

    def listen(self, on: bool) -> None:
        if on != self._listening:
            self._listening = on
            self._loop.change(self._socket.fileno(), READ if on else 0)

    def ready(self, _: int) -> None:
        for _turn in range(_ACCEPTS_A_TURN):
            if not self._listening:
                return
            try:
                accepted, client = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    # The connection stays in the queue and the listener stays readable: without a pause the loop would spin.
                    self.listen(False)
                    self._loop.expect_within(_PAUSE, self)
                    self._reception.out_of_descriptors()
                    return
                continue  # that one was reset before it was accepted (accept(2))
            self._reception.arrive(accepted, client[:2])

    def expired(self) -> None:
        self.listen(True)

    def abort(self) -> None:
        """One arrival did harm: the next is served all the same."""


class Arrival:
    """A connection until HTTP begins on it."""

    def __init__(self, reception: Reception, accepted: socket.socket, client: tuple[str, int], identity: str) -> None:
        self._sandbox = sandbox = reception.sandbox
        self._id = identity
        self._encrypted = False
        family = accepted.family
        self._stream = Stream(sandbox.loop, accepted, self, Stream.ARRIVING, reception.leave)
        try:
            destination = accepted.getsockname()[:2]
            self._host = sandbox.names.name_of(destination[0]) or canonical_host(destination[0])
        except (OSError, ValueError):  # reset already, or an address with a scope, which leads nowhere
            self._stream.close()
            return
        self._port = destination[1]
        self._caller = sandbox.callers.caller_of(family, client, destination)
        self._stream.expect_within(OPENING_TIMEOUT)

    @property
    def _flow(self) -> Flow:
        return Flow(id=self._id, host=self._host, port=self._port, encrypted=self._encrypted, caller=self._caller)

    def received(self, data: bytes) -> None:
        if data[0] == _TLS_HANDSHAKE:
            self._encrypted = True
            self._leaf = self._sandbox.authority.leaf(self._host)
            self._stream.secure(self._leaf.context, server_side=True)
        elif data.isalpha() and data.isupper():
            self.opened()
        else:
            reason = f"what was sent to {self._host}, port {self._port}, is neither TLS nor HTTP"
            self._refuse(Deny("protocol", "built-in", reason))

    def opened(self) -> None:
        conversation = Conversation(self._sandbox, self._stream, self._flow)
        self._stream.hand_over(conversation)
        conversation.begin()

    def failed(self, error: OSError) -> None:
        offered = self._leaf.offered
        if offered:
            self._leaf.offered = ""
            reason = f"the TLS handshake names {offered}, but the connection was opened to {self._host}"
            self._refuse(Deny("server-name", "built-in", reason))
        else:
            self._lose(f"the TLS handshake failed: {getattr(error, 'reason', None) or error.strerror}")

    def ended(self) -> None:
        self._lose("the connection was closed before any request")

    def expired(self) -> None:
        self._lose("no request was made in time")

    def drained(self) -> None:
        """Nothing has been sent."""

    def abort(self) -> None:
        self._stream.close()

    def _refuse(self, deny: Deny) -> None:
        self._sandbox.record_connection(self._flow, deny)
        self._stream.close()

    def _lose(self, failure: str) -> None:
        flow = self._flow
        self._sandbox.record_connection(flow, self._sandbox.policy.decide(flow.host, flow.port, flow.caller), failure)
        self._stream.close()
