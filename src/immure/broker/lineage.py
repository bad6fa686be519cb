"""One line of refresh tokens, as the vault keeps it: the login, where it came from, and how far its renewal got.

A refresh token is good for one use, so between the request that uses it and the record that holds the next one there is a moment in
which a crash loses the login. The record says so beforehand: `pending` is set, on disk, before the request leaves, and goes with the
save of its outcome. A record with `pending` was left by a process that died in between, and if its token is refused, that is why.

A line that was imported has a second holder, the file it came from, which is told of each renewal. What was renewed is `spent`: a file
that holds one of those is behind us, one that holds what we hold is with us, and any other knows something newer.

Rules: values in, values out; the JSON form is read by the version that wrote it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from immure.agents.codex.login_file import SHORTEST, ImportedLogin, fingerprint
from immure.errors import Fault, HostError
from immure.model import Secret
from immure.providers import Login, LoginKind, agent_identity, oauth

_VERSION: Final = 2
_MEMORY: Final = 100
"""How many spent tokens are remembered, by their fingerprints. A file that is older than that is taken for a new sign-in."""
_LONGEST_REST: Final = 300.0
_AUTH: Final = "https://api.openai.com/auth"

End = oauth.Cause | Literal["interrupted"]
"""Why a lineage has ended; `interrupted`: its last token was used up by a renewal whose answer was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Times are in seconds since the epoch. `source` is the file that it was imported from, empty if it is immure's own.

    `last_refresh` is when its tokens were issued, as far as is known, `renewed` when we had them issued, `failed` when we last tried in
    vain, for the `failures`th time. `identity` is what the issuer says about a token that says nothing itself.
    """

    kind: LoginKind
    secrets: Mapping[str, Secret] = field(repr=False)
    client_id: str
    source: str = ""
    spent: tuple[str, ...] = ()
    identity: Mapping[str, Any] = field(default_factory=dict, repr=False)
    last_refresh: float | None = None
    renewed: float | None = None
    pending: float | None = None
    ended: End | None = None
    failures: int = 0
    failed: float | None = None

    @classmethod
    def begin(cls, imported: ImportedLogin, source: str) -> "Lineage":
        """Raises ValueError if the JWT in it is not one that Codex could read, or names an account that cannot be one."""
        secrets = dict(imported.secrets)
        identity: Mapping[str, Any] = {}
        if imported.kind == "agent_identity":
            agent = agent_identity.read(secrets["agent_identity"].reveal())
            secrets["account_id"], identity = agent.account_id, agent.owner
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
            identity=identity,
            last_refresh=imported.last_refresh,
        )
        lineage.claims()
        return lineage

    def claims(self) -> dict[str, Any]:
        """What the id_token says, or the issuer says in its place; nothing for an API key. Raises ValueError."""
        return oauth.claims(self.secrets["id_token"].reveal()) if self.kind == "chatgpt" else dict(self.identity)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.kind, self.secrets)

    def is_behind(self, found: "ImportedLogin | Lineage") -> bool:
        """Whether a file holds something newer than this."""
        return found.fingerprint not in (self.fingerprint, *self.spent)

    def login(self, name: str) -> Login:
        return Login(name=name, kind=self.kind, secrets=self.secrets, claims=self.claims())

    def is_due(self, now: float) -> bool:
        return self.kind == "chatgpt" and oauth.is_due(self.secrets["access_token"], self.last_refresh, now)

    @property
    def expires(self) -> int | None:
        """When its access token or JWT says that it expires. One that does not say may always be good."""
        token = self.secrets.get("access_token", self.secrets.get("agent_identity"))
        return None if token is None else oauth.expiry(token)

    def is_dead(self, now: float) -> bool:
        return self.expires is not None and self.expires <= now

    def is_of(self, other: "Lineage") -> bool:
        """Whether both are logins to one account."""
        return (self.kind, self.secrets.get("account_id")) == (other.kind, other.secrets.get("account_id"))

    def after(self, held: "Lineage | None") -> "Lineage":
        """In the place of what was held, whose tokens are spent by that if it was a login to the same account."""
        if held is None or self.kind != "chatgpt" or not self.is_of(held):
            return self
        return replace(self, spent=(*held.spent, held.fingerprint)[-_MEMORY:])

    def rest(self, now: float) -> float:
        """Seconds to wait before the issuer is asked again: they double with each failure."""
        if self.failed is None or now < self.failed:  # the clock was set back
            return 0.0
        return max(0.0, self.failed + min(2.0 ** (self.failures - 1), _LONGEST_REST) - now)

    def begun(self, now: float) -> "Lineage":
        """As it stands while a renewal is under way."""
        return replace(self, pending=self.pending or now)

    def postponed(self, now: float, *, uncertain: bool) -> "Lineage":
        """After a renewal that failed for now; if that is `uncertain`, its token may have been used up."""
        return replace(self, pending=self.pending or now if uncertain else self.pending, failures=self.failures + 1, failed=now)

    def rotated(self, outcome: oauth.Rotated, now: float) -> "Lineage":
        """With the tokens of an answer. An id_token that cannot be read is not taken: the old one says the same."""
        secrets = dict(self.secrets)
        for name in "access_token", "refresh_token", "id_token":
            secret: Secret | None = getattr(outcome, name)
            if secret is not None and (name != "id_token" or _is_readable(secret)):
                secrets[name] = secret
        spent = self.spent if secrets.get("refresh_token") == self.secrets.get("refresh_token") else (*self.spent, self.fingerprint)
        return replace(
            self,
            secrets=secrets,
            spent=spent[-_MEMORY:],
            last_refresh=now,
            renewed=now,
            pending=None,
            ended=None,
            failures=0,
            failed=None,
        )

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
            "spent": list(self.spent),
            "identity": dict(self.identity),
            "last_refresh": self.last_refresh,
            "renewed": self.renewed,
            "pending": self.pending,
            "ended": self.ended,
            "failures": self.failures,
            "failed": self.failed,
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
        fields["spent"] = tuple(fields["spent"])
        return cls(**fields)


def _is_readable(id_token: Secret) -> bool:
    try:
        oauth.claims(id_token.reveal())
    except ValueError:
        return False
    return True


def _account(claims: Mapping[str, Any]) -> Secret | None:
    nested = claims.get(_AUTH)
    account = nested.get("chatgpt_account_id") if isinstance(nested, Mapping) else None
    if account is None:
        return None
    try:
        if isinstance(account, str) and len(account) >= SHORTEST:
            return Secret(account)
    except Fault:
        pass
    raise ValueError("its account id is not one")
