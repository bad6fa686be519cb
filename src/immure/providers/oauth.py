"""The renewal of a ChatGPT login: when it is due, what is asked of the token endpoint, and what its answer means.

The protocol is the refresh grant of RFC 6749 section 6 as OpenAI serves it and Codex speaks it: a JSON body instead of a form, and
three error codes of its own. A refresh token is good for one use. So an answer that may have used it up without giving us the next
one (`Transient.uncertain`) is told apart from one that surely did not.

Rules: nothing here verifies a signature. Claims are read to learn dates and names, never to decide who someone is. No text of an
answer is passed on: an upstream may repeat a token in it.

*Trust:* the answer is whatever came from the far end of a verified TLS connection. *Fails:* any answer gives an outcome, none raises.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from immure.errors import Fault
from immure.model import Secret

CLIENT_ID: Final = "app_EMoamEEZ73f0CkXaXp7hrann"
"""Codex's own client: public, in its source (codex-rs/login)."""
ISSUER: Final = "https://auth.openai.com"
TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 (a path, not a password)
REVOKE_PATH: Final = "/oauth/revoke"

EARLY: Final = 5 * 60
"""Seconds before its expiry at which a token is renewed. Codex renews at the same age: the two never disagree for long."""
OPAQUE_AGE: Final = 8 * 24 * 3600
"""Seconds after which a token that does not say when it expires is renewed; again as Codex does."""
MAX_TOKEN: Final = 16 * 1024
"""Longest token that is taken, in characters. It must fit a header field at any server (nginx: 8 KiB by default, four of them)."""

Cause = Literal["expired", "reused", "invalidated", "invalid_grant", "refused"]

_CAUSES: Final[Mapping[str, Cause]] = {
    "refresh_token_expired": "expired",
    "refresh_token_reused": "reused",
    "refresh_token_invalidated": "invalidated",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """Renewed. What the answer did not name stays as it was: OpenAI may send an access token alone, and `{}` is a success."""

    access_token: Secret | None
    refresh_token: Secret | None
    id_token: Secret | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Permanent:
    """The refresh token is of no use any more; only a new sign-in helps."""

    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Transient:
    """Not now. `uncertain`: the refresh token may have been used up all the same."""

    reason: str
    uncertain: bool = False


Outcome = Rotated | Permanent | Transient


def refresh_request(refresh_token: Secret, client_id: str, reason: Literal["scheduled", "unauthorized_recovery"]) -> bytes:
    """The body of the POST to the token endpoint, in the fields and order of Codex."""
    fields = {"client_id": client_id, "grant_type": "refresh_token", "refresh_reason": reason, "refresh_token": refresh_token.reveal()}
    return json.dumps(fields, separators=(",", ":")).encode()


def revoke_request(refresh_token: Secret, client_id: str) -> bytes:
    """The body of the POST to the revocation endpoint, as Codex sends it (RFC 7009, in JSON)."""
    fields = {"token": refresh_token.reveal(), "token_type_hint": "refresh_token", "client_id": client_id}
    return json.dumps(fields, separators=(",", ":")).encode()


def interpret(status: int, body: bytes) -> Outcome:
    """What an answer of the token endpoint means. The line between permanent and transient is the one Codex draws."""
    answer = _object(body)
    if 200 <= status < 300:
        return _rotated(answer)
    code = _error_code(answer)
    if code in _CAUSES:
        return Permanent(cause=_CAUSES[code])
    if status == 400 and code == "invalid_grant":
        return Permanent(cause="invalid_grant")
    if status == 401:
        return Permanent(cause="refused")
    return Transient(reason=f"the token endpoint answered with status {status}")


def claims(token: str) -> dict[str, Any]:
    """The payload of a JWT, unverified. Raises ValueError for what Codex would not take for one either.

    Three segments, none of them empty, the middle one base64url without padding (RFC 7515 section 2) of a JSON object.
    """
    segments = token.split(".")
    if len(segments) < 3 or not all(segments[:3]):
        raise ValueError("not three segments")
    payload = segments[1]
    if not payload.isascii() or set(payload) & set("+/="):
        raise ValueError("the payload is not base64url without padding")
    try:
        decoded = json.loads(base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise ValueError("the payload is not base64url of JSON") from None
    if not isinstance(decoded, dict):
        raise ValueError("the payload is not a JSON object")
    return decoded


def expiry(access_token: Secret) -> int | None:
    """When a token says that it expires (seconds since the epoch), if it says so."""
    try:
        expires = claims(access_token.reveal()).get("exp")
    except ValueError:
        return None
    return expires if isinstance(expires, int) and not isinstance(expires, bool) else None


def is_due(access_token: Secret, last_refresh: float | None, now: float) -> bool:
    """Whether to renew before use. A token that says when it expires is taken at its word, any other goes by its age."""
    expires = expiry(access_token)
    if expires is not None:
        return expires - now < EARLY
    return last_refresh is None or now - last_refresh > OPAQUE_AGE


def _rotated(answer: dict[str, Any] | None) -> Outcome:
    if answer is None:
        return Transient(reason="the token endpoint's answer is not a JSON object", uncertain=True)
    tokens: dict[str, Secret | None] = {}
    for name in "access_token", "refresh_token", "id_token":
        text = answer.get(name)
        if text is None:
            tokens[name] = None
        elif isinstance(text, str) and len(text) <= MAX_TOKEN and (secret := _secret(text)):
            tokens[name] = secret
        else:
            return Transient(reason=f"the token endpoint's answer holds an unusable {name}", uncertain=True)
    return Rotated(access_token=tokens["access_token"], refresh_token=tokens["refresh_token"], id_token=tokens["id_token"])


def _secret(text: str) -> Secret | None:
    try:
        return Secret(text)
    except Fault:
        return None


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _error_code(answer: dict[str, Any] | None) -> str:
    """The code of an error, lower case: `error.code` as OpenAI writes it, `error` as RFC 6749 section 5.2 does, or `code`."""
    error = (answer or {}).get("error")
    code = error.get("code") if isinstance(error, dict) else error
    if not isinstance(code, str):
        code = (answer or {}).get("code")
    return code.lower() if isinstance(code, str) else ""
