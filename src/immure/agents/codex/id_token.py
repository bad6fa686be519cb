"""The id_token that Codex finds inside: JWT-shaped, unsigned, rebuilt from what the real one says and nothing more.

Codex reads it at start without checking its signature, and some of its claims decide what Codex does: a business plan makes it fetch,
and insist on, the managed policy of the organisation. So the claims that Codex reads are kept as they are; the account id becomes its
placeholder wherever it occurs, because Codex compares it with what the server answers; everything else is left out.

Rules: no time, no audience, no subject, `alg` none and a marker for a signature: no server takes it for a token (RFC 8725 section 3.2).
Pure: values in, text out.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

_MAX_TEXT: Final = 512
_PROFILE: Final = "https://api.openai.com/profile"
_AUTH: Final = "https://api.openai.com/auth"
_KEPT: Final = ("email", "email_verified", "name")
_KEPT_BELOW: Final[Mapping[str, tuple[str, ...]]] = {
    _PROFILE: ("email", "email_verified"),
    _AUTH: (
        "chatgpt_plan_type",
        "chatgpt_user_id",
        "user_id",
        "chatgpt_account_id",
        "chatgpt_account_user_id",
        "chatgpt_account_is_fedramp",
    ),
}
_SIGNATURE: Final = "not signed: made by immure for a sandbox"


def synthetic_id_token(claims: Mapping[str, Any], account_id: str | None, placeholder: str | None) -> str:
    """A token with the claims that Codex reads; `placeholder` stands in for every occurrence of an account id.

    That is `account_id`, and the one that the token names if it is another (a user of several workspaces).
    """
    auth = claims.get(_AUTH)
    named = auth.get("chatgpt_account_id") if isinstance(auth, Mapping) else None
    accounts = [account for account in (account_id, named) if isinstance(account, str) and account]

    def without_account(text: str) -> str:
        for account in accounts:
            text = text.replace(account, placeholder or "")
        return text

    def kept(source: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str | bool]:
        chosen: dict[str, str | bool] = {}
        for name in names:
            value = source.get(name)
            if isinstance(value, bool):
                chosen[name] = value
            elif isinstance(value, str) and len(value) <= _MAX_TEXT:
                chosen[name] = without_account(value)
        return chosen

    payload: dict[str, Any] = dict(kept(claims, _KEPT))
    for table, names in _KEPT_BELOW.items():
        nested = claims.get(table)
        if isinstance(nested, Mapping) and (chosen := kept(nested, names)):
            payload[table] = chosen
    header = {"alg": "none", "typ": "JWT"}
    return ".".join(map(_segment, (json.dumps(header).encode(), json.dumps(payload).encode(), _SIGNATURE.encode())))


def _segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
