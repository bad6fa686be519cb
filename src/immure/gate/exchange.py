"""One request that goes to an upstream, and its answer on the way back.

Heads are written anew, chunked framing is taken off and put on; payload passes as it comes in both directions, each side holding the
other back. If secrets went out with the request, the answer is decoded and restored (`Restoration`): it was asked for whole, in codings
that are known here, and is refused if it comes otherwise, for a secret in it could not be found. A WebSocket that they opened is read
frame by frame (`WebSocket`); without secrets it is a tunnel, and an answer passes as it is.

Rules: a request is sent a second time only if it is certain that nothing came of the first: the connection had been kept from an
earlier exchange, not one byte of an answer arrived, and the request changes nothing however often it is sent (RFC 9110 section 9.2.2).

*Trust:* the upstream chooses every byte of the answer. *Fails:* 502 while nothing of the answer has been passed on; after that the
client's connection is cut off, which it sees.
"""

import os
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from immure.errors import PeerError
from immure.gate.answer import problem
from immure.gate.flow import Flow
from immure.gate.restoration import Inward, Restoration, objection, pull
from immure.gate.sandbox import Sandbox
from immure.gate.stream import BY_DIAL
from immure.gate.upstream import Connection, Failure
from immure.gate.websocket import WebSocket
from immure.model import Allow, Decision, Deny
from immure.rewrite import Credential, Pairs, Substituted, restore_headers
from immure.wire import coding, permessage_deflate
from immure.wire.body import chunk, last_chunk
from immure.wire.head import Framing, Headers, Request, Response, write_fields, write_request, write_response
from immure.wire.websocket import POLICY_VIOLATION, PROTOCOL_ERROR, handshake_objection

if TYPE_CHECKING:
    from immure.gate.conversation import Conversation

DIAL_TIMEOUT: Final = 30.0
"""Seconds to find, reach and verify an upstream, all its addresses together."""

_REPEATABLE: Final = frozenset([b"GET", b"HEAD", b"OPTIONS"])
_OPEN_ENDED: Final = (Framing.CHUNKED, Framing.UNTIL_CLOSE)
_NOT_WITH_SECRETS: Final = frozenset([b"accept-encoding", b"range", b"if-range", b"sec-websocket-extensions"])
_NO_PAIRS: Final = Pairs()
_OF_CONNECTIONS: Final = (b"negotiate", b"ntlm")
"""Schemes that authenticate a connection and not a request (RFC 4559 section 6): such a connection serves nobody else."""


class Outgoing(NamedTuple):
    """What is sent of a request's fields: written out, with the credentials whose secrets are in them, and what to restore."""

    fields: bytes
    used: tuple[Credential, ...]
    pairs: Pairs

    @classmethod
    def of(cls, substituted: Substituted, pairs: Pairs) -> "Outgoing":
        """`pairs` are all that the answer may hold; they matter only if a secret goes out."""
        if not substituted.used:
            return cls(write_fields(substituted.headers), (), _NO_PAIRS)
        headers = [field for field in substituted.headers if field[0].lower() not in _NOT_WITH_SECRETS]
        headers.append((b"Accept-Encoding", coding.offer(substituted.headers)))
        if extensions := permessage_deflate.offer(substituted.headers):
            headers.append((b"Sec-WebSocket-Extensions", extensions))
        return cls(write_fields(tuple(headers)), substituted.used, pairs)


