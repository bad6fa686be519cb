"""The grammar of placeholders: what the agent holds in place of a secret.

    [vendor-]immure-[kind-]entropy      immure-at-…   sk-immure-…

A placeholder is random, means nothing outside the sandbox it was minted for, and can be told from every real secret, whatever
sandbox or version of ours it comes from. So the grammar that is recognised is wider than the shapes that are minted.

Rules: only letters, digits and hyphens, so that it passes unquoted through shells, JSON, TOML, URLs and header values; at least
128 bits of entropy, so that one is not guessed.
"""

import re
from base64 import b32encode
from typing import Final, Literal

from immure.errors import Fault

Shape = Literal["access_token", "refresh_token", "account_id", "personal_access_token", "api_key", "authorization_code", "device_auth_id"]

MINIMUM_ENTROPY = 16
"""In bytes."""

_PREFIX: dict[Shape, str] = {
    "access_token": "immure-at-",
    "refresh_token": "immure-rt-",
    "account_id": "immure-acct-",
    "personal_access_token": "at-immure-",  # Codex takes any other beginning for a token of another kind
    "api_key": "sk-immure-",  # some clients look at the first letters of an API key before they use it
    "authorization_code": "immure-code-",
    "device_auth_id": "immure-device-",
}
MARK: Final = "immure-"
"""What every placeholder holds, in some letter case."""

# 26 base32 digits are the 128 bits of the rule. Letter case is ignored: a client that changes it must not get past the check.
_CORE = r"immure-(?:[a-z]{1,8}-)?[a-z2-7]{26,}"
_WHOLE = re.compile(r"(?:[a-z]{1,8}-)?" + _CORE, re.ASCII | re.IGNORECASE)
_WITHIN = re.compile(_CORE, re.ASCII | re.IGNORECASE)


def mint(shape: Shape, entropy: bytes) -> str:
    """A new placeholder from fresh random bytes."""
    if len(entropy) < MINIMUM_ENTROPY:
        raise Fault(f"a placeholder needs {MINIMUM_ENTROPY} random bytes", code="placeholder.entropy")
    return _PREFIX[shape] + b32encode(entropy).decode().rstrip("=").lower()


def is_placeholder(text: str) -> bool:
    """Whether the whole text is a placeholder of ours, of any sandbox, shape or age."""
    return _WHOLE.fullmatch(text) is not None


def holds_placeholder(text: str) -> bool:
    """Whether a placeholder of ours stands anywhere in the text."""
    return MARK in text.lower() and _WITHIN.search(text) is not None
