"""A sign-in as Codex inside a sandbox goes through it: what it asks of the issuer, and answers that hold placeholders for what is real.

    device    usercode ─► poll, poll … ─► code and verifier ─► exchange
    browser   (the redirect brings a code) ─► exchange with a verifier made inside ─► an API key for the id_token

Of what the issuer says to us only the user code, which is for a person, is handed on.

Rules: what is asked must be what Codex asks, of its own client and to its own addresses, or it is nothing: a code that was given for
another purpose is not exchanged from here.

*Trust:* the agent wrote every byte of a request. *Fails:* None for what is not a request that Codex makes.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs

from immure.providers.oauth import CLIENT_ID
from immure.providers.sign_in import DEVICE_REDIRECT, KEY_GRANT, REDIRECT, DeviceCode, challenge, error_in

CODE_GRANT: Final = "authorization_code"
PENDING: Final = 403, "deviceauth_authorization_pending"
REFUSED: Final = 400, "access_denied"

_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")
"""RFC 7636 section 4.1."""
_MOST_FIELDS: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A code to be exchanged; `code` is our placeholder for it."""

    code: str
    redirect: str
    verifier: str = field(repr=False)


def fields_in(body: bytes) -> dict[str, Any]:
    """The fields of a JSON object, or of a form (RFC 6749 uses one, and Codex does for the grants other than refresh)."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        try:
            return {name: values[0] for name, values in parse_qs(body.decode("ascii"), max_num_fields=_MOST_FIELDS).items()}
        except ValueError:
            return {}
    return fields if isinstance(fields, dict) else {}


def asks_for_user_code(fields: Mapping[str, Any]) -> bool:
    return fields.get("client_id") == CLIENT_ID


def exchange_in(fields: Mapping[str, Any]) -> Exchange | None:
    """The exchange of a code that somebody asks for."""
    code, redirect, verifier = (fields.get(name) for name in ("code", "redirect_uri", "code_verifier"))
    if fields.get("grant_type") != CODE_GRANT or fields.get("client_id") != CLIENT_ID or redirect not in (REDIRECT, DEVICE_REDIRECT):
        return None
    if not isinstance(code, str) or not isinstance(verifier, str) or not _VERIFIER.fullmatch(verifier):
        return None
    return Exchange(code=code, redirect=str(redirect), verifier=verifier)


def subject_in(fields: Mapping[str, Any]) -> str | None:
    """The id_token for which somebody asks for an API key."""
    subject = fields.get("subject_token")
    asked = fields.get("grant_type"), fields.get("client_id"), fields.get("requested_token")
    return subject if asked == (KEY_GRANT, CLIENT_ID, "openai-api-key") and isinstance(subject, str) else None


def device_answer(device: DeviceCode, placeholder: str) -> bytes:
    """The user code, to be shown, and `placeholder` to poll with."""
    return json.dumps({"device_auth_id": placeholder, "user_code": device.user_code, "interval": f"{device.interval:g}"}).encode()


def grant_answer(code: str, verifier: str) -> bytes:
    """What a poll brings at last: the placeholder of a code, and a verifier that belongs to it in here only."""
    return json.dumps({"authorization_code": code, "code_challenge": challenge(verifier), "code_verifier": verifier}).encode()


def key_answer(placeholder: str) -> bytes:
    """The API key, as the token endpoint gives it (RFC 8693 section 2.2.1)."""
    return json.dumps({"access_token": placeholder}).encode()


def failure(status: int, body: bytes) -> tuple[int, str]:
    """Status and code with which a refusal of the issuer is handed on; an answer that is none is a fault of the issuer."""
    return (status, error_in(body)) if 400 <= status <= 599 else (502, "server_error")