class Forwarding:
    """A request under way. It is the `Exchange` of a connection upstream and the `Handling` of a conversation."""

    # What differs from these is set as the exchange goes on; setting a dozen attributes for each request would cost 1 µs.
    _connection: Connection | None = None
    _answered = False  # the head of the final answer has come
    _reusable = False  # the upstream will keep the connection
    _close = False  # the client's connection ends with the answer
    _chunked = False  # the answer is passed on in chunks
    _tunnel = False
    _socket: WebSocket | None = None  # in the tunnel, if secrets opened it
    _inward: Inward | None = None  # what the answer goes through if secrets must be found in it
    _decoded = False  # the body was encoded
    _waiting = False  # more of the answer is at hand than a turn may pass on
    _heads = b""  # to be passed on at the next flush
    _end = b""  # what closes a chunked body; not empty once the answer has come to its end
    _undecided: Response | None = None  # a head whose framing waits to see whether the whole body is at hand

    def __init__(
        self, client: "Conversation", sandbox: Sandbox, request: Request, request_id: str, allow: Allow, outgoing: Outgoing, sent: Request
    ) -> None:
        """`request` is what the client sent, and what is recorded; `sent` is what it becomes, with secrets in its target perhaps."""
        self._client = client
        self._sandbox = sandbox
        self._request = request
        self._sent = sent
        self._request_id = request_id
        self._allow = allow
        self._used = outgoing.used
        self._pairs = outgoing.pairs
        self._key = client.key
        head = write_request(sent, client.authority, outgoing.fields)
        self._unsent = [head]
        self._repeat = head if request.framing is Framing.NONE and request.method in _REPEATABLE else b""
        self._payload: list[bytes] = []

    def start(self) -> None:
        pool = self._sandbox.pool
        while (connection := pool.take(self._key)) is not None:
            if self._repeat or connection.quiet:
                self._attach(connection)
                return
            connection.close()  # it ended a moment ago, and this request cannot be sent twice
        self._dial()

    def _dial(self) -> None:
        self._client.stream.hold(BY_DIAL)
        self._client.stream.expect_within(DIAL_TIMEOUT)
        self._connection = Connection(self._sandbox.pool, self._key, self)
        self._connection.dial()

    def connected(self, connection: Connection) -> None:
        self._client.stream.deadline = inf
        self._attach(connection)
        self._client.stream.release(BY_DIAL)
        self.body_pause()

    def _attach(self, connection: Connection) -> None:
        self._connection = connection
        connection.ask(self, self._sent.method, self._sent.upgrade)
        connection.join(self._client.stream)

    # The request

    def body(self, data: bytes) -> None:
        if self._socket is not None:
            self._carry(self._socket, data)
        else:
            self._unsent.append(chunk(data) if self._sent.framing is Framing.CHUNKED else data)

    def body_end(self, trailers: Headers) -> None:
        if self._sent.framing is Framing.CHUNKED:
            self._unsent.append(last_chunk(trailers))

    def body_pause(self) -> None:
        connection = self._connection
        if connection is None:
            self._unsent.clear()  # the answer is complete, and only waits to be passed on
        elif self._unsent and connection.usable:
            data = b"".join(self._unsent)
            self._unsent.clear()
            connection.send(data)

    def overdue(self) -> None:
        self._give_up()
        self.fail(Failure(504, "upstream_timeout", f"{self._key.host} did not answer within {DIAL_TIMEOUT:.0f} seconds"))

    def abandon(self) -> None:
        if self._tunnel and self._connection is not None:
            self._sandbox.tunnels.discard(self)
            self._connection.finish()
            return
        self._give_up()
        if not self._answered:
            self._record(None, "the client closed the connection before it was answered")

    def _refuse_answer(self, code: str, reason: str) -> None:
        self._give_up()
        self.fail(Failure(502, code, reason))

    def _give_up(self) -> None:
        if self._connection is not None:
            self._connection.close()

    # The answer

    def interim(self, response: Response) -> None:
        if self._request.minor == 1:
            self._write_head(response, Framing.NONE, None)

    def answered(self, response: Response) -> None:
        codings: tuple[bytes, ...] = ()
        if self._pairs:
            codings = coding.codings_of(response.headers)
            if why := objection(response, codings):
                self._refuse_answer("answer_not_restorable", f"the answer of {self._key.host} was not passed on: {why}")
                return
            if response.framing is Framing.TUNNEL and (why := handshake_objection(self._request.headers, response.headers)):
                self._refuse_answer("upstream_protocol", f"{self._key.host} answered with {why}")
                return
            if codings and not coding.objection(codings):  # else it has no body, and is not decoded
                response = response._replace(headers=coding.decoded_headers(response.headers))
        self._answered = True
        self._record(response.status)
        self._reusable = response.keep_alive and not _authenticates_connection(response)
        self._close = not self._request.keep_alive or self._request.minor == 0 or not self._client.request_read
        framing, length = response.framing, response.length
        if self._pairs and framing not in (Framing.NONE, Framing.TUNNEL):
            self._inward, self._decoded = Restoration(self._pairs, codings), bool(codings)
        if framing in _OPEN_ENDED:
            framing, length = self._open_end(), None
        elif self._pairs and framing is Framing.LENGTH:
            self._undecided = response
            return
        elif self._pairs and length:
            length = None  # of a body that does not follow, and would not be as long
        self._write_head(response, framing, length)
        if framing is Framing.TUNNEL:
            self._tunnel = True
            if self._pairs:
                self._inward = self._socket = WebSocket(self._pairs, self._known_pairs, permessage_deflate.agreed(response.headers))
            self._sandbox.tunnels.add(self)
            self._client.switch()
            self._sandbox.judge(self)  # the grants may have changed since it was asked for

    def _open_end(self) -> Framing:
        """The framing of a body whose length is not known: HTTP/1.0 has none but the end of the connection."""
        self._chunked = self._request.minor == 1
        self._close = self._close or not self._chunked
        return Framing.CHUNKED if self._chunked else Framing.UNTIL_CLOSE

    def _write_head(self, response: Response, framing: Framing, length: int | None) -> None:
        """Add a head to what is passed on; with secrets in it, restored field by field."""
        status, reason, headers, *_ = response
        close = self._close and status >= 200
        head = write_response(status, reason, headers, framing, length, close=close, upgrade=response.upgrade)
        if self._pairs and self._pairs.may_be_in(head):
            (_, reason), *fields = restore_headers(((b"", reason), *headers), self._pairs)
            head = write_response(status, reason, tuple(fields), framing, length, close=close, upgrade=response.upgrade)
        self._heads += head

    def payload(self, data: bytes) -> None:
        if self._inward is not None:
            self._inward.feed(data)
        else:
            self._payload.append(data)

    def completed(self, trailers: Headers) -> None:
        if trailers:
            trailers = restore_headers(coding.decoded_headers(trailers) if self._decoded else trailers, self._pairs)
        self._end = last_chunk(trailers)
        if self._inward is not None:
            self._inward.end()
        connection, self._connection = self._connection, None  # it may serve another while the last of the answer is passed on
        if connection is not None:
            connection.release()
            if self._reusable and self._client.request_read and connection.clean:
                connection.keep()
            else:
                connection.close()
        if self._tunnel:
            self._sandbox.tunnels.discard(self)
        self._pass_on()

    def flush(self) -> None:
        self._pass_on()

    def drained(self) -> None:
        if self._waiting:
            self._pass_on()

    def _pass_on(self) -> None:
        """Send the client what there is, but no more than a turn may take."""
        end = self._end
        if self._inward is not None:
            try:
                self._wait(pull(self._inward, self._payload))
            except PeerError as error:
                if self._socket is None:
                    self._break_off(error.reason)
                    return
                self._part(PROTOCOL_ERROR, "", f"the upstream sent {error.reason}")
            end = b"" if self._waiting else self._end
        body = b"".join(self._payload)
        self._payload.clear()
        if self._undecided is not None:
            if not body and not end:
                return
            response, self._undecided = self._undecided, None
            if end:
                self._write_head(response, Framing.LENGTH, len(body))
            else:
                self._write_head(response, self._open_end(), None)
        if self._chunked:
            body = (chunk(body) if body else b"") + end
        data, self._heads = self._heads + body, b""
        if data:
            self._client.stream.send(data)
        if end:
            self._client.finished(close=self._close or self._tunnel)

    def _wait(self, waiting: bool) -> None:
        """Have the rest of what is at hand asked for when the client has room, and nothing more arrive until then; or go on reading."""
        if waiting:
            self._client.stream.ask_for_room()
        if waiting is not self._waiting:
            self._waiting = waiting
            if self._connection is not None:
                (self._connection.hold if waiting else self._connection.release)()

    def _break_off(self, reason: str) -> None:
        """The body is not what the head says: say so if the head has not been passed on, else let the client see no end."""
        self._give_up()
        if self._heads or self._undecided is not None:
            self._answered, self._heads, self._undecided = False, b"", None
            self._payload.clear()
            self.fail(Failure(502, "answer_not_restorable", f"the answer of {self._key.host} was not passed on: it is {reason}"))
        else:
            self._record(None, f"the answer of {self._key.host} was cut off: it is {reason}")
            self._client.cut()

    # A WebSocket that secrets opened

    def _known_pairs(self) -> Pairs:
        """All that may come back now; secrets are rotated while a WebSocket is open."""
        return self._sandbox.pairs_for(self._key.host, self._key.port)

    def _carry(self, websocket: WebSocket, data: bytes) -> None:
        try:
            for piece in websocket.outward(data):
                self._unsent.append(piece)
        except PeerError as error:
            self._part(PROTOCOL_ERROR, "", f"the client sent {error.reason}")
            self._pass_on()

    # A tunnel, by its sandbox

    @property
    def flow(self) -> Flow:
        return self._client.flow

    @property
    def used(self) -> tuple[Credential, ...]:
        return self._used

    def revoke(self, reason: str) -> None:
        self._part(POLICY_VIOLATION, reason, reason)
        self._pass_on()

    def _part(self, code: int, reason: str, why: str) -> None:
        """End a tunnel upstream; of a WebSocket that is read, with a word to each side (RFC 6455 section 7.1.7). The client's side ends
        when that is passed on."""
        self._sandbox.tunnels.discard(self)
        self._record(101, f"the {'tunnel' if self._socket is None else 'WebSocket'} was ended: {why}")
        if self._socket is not None:
            to_client, to_upstream = self._socket.farewell(code, reason, os.urandom(4))
            self._unsent.append(to_upstream)
            self._payload.append(to_client)
        self.body_pause()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.finish()
        self._inward, self._waiting, self._end = None, False, last_chunk(())

    def fail(self, failure: Failure) -> None:
        connection = self._connection
        self._client.stream.release(BY_DIAL)
        if self._answered:
            self._sandbox.tunnels.discard(self)
            self._client.cut()
        elif self._repeat and connection is not None and connection.reused and connection.silent:
            self._unsent, self._repeat = [self._repeat], b""
            self._dial()
        else:
            self._record(failure.status, failure.reason)
            self._client.answer(self._request, failure.status, problem(failure.code, failure.reason, self._request_id, host=self._key.host))

    def _record(self, status: int | None, failure: str = "") -> None:
        decision: Decision = self._allow
        if status == 403 and failure:
            decision, failure = Deny("address", "built-in", failure), ""
        request = self._request
        self._sandbox.record_request(
            self._client.flow,
            decision,
            self._request_id,
            request.method,
            request.target,
            status,
            credentials=self._used,
            failure=failure,
        )


def _authenticates_connection(response: Response) -> bool:
    return response.status == 401 and any(
        name.lower() == b"www-authenticate" and value.lower().startswith(_OF_CONNECTIONS) for name, value in response.headers
    )
