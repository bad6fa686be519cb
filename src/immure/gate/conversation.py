"""The requests of one client connection, one after another: read, judged, and handed to whatever answers them.

    authority      Host, and the authority of an absolute-form target, must name the host the connection was opened to, else 421
    policy         endpoint and program, else 403
    virtual        a path that the broker answers itself
    credentials    placeholders in their slots become secrets, or the request is refused with 403
    exchange       the request goes to the upstream

Nothing is resolved or sent before all of these have passed. Pipelined requests wait in the reader until the one before is answered.

*Trust:* the agent writes every byte. *Fails:* closed, with an answer that explains; bytes that cannot be read end the connection.
"""

from math import inf
from typing import Final, Protocol

from immure.errors import PeerError
from immure.gate.answer import denial, problem, respond
from immure.gate.exchange import Forwarding, Outgoing
from immure.gate.flow import Flow
from immure.gate.sandbox import Sandbox
from immure.gate.stream import BY_OWNER, Stream
from immure.gate.substitution import BodySubstitution, Substitution
from immure.gate.upstream import Key
from immure.gate.virtual import VirtualCall
from immure.model import Allow, Decision, Deny
from immure.rewrite import Refused
from immure.wire.head import Framing, Headers, Request
from immure.wire.http1 import End, RequestReader

HEAD_TIMEOUT: Final = 30.0
"""Seconds from the first byte of a head to its last."""
KEEP_ALIVE: Final = 300.0
"""Seconds that a client may keep a connection without using it."""
MAX_AHEAD: Final = 64 * 1024
"""Octets that are read ahead while an earlier request is being answered."""


class Handling(Protocol):
    """What answers a request, and is given its body."""

    def body(self, data: bytes) -> None: ...

    def body_end(self, trailers: Headers) -> None: ...

    def body_pause(self) -> None:
        """Nothing more of the request has arrived for now."""

    def drained(self) -> None:
        """The client has room for more of the answer."""

    def overdue(self) -> None:
        """A deadline that was set on the client's stream has passed."""

    def abandon(self) -> None:
        """The client is gone."""


