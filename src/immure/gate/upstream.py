"""Connections to the real world: dialled, verified, used for one exchange after another, kept for the next.

The sandbox's short-lived connections share them, so that a fresh process inside finds a connection that is already warm.

Rules: a name is resolved here and nowhere else, after policy has allowed it, and exactly the address that was judged is dialled; only
what the host's own settings map goes to an address that `reach` would refuse. Certificates are verified against the system's trust
store, or the mapping's. A connection is used again only if both sides of the last exchange were complete to the byte.

*Trust:* the upstream chooses every byte of its answers. *Fails:* `Failure`, which the client is told.
"""

import errno
import socket
import ssl
from math import inf
from typing import Final, NamedTuple, Protocol

from immure.config.settings import Upstream
from immure.errors import PeerError
from immure.gate.loop import Loop
from immure.gate.reach import objection
from immure.gate.resolver import Answer, Resolver
from immure.gate.stream import BY_OWNER, Stream
from immure.model.endpoint import address_of
from immure.wire.head import Headers, Response
from immure.wire.http1 import End, ResponseReader

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for one address, TLS included, before the next is tried."""
IDLE_LIMIT: Final = 55.0
"""Seconds an unused connection is kept: less than the 60 after which many servers and NATs drop one."""
MAX_IDLE_PER_HOST: Final = 32
MAX_IDLE: Final = 128

_OUT_OF_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Key(NamedTuple):
    """What connections are interchangeable by."""

    host: str
    port: int
    encrypted: bool


class Failure(NamedTuple):
    """Why there is no answer: the status and code to tell the client, and one sentence."""

    status: int
    code: str
    reason: str


class Exchange(Protocol):
    """One request and its answer, as a connection sees them."""

    def connected(self, connection: "Connection") -> None:
        """The connection that was dialled can be used."""

    def interim(self, response: Response) -> None: ...

    def answered(self, response: Response) -> None: ...

    def payload(self, data: bytes) -> None: ...

    def completed(self, trailers: Headers) -> None:
        """The answer is complete; the connection is the exchange's to `keep` or `close`."""

    def flush(self) -> None:
        """Nothing more has arrived for now."""

    def fail(self, failure: Failure) -> None:
        """There is no answer, or no end to it."""


