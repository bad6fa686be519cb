"""Signing in to ChatGPT as the Codex CLI does: what a browser is sent to, what is asked of the issuer, and what its answers mean.

    browser   authorization code with PKCE (RFC 6749 section 4.1, RFC 7636), back to a fixed port of the loopback address (RFC 8252)
    device    a code that is typed into a page elsewhere, polled for; in OpenAI's own form, not that of RFC 8628
    token     a personal access token, which the issuer says the owner of

Rules: `state` binds an answer to the question, and only then is its code looked at. No text of an answer is passed on, but for the
code of an error, which is a word.

*Trust:* a redirect is whatever any page in the browser, or the user's clipboard, brings. *Fails:* UsageError, for a person to read.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from immure.errors import Fault, UsageError
from immure.model import Secret
from immure.providers.oauth import CLIENT_ID, ISSUER, MAX_TOKEN, Rotated, interpret

FORM: Final = "application/x-www-form-urlencoded"
CALLBACK_PORT: Final = 1455
CALLBACK_PATH: Final = "/auth/callback"
REDIRECT: Final = f"http://127.0.0.1:{CALLBACK_PORT}{CALLBACK_PATH}"
"""The issuer knows the client by this address, so no other port will do."""
USER_CODE_PATH: Final = "/api/accounts/deviceauth/usercode"
DEVICE_POLL_PATH: Final = "/api/accounts/deviceauth/token"
DEVICE_REDIRECT: Final = f"{ISSUER}/deviceauth/callback"
DEVICE_PAGE: Final = f"{ISSUER}/codex/device"
DEVICE_LIFE: Final = 15 * 60
"""Seconds for which a device code is good."""
PENDING: Final = (403, 404)
"""Statuses of a poll that mean: not yet."""
KEY_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
"""RFC 8693: Codex asks for an API key by it, once it has signed in with a browser."""
WHOAMI_PATH: Final = "/api/accounts/v1/user-auth-credential/whoami"
ACCESS_TOKEN_PREFIX: Final = "at-"  # noqa: S105 (how such tokens begin, not one of them)

_SCOPE: Final = "openid profile email offline_access api.connectors.read api.connectors.invoke"
_AUTH: Final = "https://api.openai.com/auth"
_WORD: Final = re.compile(r"[a-z_]{1,40}")
_USER_CODE: Final = re.compile(r"[A-Z0-9-]{4,20}")
_SHORTEST: Final = 8
_INTERVALS: Final = (1.0, 60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """`user_code` is for the person, `device_auth_id` for polling every `interval` seconds."""

    user_code: str
    device_auth_id: str = field(repr=False)
    interval: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose a personal access token is: `claims` as an id_token would have them, without the account."""

    account_id: Secret
    claims: Mapping[str, Any]


