"""One made-up ChatGPT account and the tokens it has handed out.

It behaves as the real issuer does where a sandbox can get it wrong: a refresh token works once and each refresh gives a new pair; a
token that was used before is refused for good; an access token can expire at any moment. The tokens carry `fake` in their first
bytes and the size and entropy of real ones in the rest.

Not an issuer to build on: nothing is signed by any key.
"""

import json
import secrets
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from immure.testing.openai.agent import Agent

CLIENT_ID = "app_EMoamEEZ73f0CkXaXp7hrann"
"""The OAuth client of the Codex CLI, a public value in its source."""

_SIZE = {"at": 900, "rt": 64}
"""Random bytes behind `fake-at-` and `fake-rt-`: a real access token is a JWT of well over a thousand characters."""


class RefreshRefused(Exception):
    """A refresh token that is not the current one. `code` is what OpenAI's error object calls it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Account:
    """An account with one login; `entropy(n)` gives n random bytes."""

    def __init__(self, *, plan: str = "pro", entropy: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._entropy = entropy
        self._lock = threading.Lock()
        self._refresh_used: set[str] = set()
        self.plan = plan
        self.email = "ada@example.com"
        self.user_id = "user-fake-" + entropy(8).hex()
        self.account_id = "acct-fake-" + entropy(16).hex()
        self.api_key = "sk-proj-fake-" + _text(entropy(96))
        self.personal_access_token = "at-fake-" + _text(entropy(96))
        self.agent = Agent(account_id=self.account_id, user_id=self.user_id, email=self.email, plan=plan, entropy=entropy)
        self.revoked: list[str] = []
        """The refresh tokens that were revoked."""
        self.issued: list[str] = []
        """Every access token, refresh token and id_token so far, oldest first."""
        self._rotate()

    def _rotate(self) -> None:
        self.access_token = "fake-at-" + _text(self._entropy(_SIZE["at"]))
        self.refresh_token = "fake-rt-" + _text(self._entropy(_SIZE["rt"]))
        self.id_token = _jwt(self._claims(), self._entropy(256))
        self._access_valid = True
        self.issued += [self.access_token, self.refresh_token, self.id_token]

    def _claims(self) -> dict[str, Any]:
        return {
            "email": self.email,
            "email_verified": True,
            "https://api.openai.com/auth": {
                "chatgpt_account_id": self.account_id,
                "chatgpt_plan_type": self.plan,
                "chatgpt_user_id": self.user_id,
                "user_id": self.user_id,
            },
        }

    def expire(self) -> None:
        """From now on the current access token is refused."""
        with self._lock:
            self._access_valid = False

    def accepts(self, bearer: str) -> bool:
        with self._lock:
            return (self._access_valid and bearer == self.access_token) or bearer == self.personal_access_token

    def sign_in(self) -> dict[str, str]:
        """A new login, which takes the place of the one before."""
        with self._lock:
            self._rotate()
            return {"id_token": self.id_token, "access_token": self.access_token, "refresh_token": self.refresh_token}

    def revoke(self, refresh_token: str) -> None:
        """The current login ends, if that is its refresh token (RFC 7009)."""
        with self._lock:
            if refresh_token == self.refresh_token:
                self._access_valid = False
                self.revoked.append(refresh_token)

    def refresh(self, refresh_token: str) -> dict[str, str]:
        """The refresh grant (RFC 6749 section 6): a new access, refresh and id_token. Raises RefreshRefused."""
        with self._lock:
            if refresh_token in self._refresh_used:
                raise RefreshRefused("refresh_token_reused")
            if refresh_token != self.refresh_token or refresh_token in self.revoked:
                raise RefreshRefused("refresh_token_invalidated")
            self._refresh_used.add(refresh_token)
            self._rotate()
            return {"id_token": self.id_token, "access_token": self.access_token, "refresh_token": self.refresh_token}

    def secrets(self) -> dict[str, str]:
        """Everything that must never be seen inside a sandbox, by a name for each: all tokens so far and the API key."""
        with self._lock:
            kinds = {"fake-at-": "access token", "fake-rt-": "refresh token"}
            names = [kinds.get(token[:8], "id_token") for token in self.issued]
            numbered = {f"{name} {names[:at].count(name) + 1}": self.issued[at] for at, name in enumerate(names)}
            lasting = {"API key": self.api_key, "personal access token": self.personal_access_token}
            return numbered | lasting | self.agent.secrets()

    def describe(self, bearer: str) -> str:
        """What a bearer token is to this account, in words that do not hold it."""
        for name, token in self.secrets().items():
            if bearer == token:
                return name
        return "a token that is not ours" if bearer else "no token"

    def login_file(self) -> bytes:
        """The `auth.json` that `codex login` would leave behind."""
        login = {
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": None,
            "tokens": {
                "id_token": self.id_token,
                "access_token": self.access_token,
                "refresh_token": self.refresh_token,
                "account_id": self.account_id,
            },
            "last_refresh": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }
        return json.dumps(login, indent=2).encode()

    def api_key_file(self) -> bytes:
        """The `auth.json` that `codex login --with-api-key` would leave behind."""
        return json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": self.api_key}, indent=2).encode()


def _text(data: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _jwt(claims: dict[str, Any], signature: bytes) -> str:
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in ({"alg": "RS256", "typ": "JWT", "kid": "fake"}, claims)]
    return ".".join(map(_text, [*parts, signature]))
