"""Answers of the gate's own: JSON that says to the agent, and to whoever reads over its shoulder, what was refused and what would help."""

import json
from typing import Any

from immure.gate.flow import Flow
from immure.model import Deny
from immure.wire.head import Framing, Headers, Request, write_response

_REASONS = {
    403: b"Forbidden",
    405: b"Method Not Allowed",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}
_JSON: Headers = ((b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store"))
_ALSO: dict[int, Headers] = {
    405: ((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),),
    503: ((b"Retry-After", b"1"),),
}


def denial(flow: Flow, deny: Deny, request_id: str, code: str = "denied_by_policy") -> bytes:
    """The body that explains a refusal."""
    return problem(
        code,
        deny.reason,
        request_id,
        host=flow.host,
        port=flow.port,
        binary=flow.caller.binary.path if flow.caller else None,
        script=flow.caller.script if flow.caller else None,
        rule=deny.rule,
        layer=deny.layer,
        reason=deny.reason,
        hint=deny.hint,
    )


def problem(code: str, message: str, request_id: str, **details: Any) -> bytes:
    """The body of any answer that is not the upstream's."""
    return json.dumps({"error": {"code": code, "message": f"immure: {message}", "request_id": request_id, **details}}).encode() + b"\n"


def respond(request: Request | None, status: int, body: bytes, *, close: bool, headers: Headers | None = None) -> bytes:
    """A whole answer to a request, or to bytes that were none."""
    fields = _JSON + _ALSO.get(status, ()) if headers is None else headers
    head = write_response(status, _REASONS.get(status, b""), fields, Framing.LENGTH, len(body), close=close)
    return head if request is not None and request.method == b"HEAD" else head + body