class Conversation:
    """One client connection on which HTTP/1 is spoken."""

    __slots__ = (
        *("_authorities", "_decision", "_grants", "_handling", "_head_begun", "_pumping", "_read", "_reader", "_requests", "_sandbox"),
        *("_substitution",),
        *("authority", "flow", "key", "stream"),
    )

    def __init__(self, sandbox: Sandbox, stream: Stream, flow: Flow) -> None:
        self._sandbox = sandbox
        self._reader = RequestReader()
        self.authority = flow.authority
        self.key = Key(flow.host, flow.port, flow.encrypted)
        self._authorities = {flow.authority}
        self._grants = sandbox.grants
        self._decision: Decision | None = None  # as long as these hold, for all requests of the connection
        self._substitution = Substitution(sandbox, flow)
        self._handling: Handling | None = None
        self._head_begun = False
        self._pumping = False
        self._read = True  # whether the present request has been read to its end
        self._requests = 0
        self.flow = flow
        self.stream = stream

    def begin(self) -> None:
        self.stream.expect_within(HEAD_TIMEOUT)

    # What the stream reports

    def received(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._handling is None or not self._read:
            self._pump()
        if self._reader.waiting > MAX_AHEAD:
            self.stream.hold(BY_OWNER)

    def drained(self) -> None:
        if self._handling is None:
            self._pump()
        else:
            self._handling.drained()

    def ended(self) -> None:
        handling, self._handling = self._handling, None
        if handling is not None:
            handling.abandon()
        self.stream.close()

    def expired(self) -> None:
        if self._handling is not None:
            self._handling.overdue()
        else:
            self.stream.finish(linger=False)

    def abort(self) -> None:
        self.ended()

    def opened(self) -> None:
        """It was before this conversation began."""

    def failed(self, error: OSError) -> None:
        """It was opened before this conversation began."""

    # Requests

    def _pump(self) -> None:
        """Read on as far as can be handled now."""
        if self._pumping:
            return  # an answer was ready at once: the loop below goes on
        self._pumping = True
        try:
            while not self.stream.closed:
                if self._read and (self._handling is not None or self.stream.blocked):
                    return  # one request at a time, and the next when the answer to the last is on its way
                event = self._reader.next_event()
                if event is None:
                    self._pause()
                    return
                if isinstance(event, Request):
                    self._read = self._head_begun = False
                    self._judge(event)
                elif isinstance(event, End):
                    self._read = True
                    if self._handling is not None:
                        self._handling.body_end(event.trailers)
                    self._pause()
                elif self._handling is not None:
                    self._handling.body(event)
        except PeerError as error:
            self._refuse_bytes(error)
        finally:
            self._pumping = False

    def _pause(self) -> None:
        if self._handling is not None:
            self._handling.body_pause()
        elif self._reader.waiting and not self._head_begun:
            self._head_begun = True
            self.stream.expect_within(HEAD_TIMEOUT)

    def _judge(self, request: Request) -> None:
        self.stream.deadline = inf
        self._requests += 1
        flow = self.flow
        request_id = f"{flow.id}.{self._requests}"
        if self._grants is not self._sandbox.grants:
            self._grants, self._decision = self._sandbox.grants, None
        if self._sandbox.overloaded:
            body = problem("overloaded", "too many connections are open in this sandbox", request_id)
            self.answer(request, 503, body, close=True)
            return
        if deny := self._misdirected(request):
            self._refuse(request, request_id, deny, 421, "misdirected_request")
        elif request.method in (b"CONNECT", b"TRACE"):
            deny = Deny("method", "built-in", f"{request.method.decode()} is not passed on")
            self._refuse(request, request_id, deny, 405, "method_refused")
        else:
            path = request.target.partition(b"?")[0].decode("ascii")
            virtual = self._sandbox.virtual.get((flow.host, flow.port, request.method.decode(), path))
            if virtual is not None:
                decision = self._sandbox.virtual_policy.decide(flow.host, flow.port, flow.caller)
            elif self._decision is not None:
                decision = self._decision
            else:
                decision = self._decision = self._sandbox.policy.decide(flow.host, flow.port, flow.caller)
            match decision:
                case Deny() as deny:
                    self._refuse(request, request_id, self._sandbox.explained(deny, flow), 403, "denied_by_policy")
                case Allow() as allow if virtual is not None:
                    self._handling = VirtualCall(self, self._sandbox, virtual, request, request_id, allow)
                case Allow() as allow:
                    self._allowed(request, request_id, allow)

    def _misdirected(self, request: Request) -> Deny | None:
        """One authority: that of the connection. A request that names another would be decided for one host and served by the other."""
        flow = self.flow
        if request.host == self.authority and not request.scheme:
            return None
        for name in (request.host, request.authority):
            if not name or name in self._authorities:
                continue
            if not flow.is_named_by(name):
                return Deny("authority", "built-in", f"the request names {name.decode('latin-1')!r} on a connection to {flow.host}")
            self._authorities = {self.authority, name}
        if request.host == b"" or request.scheme not in (b"", b"https" if flow.encrypted else b"http"):
            return Deny("authority", "built-in", f"the request does not name {flow.host} as this connection reaches it")
        return None

    def _allowed(self, request: Request, request_id: str, allow: Allow) -> None:
        try:
            prepared = self._substitution.prepare(request)
        except Refused as refused:
            self.refuse_credential(request, request_id, refused)
            return
        if prepared.in_body and request.framing is not Framing.NONE:
            self._handling = BodySubstitution(self, self._substitution, request, request_id, allow)
        else:
            self.forward(request, request_id, allow, prepared.outgoing, prepared.sent)

    def forward(self, request: Request, request_id: str, allow: Allow, outgoing: Outgoing, sent: Request) -> Forwarding:
        """Hand a request to the upstream: `request` as it came, `sent` as it goes."""
        if sent.upgrade and (sent.upgrade != b"websocket" or sent.method != b"GET" or sent.framing is not Framing.NONE):
            sent = sent._replace(upgrade=b"")  # what a WebSocket is not opened with (RFC 6455 section 4.1): the upstream says so
        forwarding = Forwarding(self, self._sandbox, request, request_id, allow, outgoing, sent)
        self._handling = forwarding
        forwarding.start()
        return forwarding

    # Answers

    def _refuse(self, request: Request, request_id: str, deny: Deny, status: int, code: str) -> None:
        self.record(deny, request_id, request, status)
        self.answer(request, status, denial(self.flow, deny, request_id, code))

    def _refuse_bytes(self, error: PeerError) -> None:
        handling, self._handling = self._handling, None
        if handling is not None:
            handling.abandon()
            self.stream.close()  # an answer may be under way, and would be mixed up with this one
            return
        self._requests += 1
        request_id = f"{self.flow.id}.{self._requests}"
        deny = Deny("http", "built-in", f"the request cannot be read: {error.reason}")
        self._sandbox.record_request(self.flow, deny, request_id, b"-", b"-", error.status)
        self.stream.send(respond(None, error.status, denial(self.flow, deny, request_id, "bad_request"), close=True))
        self.stream.finish(linger=True)

    def refuse_credential(self, request: Request, request_id: str, refused: Refused) -> None:
        """Answer a request in which something in a slot does not fit."""
        dead = self._sandbox.withdrawal_of([refused.shown])
        sentence = refused.sentence(self.flow.host, dead.reason if dead else "")
        deny = Deny("credential", "built-in", sentence, dead.hint if dead else "")
        self.record(deny, request_id, request, 403)
        self._sandbox.record_finding(self.flow, request_id, refused, sentence)
        self.answer(request, 403, denial(self.flow, deny, request_id, "credential_refused"))

    def record(self, decision: Decision, request_id: str, request: Request, status: int | None, failure: str = "") -> None:
        self._sandbox.record_request(self.flow, decision, request_id, request.method, request.target, status, failure=failure)

    def answer(self, request: Request, status: int, body: bytes, *, headers: Headers | None = None, close: bool = False) -> None:
        """Answer a request from here, and go on to the next if that can be found."""
        self._read_on()
        close = close or not self._read or not request.keep_alive or request.minor == 0
        self.stream.send(respond(request, status, body, close=close, headers=headers))
        self.finished(close=close)

    def _read_on(self) -> None:
        """Pass over what has arrived of a body that nobody wants."""
        try:
            while not self._read and (event := self._reader.next_event()) is not None:
                self._read = isinstance(event, End)
        except PeerError:
            pass  # where the next request begins will not be found, so the connection is closed

    def cut(self) -> None:
        """The present answer ends here, unfinished: without its end the client knows."""
        self._handling = None
        self.stream.close()

    def switch(self) -> None:
        """Both sides speak another protocol from here on: the present request has no end any more."""
        self._read = False
        self._reader.switch()
        self.stream.release(BY_OWNER)
        if self._reader.waiting:
            self._pump()

    @property
    def request_read(self) -> bool:
        return self._read

    def finished(self, *, close: bool) -> None:
        """The present request has been answered."""
        self._handling = None
        if close:
            self.stream.finish(linger=not self._read)
            return
        self.stream.expect_within(KEEP_ALIVE)
        self.stream.release(BY_OWNER)
        if self._reader.waiting:
            self._pump()
