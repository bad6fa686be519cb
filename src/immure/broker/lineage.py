"""One line of refresh tokens, as the vault keeps it: the login, where it came from, and how far its renewal got.

A refresh token is good for one use, so between the request that uses it and the record that holds the next one there is a moment in
which a crash loses the login. The record says so beforehand: `pending` is set, on disk, before the request leaves, and goes with the
save of its outcome. A record with `pending` was left by a process that died in between, and if its token is refused, that is why.

Rules: values in, values out; the JSON form is read by the version that wrote it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from immure.agents.codex.login_file import SHORTEST, ImportedLogin
from immure.errors import Fault, HostError
from immure.model import Secret
from immure.providers import Login, LoginKind, oauth

_VERSION: Final = 1

End = oauth.Cause | Literal["interrupted"]
"""Why a lineage has ended; `interrupted`: its last token was used up by a renewal whose answer was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Times are in seconds since the epoch. `source` is the file that it was imported from, `fingerprint` what stood there then.

    `last_refresh` is when its tokens were issued, as far as is known, and `renewed` when we had them issued.
    """

    kind: LoginKind
    secrets: Mapping[str, Secret] = field(repr=False)
    client_id: str
    source: str
    fingerprint: str
    last_refresh: float | None = None
    renewed: float | None = None
    pending: float | None = None
    ended: End | None = None

    @classmethod
    def begin(cls, imported: ImportedLogin, source: str) -> "Lineage":
        """Raises ValueError if the id_token is not one that Codex could read, or names an account that cannot be one."""
        secrets = dict(imported.secrets)
        if imported.kind == "chatgpt" and "account_id" not in secrets:
            # Without a placeholder of its own it would go in by the claims.
            account = _account(oauth.claims(secrets["id_token"].reveal()))
            if account is not None:
                secrets["account_id"] = account
        lineage = cls(
            kind=imported.kind,
            secrets=secrets,
            client_id=imported.client_id or oauth.CLIENT_ID,
            source=source,
            fingerprint=imported.fingerprint,
            last_refresh=imported.last_refresh,
        )
        lineage.claims()
        return lineage

    def claims(self) -> dict[str, Any]:
        """What the id_token says; nothing for an API key. Raises ValueError."""
        return oauth.claims(self.secrets["id_token"].reveal()) if self.kind == "chatgpt" else {}

    def login(self, name: str) -> Login:
        return Login(name=name, kind=self.kind, secrets=self.secrets, claims=self.claims())

    def is_due(self, now: float) -> bool:
        return self.kind == "chatgpt" and oauth.is_due(self.secrets["access_token"], self.last_refresh, now)

    def is_dead(self, now: float) -> bool:
        """Whether the access token says that it has expired. One that does not say may still be good."""
        expires = oauth.expiry(self.secrets["access_token"]) if self.kind == "chatgpt" else None
        return expires is not None and expires <= now

    def rotated(self, outcome: oauth.Rotated, now: float) -> "Lineage":
        """With the tokens of an answer. An id_token that cannot be read is not taken: the old one says the same."""
        secrets = dict(self.secrets)
        for name in "access_token", "refresh_token", "id_token":
            secret: Secret | None = getattr(outcome, name)
            if secret is not None and (name != "id_token" or _is_readable(secret)):
                secrets[name] = secret
        return replace(self, secrets=secrets, last_refresh=now, renewed=now, pending=None, ended=None)

    def end(self, cause: oauth.Cause) -> "Lineage":
        interrupted = self.pending is not None and cause != "expired"
        return replace(self, ended="interrupted" if interrupted else cause)

    def to_record(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "kind": self.kind,
            "secrets": {name: secret.reveal() for name, secret in self.secrets.items()},
            "client_id": self.client_id,
            "source": self.source,
            "fingerprint": self.fingerprint,
            "last_refresh": self.last_refresh,
            "renewed": self.renewed,
            "pending": self.pending,
            "ended": self.ended,
        }

    @classmethod
    def from_record(cls, name: str, record: Mapping[str, Any]) -> "Lineage":
        """Raises HostError for a record of another version."""
        if record.get("version") != _VERSION:
            raise HostError(
                f"the login {name!r} in the vault was written by another version of immure",
                code="login.version",
                hint="use that version, or remove the vault's directory and sign in again",
            )
        fields = {key: value for key, value in record.items() if key != "version"}
        fields["secrets"] = {key: Secret(text) for key, text in fields["secrets"].items()}
        return cls(**fields)


def _is_readable(id_token: Secret) -> bool:
    try:
        oauth.claims(id_token.reveal())
    except ValueError:
        return False
    return True


def _account(claims: Mapping[str, Any]) -> Secret | None:
    nested = claims.get("https://api.openai.com/auth")
    account = nested.get("chatgpt_account_id") if isinstance(nested, Mapping) else None
    if account is None:
        return None
    try:
        if isinstance(account, str) and len(account) >= SHORTEST:
            return Secret(account)
    except Fault:
        pass
    raise ValueError("its account id is not one")
