"""A request that the broker answers itself, such as the refresh of a login: nothing of it goes to the real host.

Rules: the body is taken whole, because the broker needs it so, and is bounded; the broker's answer is passed on as it is.

*Fails:* 413 for a body that is too long or not text, 503 without a broker that answers.
"""

from typing import TYPE_CHECKING, Final

from immure.gate.answer import problem
from immure.gate.grants import VirtualEndpoint
from immure.gate.sandbox import Sandbox
from immure.model import Allow
from immure.wire.head import Framing, Headers, Request, write_response

if TYPE_CHECKING:
    from immure.gate.conversation import Conversation

MAX_BODY: Final = 64 * 1024
"""Octets. A refresh or revocation takes a few hundred."""
ANSWER_TIMEOUT: Final = 120.0
"""Seconds. The broker may have to wait for the real endpoint, and for another sandbox that asked first."""


class VirtualCall:
    """One such request under way."""

    __slots__ = ("_allow", "_client", "_endpoint", "_length", "_parts", "_request", "_request_id", "_sandbox")

    def __init__(
        self, client: "Conversation", sandbox: Sandbox, endpoint: VirtualEndpoint, request: Request, request_id: str, allow: Allow
    ) -> None:
        self._client = client
        self._sandbox = sandbox
        self._endpoint = endpoint
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
            self._refuse(413, f"the body is longer than {MAX_BODY} octets")

    def body_end(self, trailers: Headers) -> None:  # noqa: ARG002 - nothing that a broker answers has trailers
        try:
            body = b"".join(self._parts).decode()
        except UnicodeDecodeError:
            self._refuse(413, "the body is not text")
            return
        self._client.stream.expect_within(ANSWER_TIMEOUT)
        self._sandbox.broker.call(self._endpoint, body, self)

    def body_pause(self) -> None:
        """The rest will come."""

    def drained(self) -> None:
        """The answer goes out whole."""

    def answered_by_broker(self, status: int, headers: list[tuple[str, str]], body: str) -> None:
        self._record(status)
        fields = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)
        self._client.answer(self._request, status, body.encode(), headers=fields)

    def unanswered(self, reason: str) -> None:
        self._refuse(503, reason)

    def overdue(self) -> None:
        self._sandbox.broker.forget(self)
        self._refuse(503, "the broker did not answer in time")

    def abandon(self) -> None:
        self._sandbox.broker.forget(self)
        self._record(None, "the client closed the connection before it was answered")

    def _refuse(self, status: int, reason: str) -> None:
        self._record(status, reason)
        self._client.answer(
            self._request, status, problem("broker_unavailable" if status == 503 else "bad_request", reason, self._request_id)
        )

    def _record(self, status: int | None, failure: str = "") -> None:
        request = self._request
        self._sandbox.record_request(
            self._client.flow, self._allow, self._request_id, request.method, request.target, status, failure=failure
        )