class Connection:
    """A connection to one upstream. `exchange` is None while it waits for the next."""

    __slots__ = (
        "_addresses",
        "_error",
        "_opened",
        "_pool",
        "_port",
        "_reader",
        "_secured",
        "era",
        "exchange",
        "key",
        "reused",
        "silent",
        "stream",
    )

    def __init__(self, pool: "Pool", key: Key, exchange: Exchange) -> None:
        self._pool = pool
        self._reader = ResponseReader()
        self._addresses: list[str] = []
        self._port = key.port
        self._error: OSError | None = None
        self._opened = False
        self._secured = not key.encrypted
        self.exchange: Exchange | None = exchange
        self.era = pool.era
        self.key = key
        self.stream: Stream | None = None
        self.reused = False
        self.silent = True

    # Dialling

    def dial(self) -> None:
        """Find an address and connect to it; the exchange is told how it went."""
        host = self.key.host
        mapped = self._pool.upstreams.get(host)
        if mapped is not None:
            self._addresses, self._port = [mapped.address], mapped.port
            self._dial_next()
        elif address_of(host) is not None:
            self._resolved((host,))
        else:
            self._pool.resolver.resolve(host, self._resolved)

    def _resolved(self, answer: Answer) -> None:
        if self.exchange is None:
            return  # given up meanwhile
        if not answer:
            self._fail(Failure(502, "upstream_unknown", f"no address was found for {self.key.host}"))
            return
        self._addresses = [address for address in answer if objection(address) is None]
        if not self._addresses:
            kind = objection(answer[0])
            self._fail(
                Failure(403, "address_refused", f"{self.key.host} is at {answer[0]}, which is {kind}: only public addresses are reached")
            )
            return
        self._dial_next()

    def _dial_next(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.stream = None
        self._secured = not self.key.encrypted
        while self._addresses:
            address = self._addresses.pop(0)
            try:
                dialling = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            except OSError as error:
                self._error = error
                break
            dialling.setblocking(False)
            try:
                dialling.connect((address, self._port))
            except BlockingIOError:
                pass
            except OSError as error:
                dialling.close()
                self._error = error
                continue
            self.stream = Stream(self._pool.loop, dialling, self, Stream.CONNECTING)
            self.stream.expect_within(CONNECT_TIMEOUT)
            return
        self._fail(_failure(self.key, self._error))

    def opened(self) -> None:
        assert self.stream is not None
        if not self._secured:
            self._secured = True
            self.stream.secure(self._pool.context(self.key.host), server_side=False, name=self.key.host)
            return
        self.stream.deadline = inf
        self._opened = True
        if self.exchange is not None:
            self.exchange.connected(self)

    def failed(self, error: OSError) -> None:
        self._error = error
        if isinstance(error, ssl.SSLCertVerificationError):
            self._addresses.clear()  # the others would be no more trustworthy
        self._dial_next()

    def _fail(self, failure: Failure) -> None:
        exchange = self.exchange
        self.close()
        if exchange is not None:
            exchange.fail(failure)

    # One exchange after another

    def ask(self, exchange: Exchange, method: bytes, upgrade: bytes) -> None:
        """Begin an exchange: what is sent from now on is its request."""
        self.exchange = exchange
        self.silent = True
        self._reader.expect(method, upgrade)

    def join(self, client: Stream) -> None:
        assert self.stream is not None
        self.stream.join(client)

    def send(self, data: bytes) -> None:
        assert self.stream is not None
        self.stream.send(data)

    def hold(self) -> None:
        """Read no more of the answer until `release`."""
        if self.stream is not None:
            self.stream.hold(BY_OWNER)

    def release(self) -> None:
        if self.stream is not None:
            self.stream.release(BY_OWNER)

    @property
    def usable(self) -> bool:
        """Whether something can be sent."""
        return self._opened and self.stream is not None and not self.stream.closed

    @property
    def clean(self) -> bool:
        """Whether nothing is left over in either direction."""
        return self.stream is not None and not self.stream.closed and not self.stream.blocked and not self._reader.waiting

    @property
    def quiet(self) -> bool:
        """Whether it is certainly still open (asked before a request that must not be lost on a connection that has just ended)."""
        return self.stream is not None and self.stream.quiet()

    def received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self.close()
            return
        self.silent = False
        self._reader.feed(data)
        try:
            while self.exchange is exchange and (event := self._reader.next_event()) is not None:
                if isinstance(event, bytes):
                    exchange.payload(event)
                elif isinstance(event, End):
                    exchange.completed(event.trailers)
                    return
                elif event.status < 200 and event.status != 101:
                    exchange.interim(event)
                else:
                    exchange.answered(event)
        except PeerError as error:
            self._fail(Failure(502, "upstream_protocol", f"{self.key.host} answered with {error.reason}"))
            return
        if self.exchange is exchange:
            exchange.flush()

    def ended(self) -> None:
        exchange = self.exchange
        if exchange is None:
            self.close()
            return
        try:
            end = self._reader.close()
        except PeerError:
            self._fail(Failure(502, "upstream_closed", f"{self.key.host} closed the connection before it had answered completely"))
        else:
            exchange.completed(end.trailers)

    def drained(self) -> None:
        """The client, which had been held for it, is read again by itself."""

    def expired(self) -> None:
        if self._opened:
            self.close()
        else:
            self._error = TimeoutError()
            self._dial_next()

    def keep(self) -> None:
        """The exchange is over and the connection may serve another."""
        assert self.stream is not None
        self.exchange = None
        self.reused = True
        self.stream.part()
        self._pool.keep(self)

    def finish(self) -> None:
        """Close once everything is sent and had a chance to be read: the other side of a tunnel has ended."""
        self.exchange = None
        if self.stream is not None:
            self.stream.finish(linger=True)

    def close(self) -> None:
        self.exchange = None
        if self.stream is not None:
            self.stream.close()
        self._pool.forget(self)

    def abort(self) -> None:
        self._fail(Failure(502, "internal", "the gate failed to handle this exchange"))


class Pool:
    """The connections of one sandbox. Nothing in it is shared with another."""

    def __init__(self, loop: Loop, resolver: Resolver, upstreams: tuple[Upstream, ...], trust: ssl.SSLContext) -> None:
        self.loop = loop
        self.resolver = resolver
        self.upstreams = {upstream.host: upstream for upstream in upstreams}
        self.era = 0
        self._trust = trust
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._idle: dict[Key, list[Connection]] = {}
        self._kept: dict[Connection, None] = {}  # all that are idle, the longest first

    def take(self, key: Key) -> Connection | None:
        """The connection that was used last, if one is idle: its congestion window is the widest."""
        idle = self._idle.get(key)
        if not idle:
            return None
        connection = idle.pop()
        del self._kept[connection]
        assert connection.stream is not None
        connection.stream.deadline = inf
        return connection

    def keep(self, connection: Connection) -> None:
        if connection.era != self.era:
            connection.close()
            return
        idle = self._idle.setdefault(connection.key, [])
        idle.append(connection)
        self._kept[connection] = None
        assert connection.stream is not None
        connection.stream.expect_within(IDLE_LIMIT)
        if len(idle) > MAX_IDLE_PER_HOST:
            idle[0].close()
        elif len(self._kept) > MAX_IDLE:
            next(iter(self._kept)).close()

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        if connection in self._kept:
            del self._kept[connection]
            idle = self._idle[connection.key]
            idle.remove(connection)
            if not idle:
                del self._idle[connection.key]

    def shed(self) -> None:
        """Close all idle connections: descriptors are short."""
        for connection in list(self._kept):
            connection.close()

    def renew(self) -> None:
        """What is connected now serves no further exchange."""
        self.era += 1
        self.shed()

    def context(self, host: str) -> ssl.SSLContext:
        """What to verify a host's certificate by."""
        upstream = self.upstreams.get(host)
        if upstream is None or upstream.ca_pem is None:
            return self._trust
        context = self._contexts.get(host)
        if context is None:
            context = self._contexts[host] = client_context(upstream.ca_pem)
        return context


def client_context(ca_pem: str | None = None) -> ssl.SSLContext:
    """A client's context that verifies chain and host name, TLS 1.2 or newer, with the given certificates or else the system's."""
    context = ssl.create_default_context(cadata=ca_pem)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _failure(key: Key, error: OSError | None) -> Failure:
    host = key.host
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure(502, "upstream_certificate", f"the certificate of {host} was not accepted: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return Failure(502, "upstream_tls", f"the TLS handshake with {host} failed: {error.reason or 'no reason given'}")
    if isinstance(error, TimeoutError):
        return Failure(504, "upstream_timeout", f"{host} did not answer within {CONNECT_TIMEOUT:.0f} seconds")
    if error is not None and error.errno in _OUT_OF_DESCRIPTORS:
        return Failure(503, "overloaded", "the gate has no descriptors left for another connection")
    return Failure(502, "upstream_unreachable", f"{host} could not be reached: {error.strerror if error else 'no address'}")
