"""The token endpoint, as a sandbox sees it: asked with placeholders, it answers with the same placeholders.

Codex inside believes that it refreshes its own login at auth.openai.com. What happens is that the login outside is renewed, if it has
not been already, and the gate is given the new secrets. A revocation ends nothing: it is the sandbox that signs out, not the user.

A personal access token is not renewed. Codex asks whose it is at each start, and is told what the issuer said when it was vaulted.

Rules: only this sandbox's own refresh placeholder is good for anything. No other grant is served, so nobody inside can mint a token
that the vault does not know. An answer holds placeholders, fixed texts and claims that Codex was given before, never a token.

*Trust:* the agent wrote method, path and body. *Fails:* with the status and error code at which Codex gives up (401) or tries again (503).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from immure.agents.codex import synthetic_id_token
from immure.broker.login import Logins, Reason
from immure.broker.login_failure import LoginEnded, LoginUnavailable
from immure.errors import HostError
from immure.providers import Login
from immure.providers.oauth import REVOKE_PATH, TOKEN_PATH
from immure.providers.sign_in import WHOAMI_PATH, owner_answer

Headers = tuple[tuple[str, str], ...]

_HEADERS: Headers = (("content-type", "application/json"), ("cache-control", "no-store"))  # RFC 6749 section 5.1
_CODES = {"expired": "refresh_token_expired", "reused": "refresh_token_reused"}


GONE: Final = (403, _HEADERS, b'{"error":{"message":"the provider was detached from this sandbox","code":"detached"}}')
"""The answer to a request that was on its way when its provider was detached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to tell the sandbox; `login` is the login as it is now, whose secrets the gate must have before the answer goes out."""

    status: int
    body: bytes
    login: Login
    headers: Headers = _HEADERS


def answer(
    logins: Logins, login: Login, placeholders: Mapping[str, str], *, method: str, path: str, body: bytes, sandbox: str = ""
) -> Answer:
    """Serve one request of a sandbox that runs on `login` with these placeholders (by credential name). Waits for the issuer."""
    where = method, path.partition("?")[0]
    if where == ("POST", TOKEN_PATH):
        return _token(logins, login, placeholders, body, sandbox)
    if where == ("POST", REVOKE_PATH):
        logins.report(login.name, "revoked-locally", sandbox=sandbox, reason="the sandbox signed out; the login was not touched")
        return Answer(status=200, body=b"{}", login=login)
    if where == ("GET", WHOAMI_PATH) and login.kind == "personal_access_token":
        return Answer(status=200, body=owner_answer(login.claims, placeholders.get("account_id")), login=login)
    return _error(login, 404, "not_found", "immure answers nothing else of this host")


def _token(logins: Logins, login: Login, placeholders: Mapping[str, str], body: bytes, sandbox: str) -> Answer:
    request = _request(body)
    grant = request.get("grant_type")
    mine = placeholders.get("refresh_token")
    if not isinstance(grant, str):
        refusal = _error(login, 400, "invalid_request", "grant_type is missing")
    elif grant != "refresh_token":
        text = "immure does not sign in from inside a sandbox: sign in on the host with `immure login codex`"
        refusal = _error(login, 400, "unsupported_grant_type", text)
    elif mine is None or request.get("refresh_token") != mine:
        refusal = _error(login, 401, "refresh_token_invalidated", "this refresh token is not of this sandbox")
    else:
        return _refreshed(logins, login, placeholders, _reason(request), sandbox)
    logins.report(login.name, "refresh-failed", sandbox=sandbox, reason="the sandbox asked for what is not its own")
    return refusal


def _refreshed(logins: Logins, login: Login, placeholders: Mapping[str, str], reason: Reason, sandbox: str) -> Answer:
    try:
        fresh = logins.refresh(login, reason=reason, sandbox=sandbox)
    except LoginEnded as error:
        return _error(login, 401, _CODES.get(error.cause, "refresh_token_invalidated"), f"{error.what}; {error.hint}")
    except LoginUnavailable as error:
        return _error(login, 503, "temporarily_unavailable", error.what)
    except HostError as error:
        logins.report(login.name, "refresh-failed", sandbox=sandbox, reason=error.what)
        return _error(login, 503, "temporarily_unavailable", "the vault cannot be used now; `immure logs` says more")
    account = fresh.account_id
    tokens = {
        "access_token": placeholders["access_token"],
        "refresh_token": placeholders["refresh_token"],
        "id_token": synthetic_id_token(fresh.claims, account.reveal() if account else None, placeholders.get("account_id")),
    }
    return Answer(status=200, body=json.dumps(tokens).encode(), login=fresh)


def _reason(request: Mapping[str, Any]) -> Reason:
    return "scheduled" if request.get("refresh_reason") == "scheduled" else "unauthorized_recovery"


def _request(body: bytes) -> dict[str, Any]:
    """The fields of a JSON body, or of a form (RFC 6749 uses one, and Codex does for the grants other than refresh)."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        try:
            return {name: values[0] for name, values in parse_qs(body.decode("ascii"), max_num_fields=40).items()}
        except ValueError:
            return {}
    return fields if isinstance(fields, dict) else {}


def _error(login: Login, status: int, code: str, message: str) -> Answer:
    """An error in OpenAI's form; Codex reads `error.code`, and shows `error.message` for those it does not know."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    content = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Answer(status=status, body=json.dumps(content).encode(), login=login)