def challenge(verifier: str) -> str:
    """The S256 challenge of a PKCE verifier (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def authorize_url(verifier: str, state: str) -> str:
    """Where the browser goes, with the parameters and the order of Codex."""
    parameters = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT,
        "scope": _SCOPE,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
        "id_token_add_organizations": "true",
        "codex_cli_simplified_flow": "true",
        "state": state,
        "originator": "codex_cli_rs",
    }
    return f"{ISSUER}/oauth/authorize?{urlencode(parameters)}"


def code_in(redirect: str, state: str) -> str | None:
    """The code that a redirect (an address, or only its path and query) brings; None if it does not answer our question.

    Raises UsageError if it does, and says that the user was refused or has refused.
    """
    try:
        parts = urlsplit(redirect.strip())
        found = {name: values[0] for name, values in parse_qs(parts.query, max_num_fields=40).items() if len(values) == 1}
    except ValueError:
        return None
    if parts.path != CALLBACK_PATH or not compare_digest(found.get("state", "").encode(), state.encode()):
        return None
    if "error" in found:
        raise refused(f"auth.openai.com answered {_word(found['error'])!r}")
    return found.get("code")


def exchange_request(code: str, redirect: str, verifier: str) -> bytes:
    """The form that exchanges a code for tokens."""
    fields = {"grant_type": "authorization_code", "client_id": CLIENT_ID, "code": code, "redirect_uri": redirect, "code_verifier": verifier}
    return urlencode(fields).encode()


def tokens_in(status: int, body: bytes) -> dict[str, Secret]:
    """The tokens of a new login: all three. Raises UsageError."""
    outcome = interpret(status, body)
    if not isinstance(outcome, Rotated):
        raise refused(f"auth.openai.com did not exchange the code (status {status}, {error_in(body)!r})")
    tokens = {"id_token": outcome.id_token, "access_token": outcome.access_token, "refresh_token": outcome.refresh_token}
    complete = {name: token for name, token in tokens.items() if token is not None}
    if len(complete) < len(tokens):
        raise refused("the answer of auth.openai.com lacks a token")
    return complete


def key_request(id_token: Secret) -> bytes:
    """The form that asks for an API key of the account, in the fields and order of Codex."""
    fields = {
        "grant_type": KEY_GRANT,
        "client_id": CLIENT_ID,
        "requested_token": "openai-api-key",
        "subject_token": id_token.reveal(),
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
    }
    return urlencode(fields).encode()


def key_in(status: int, body: bytes) -> Secret | None:
    """The API key, if the issuer gives one: not every account may have it."""
    key = _object(status, body).get("access_token")
    try:
        return Secret(key) if isinstance(key, str) and _SHORTEST <= len(key) <= MAX_TOKEN else None
    except Fault:
        return None


def user_code_request() -> bytes:
    return json.dumps({"client_id": CLIENT_ID}).encode()


def device_code_in(status: int, body: bytes) -> DeviceCode:
    """Raises UsageError."""
    answer = _object(status, body)
    user_code, device = answer.get("user_code"), answer.get("device_auth_id")
    try:
        interval = float(answer.get("interval", 5))
    except (TypeError, ValueError):
        interval = 5.0
    if not isinstance(user_code, str) or not _USER_CODE.fullmatch(user_code) or not isinstance(device, str) or not device:
        raise refused(f"auth.openai.com gave no device code (status {status}, {error_in(body)!r})")
    low, high = _INTERVALS
    return DeviceCode(
        user_code=user_code, device_auth_id=device, interval=max(low, min(interval, high))
    )  # in this order, so that NaN gives the lowest


def poll_request(device: DeviceCode) -> bytes:
    return json.dumps({"device_auth_id": device.device_auth_id, "user_code": device.user_code}).encode()


def device_grant_in(status: int, body: bytes) -> tuple[str, str] | None:
    """Code and verifier once the user has agreed, None until then. Raises UsageError."""
    if status in PENDING:
        return None
    answer = _object(status, body)
    code, verifier = answer.get("authorization_code"), answer.get("code_verifier")
    if not isinstance(code, str) or not isinstance(verifier, str) or not code or not verifier:
        raise refused(f"auth.openai.com ended the device sign-in (status {status}, {error_in(body)!r})")
    return code, verifier


def owner_in(status: int, body: bytes) -> Owner:
    """Whose a personal access token is. Raises UsageError."""
    answer = _object(status, body)
    user, account, plan = (answer.get(name) for name in ("chatgpt_user_id", "chatgpt_account_id", "chatgpt_plan_type"))
    if status == 401:
        raise refused("auth.openai.com does not accept this access token")
    if not isinstance(user, str) or not isinstance(plan, str) or not isinstance(account, str) or len(account) < _SHORTEST:
        raise refused(f"auth.openai.com does not say whose this access token is (status {status})")
    try:
        secret = Secret(account)
    except Fault:
        raise refused("auth.openai.com names an account that cannot be one") from None
    email = answer.get("email")
    fedramp = answer.get("chatgpt_account_is_fedramp") is True
    nested = {"chatgpt_user_id": user, "chatgpt_plan_type": plan, "chatgpt_account_is_fedramp": fedramp}
    return Owner(account_id=secret, claims={_AUTH: nested} | ({"email": email} if isinstance(email, str) else {}))


def owner_answer(claims: Mapping[str, Any], account: str | None) -> bytes:
    """What a sandbox is told of the owner of its access token: the same, with `account` for the account."""
    nested = claims[_AUTH]
    return json.dumps({"email": claims.get("email"), "chatgpt_account_id": account, **nested}).encode()


def refused(why: str) -> UsageError:
    return UsageError(f"you are not signed in: {why}", code="login.refused", hint="try again: immure login codex")


def _object(status: int, body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body) if status == 200 else {}
    except (ValueError, RecursionError):
        answer = {}
    return answer if isinstance(answer, dict) else {}


def error_in(body: bytes) -> str:
    """The code of an error, if it is a word."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return "no reason"
    error = answer.get("error") if isinstance(answer, dict) else None
    return _word(error.get("code") if isinstance(error, dict) else error)


def _word(text: Any) -> str:
    return text if isinstance(text, str) and _WORD.fullmatch(text) else "no reason"
