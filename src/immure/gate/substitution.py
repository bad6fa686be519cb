"""What one connection sends in place of what its requests say: secrets for the placeholders in their slots.

The head is exchanged as soon as it has been read. A body is taken whole if it has a slot, which few have, and before anything of the
request is sent: what is wrong in it then leaves nothing upstream.

*Trust:* the agent writes every byte. *Fails:* closed: `Refused` for a placeholder out of place, 413 for a body too long to be looked into.
"""

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from immure.gate.answer import problem
from immure.gate.exchange import Outgoing
from immure.gate.flow import Flow
from immure.gate.grants import Grants
from immure.gate.sandbox import Sandbox
from immure.model import Allow
from immure.rewrite import Credential, FieldSlot, Refused, Slots, Substituted
from immure.rewrite.assertion import TIME_FORMAT
from immure.wire.head import Framing, Headers, Request, write_response

if TYPE_CHECKING:
    from immure.gate.conversation import Conversation

MAX_BODY: Final = 1024 * 1024
"""Octets of a body that is looked into. A form or a JSON object that carries a key takes a few hundred."""


class Prepared(NamedTuple):
    """`sent` is the request with what stands in its target exchanged, `in_body` the slots that its body has."""

    sent: Request
    outgoing: Outgoing
    head: Substituted
    in_body: tuple[tuple[FieldSlot, Credential], ...] = ()


class Substitution:
    """For one connection. What the fields of a request become is kept for as long as requests repeat them."""

    __slots__ = ("_flow", "_grants", "_head", "_outgoing", "_request", "_sandbox", "_slots")

    def __init__(self, sandbox: Sandbox, flow: Flow) -> None:
        self._sandbox = sandbox
        self._flow = flow
        self._grants: Grants | None = None
        self._slots: Slots
        # The last request, and what became of its head.
        self._request: Request | None = None
        self._head: Substituted
        self._outgoing: Outgoing

    def prepare(self, request: Request) -> Prepared:
        """What to send for a request. Raises Refused."""
        grants = self._sandbox.grants
        if grants is not self._grants:
            flow = self._flow
            self._slots = Slots(
                grants.credentials, host=flow.host, port=flow.port, encrypted=flow.encrypted, caller=flow.caller, clock=_timestamp
            )
            self._grants, self._request = grants, None
        method, slots = request.method.decode(), self._slots
        target = request.target
        if not self._repeats(request, method):
            self._head = slots.substitute(method, target, request.headers, proxy_authorization=request.proxy_authorization)
            self._outgoing = self.outgoing(self._head)
            self._request = request
            target = self._head.target
        sent = request if target == request.target else request._replace(target=target)
        return Prepared(sent, self._outgoing, self._head, slots.in_body(method, request.target, request.headers))

    def _repeats(self, request: Request, method: str) -> bool:
        """Whether the fields are those of the last request, and become the same again."""
        last = self._request
        if last is None or request.headers is not last.headers or request.proxy_authorization != last.proxy_authorization:
            return False
        return self._slots.may_repeat(self._head.used, method, request.target)

    def outgoing(self, head: Substituted) -> Outgoing:
        return Outgoing.of(head, self._sandbox.pairs_for(self._flow.host, self._flow.port, head.echoes))

    def prepare_whole(self, request: Request, body: bytes) -> tuple[Request, Outgoing, bytes]:
        """What to send for a request whose whole body this is, by what is granted now. Raises Refused."""
        prepared = self.prepare(request)
        head, body = self._slots.substitute_body(prepared.head, prepared.in_body, request.method.decode(), request.target, body)
        length = None if request.framing is Framing.CHUNKED else len(body)
        return prepared.sent._replace(length=length, expects_continue=False), self.outgoing(head), body


def _timestamp() -> str:
    """Now, as it stands in an assertion."""
    return time.strftime(TIME_FORMAT, time.gmtime())


class BodySubstitution:
    """A request whose body is being taken. When it is whole, what is to be sent is handed back to the conversation."""

    __slots__ = ("_allow", "_client", "_length", "_parts", "_request", "_request_id", "_substitution")

    def __init__(self, client: "Conversation", substitution: Substitution, request: Request, request_id: str, allow: Allow) -> None:
        self._client = client
        self._substitution = substitution
        self._request = request
        self._request_id = request_id
        self._allow = allow
        self._parts: list[bytes] = []
        self._length = 0
        if request.expects_continue:
            client.stream.send(write_response(100, b"Continue", (), Framing.NONE))

    def body(self, data: bytes) -> None:
        self._parts.append(data)
        self._length += len(data)
        if self._length > MAX_BODY:
            reason = f"the body has a slot for a credential, and is longer than {MAX_BODY} octets"
            self._client.record(self._allow, self._request_id, self._request, 413, failure=reason)
            self._client.answer(self._request, 413, problem("body_too_long", reason, self._request_id))

    def body_end(self, trailers: Headers) -> None:
        try:
            sent, outgoing, body = self._substitution.prepare_whole(self._request, b"".join(self._parts))
        except Refused as refused:
            self._client.refuse_credential(self._request, self._request_id, refused)
            return
        forwarding = self._client.forward(self._request, self._request_id, self._allow, outgoing, sent)
        if body:
            forwarding.body(body)
        forwarding.body_end(trailers)

    def body_pause(self) -> None:
        """The rest will come."""

    def drained(self) -> None:
        """Nothing is answered yet."""

    def overdue(self) -> None:
        """No deadline is set: a client may take its time, as with any body."""

    def abandon(self) -> None:
        self._client.record(
            self._allow, self._request_id, self._request, None, failure="the client closed the connection before it was answered"
        )
