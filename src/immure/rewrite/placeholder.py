"""The grammar of placeholders: what the agent holds in place of a secret.

    [vendor's beginning]immure-[kind-]entropy      immure-at-…   sk-immure-…   ghp_immure-…   header.payload.immure-jw-…

A placeholder is random, means nothing outside the sandbox it was minted for, and can be told from every real secret, whatever
sandbox or version of ours it comes from. So the grammar that is recognised is wider than the shapes that are minted.

Rules: only letters, digits, hyphens, underscores and, in a JWT, two dots, so that it passes unquoted through shells, JSON, TOML, URLs and
header values; at least 128 bits of entropy, so that one is not guessed.
"""

import json
import re
from base64 import b32encode, urlsafe_b64encode
from typing import Final

from immure.errors import Fault

Shape = str
"""`access_token`, `refresh_token`, `account_id`, `personal_access_token`, `agent`, `agent_task`, `api_key`, `authorization_code`,
`device_auth_id`; `jwt`; or the letters that a vendor's tokens begin with, for programs that look at them before they use one: `ghp_`,
`xoxb-`, `sk-ant-`."""

MINIMUM_ENTROPY = 16
"""In bytes."""
MARK: Final = "immure-"
"""What every placeholder holds, in some letter case."""

_PREFIX: dict[Shape, str] = {
    "access_token": "immure-at-",
    "refresh_token": "immure-rt-",
    "account_id": "immure-acct-",
    "personal_access_token": "at-immure-",  # Codex takes any other beginning for a token of another kind
    "agent": "immure-agent-",
    "agent_task": "immure-task-",
    "api_key": "sk-immure-",  # some clients look at the first letters of an API key before they use it
    "authorization_code": "immure-code-",
    "device_auth_id": "immure-device-",
}
_JWT: Final = "jwt"
# With 26 digits after it, or four more, a whole number of base64 groups: strict decoders refuse bits that are left over.
_JWT_PREFIX = "immure-jw-"
_VENDOR = r"(?:[a-z0-9]{1,16}[-_]){1,4}"
_BEGINNING = re.compile(_VENDOR, re.ASCII)
# 26 base32 digits are the 128 bits of the rule. Letter case is ignored: a client that changes it must not get past the check.
_CORE = r"immure-(?:[a-z]{1,8}-)?[a-z2-7]{26,}"
_WHOLE = re.compile(rf"(?:{_VENDOR}|[a-z0-9_-]+\.[a-z0-9_-]+\.)?{_CORE}", re.ASCII | re.IGNORECASE)
_WITHIN = re.compile(_CORE, re.ASCII | re.IGNORECASE)


def is_shape(text: str) -> bool:
    """Whether placeholders can be minted in this shape."""
    return text in _PREFIX or text == _JWT or _BEGINNING.fullmatch(text) is not None


def mint(shape: Shape, entropy: bytes, *, expires: int | None = None) -> str:
    """A new placeholder from fresh random bytes. `expires`, in seconds since the epoch, is what a JWT says about itself."""
    if len(entropy) < MINIMUM_ENTROPY:
        raise Fault(f"a placeholder needs {MINIMUM_ENTROPY} random bytes", code="placeholder.entropy")
    if not is_shape(shape):
        raise Fault(f"there are no placeholders of the shape {shape!r}", code="placeholder.shape")
    digits = b32encode(entropy).decode().rstrip("=").lower()
    if shape == _JWT:
        return _jwt(digits, expires)
    return _PREFIX.get(shape, f"{shape}{MARK}") + digits


def _jwt(digits: str, expires: int | None) -> str:
    """A token that parses (RFC 7519) and that nobody who checks a signature takes for one: it has none, and says so."""
    claims: dict[str, object] = {"iss": "immure", "jti": digits}
    if expires is not None:
        claims["exp"] = expires
    unused = (len(digits) - 26) % 4
    return f"{_segment({'alg': 'none', 'typ': 'JWT'})}.{_segment(claims)}.{_JWT_PREFIX}{digits[: len(digits) - unused]}"


def _segment(content: dict[str, object]) -> str:
    return urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode().rstrip("=")


def is_placeholder(text: str) -> bool:
    """Whether the whole text is a placeholder of ours, of any sandbox, shape or age."""
    return _WHOLE.fullmatch(text) is not None


def holds_placeholder(text: str) -> bool:
    """Whether a placeholder of ours stands anywhere in the text."""
    return MARK in text.lower() and _WITHIN.search(text) is not None
