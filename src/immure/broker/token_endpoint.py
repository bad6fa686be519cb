"""The token endpoint, as a sandbox sees it: asked with placeholders, it answers with the same placeholders.

Codex inside believes that it refreshes its own login at auth.openai.com. What happens is that the login outside is renewed, if it has
not been already, and the gate is given the new secrets. A revocation ends the login in this sandbox and nothing outside: it is the
sandbox that signs out, not the user.

A personal access token is not renewed. Codex asks whose it is at each start, and is told what the issuer said when it was vaulted.

Rules: only this sandbox's own refresh placeholder is good for anything. No other grant is served here (`sign_in_inside` has those of a
sign-in). An answer holds placeholders, fixed texts and claims that Codex was given before, never a token.

*Trust:* the agent wrote method, path and body. *Fails:* with the status and error code at which Codex gives up (401) or tries again (503).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from immure.agents.codex import synthetic_id_token
from immure.broker.login import Logins, Reason
from immure.broker.login_failure import LoginEnded, LoginUnavailable
from immure.errors import HostError
from immure.providers import Login
from immure.providers.oauth import REVOKE_PATH, TOKEN_PATH
from immure.providers.sign_in import WHOAMI_PATH, owner_answer
from immure.providers.sign_in_inside import fields_in

Headers = tuple[tuple[str, str], ...]

_HEADERS: Headers = (("content-type", "application/json"), ("cache-control", "no-store"))  # RFC 6749 section 5.1
_CODES = {"expired": "refresh_token_expired", "reused": "refresh_token_reused"}
GONE: Final = (403, _HEADERS, b'{"error":{"message":"the provider was detached from this sandbox","code":"detached"}}')
"""The answer to a request that was on its way when its provider was detached."""
_NOBODY: Final = "codex"
"""Who is named in the audit trail when a sandbox without a login asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a sandbox has of a login: that login as it is now, and the placeholders for it. Neither, if it has signed out."""

    login: Login | None
    placeholders: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.login.name if self.login is not None else _NOBODY

    @property
    def id_token(self) -> str:
        """What stands inside for the id_token of a subscription."""
        assert self.login is not None
        account = self.login.account_id
        return synthetic_id_token(self.login.claims, account.reveal() if account else None, self.placeholders.get("account_id"))

    def tokens(self) -> bytes:
        """The answer of a token endpoint that has just issued this login."""
        tokens = {name: self.placeholders[name] for name in ("access_token", "refresh_token")}
        return json.dumps({**tokens, "id_token": self.id_token}).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to tell the sandbox; `held` is what it has from now on, which the gate must know before the answer goes out.

    `granted`: so must it something else.
    """

    status: int
    body: bytes
    held: Held
    headers: Headers = _HEADERS
    granted: bool = False


def answer(logins: Logins, held: Held, *, method: str, path: str, body: bytes, sandbox: str = "") -> Answer:
    """Serve one request of a sandbox that has this of a login. Waits for the issuer."""
    where = method, path.partition("?")[0]
    login = held.login
    if where == ("POST", TOKEN_PATH):
        return _token(logins, held, fields_in(body), sandbox)
    if where == ("POST", REVOKE_PATH):
        return _revoked(logins, held, fields_in(body), sandbox)
    if where == ("GET", WHOAMI_PATH) and login is not None and login.kind == "personal_access_token":
        return Answer(status=200, body=owner_answer(login.claims, held.placeholders.get("account_id")), held=held)
    return refusal(held, 404, "not_found", "immure answers nothing else of this host")


def _token(logins: Logins, held: Held, request: Mapping[str, Any], sandbox: str) -> Answer:
    grant = request.get("grant_type")
    mine = held.placeholders.get("refresh_token")
    if not isinstance(grant, str):
        refused = refusal(held, 400, "invalid_request", "grant_type is missing")
    elif grant != "refresh_token":
        refused = refusal(held, 400, "unsupported_grant_type", "immure renews a login here, and does nothing else")
    elif mine is None or request.get("refresh_token") != mine:
        refused = refusal(held, 401, "refresh_token_invalidated", "this refresh token is not of this sandbox")
    else:
        return _refreshed(logins, held, _reason(request), sandbox)
    logins.report(held.name, "refresh-failed", sandbox=sandbox, reason="the sandbox asked for what is not its own")
    return refused


def _refreshed(logins: Logins, held: Held, reason: Reason, sandbox: str) -> Answer:
    assert held.login is not None
    try:
        fresh = Held(login=logins.refresh(held.login, reason=reason, sandbox=sandbox), placeholders=held.placeholders)
    except LoginEnded as error:
        return refusal(held, 401, _CODES.get(error.cause, "refresh_token_invalidated"), f"{error.what}; {error.hint}")
    except LoginUnavailable as error:
        return refusal(held, 503, "temporarily_unavailable", error.what)
    except HostError as error:
        logins.report(held.name, "refresh-failed", sandbox=sandbox, reason=error.what)
        return refusal(held, 503, "temporarily_unavailable", "the vault cannot be used now; `immure logs` says more")
    return Answer(status=200, body=fresh.tokens(), held=fresh)


def _revoked(logins: Logins, held: Held, request: Mapping[str, Any], sandbox: str) -> Answer:
    """Whatever was to be revoked, the answer is the same (RFC 7009 section 2.2)."""
    token = request.get("token")
    if token is not None and token in held.placeholders.values():
        logins.report(held.name, "revoked-locally", sandbox=sandbox, reason="the sandbox signed out; the login was not touched")
        held = Held(login=None, placeholders={})
    return Answer(status=200, body=b"{}", held=held)


def _reason(request: Mapping[str, Any]) -> Reason:
    return "scheduled" if request.get("refresh_reason") == "scheduled" else "unauthorized_recovery"


def refusal(held: Held, status: int, code: str, message: str) -> Answer:
    """An error in OpenAI's form; Codex reads `error.code`, and shows `error.message` for those it does not know."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    content = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Answer(status=status, body=json.dumps(content).encode(), held=held)
