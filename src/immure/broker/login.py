"""The logins of a user: imported from the host's Codex, kept in the vault, renewed by one process at a time.

All work is done in the calling thread, under the vault's lock of that login: it reads what is there now, and only if that still needs a
renewal does it ask the issuer. So whoever waited finds the new tokens and asks nobody, whether they are threads of one broker or two
brokers. Each step is on disk before the next begins; see `lineage` for what a crash leaves.

The host's Codex may go on using its own copy. When its file holds something newer than what was imported, that is taken in place of
ours, since ours is then used up or will be.

*Trust:* the vault, the user's files and the issuer. What a sandbox sends never reaches this module except as "renew what I have".
*Fails:* LoginEnded when only a new sign-in helps, LoginUnavailable when it may work later.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, Literal, assert_never

from immure.agents.codex import ImportedLogin, read_login
from immure.agents.codex.login_file import FILE, sign_in
from immure.audit.event import LoginActivity, login_event
from immure.broker.issuer import HOST, Issuer, Unanswered
from immure.broker.lineage import Lineage
from immure.config.settings import Upstream
from immure.errors import HostError, UsageError
from immure.providers import Login, oauth
from immure.vault import Vault

Reason = Literal["scheduled", "unauthorized_recovery"]

_PREFIX: Final = "codex "
"""The name of a login is this and the path of its Codex home."""
_REST: Final = 5.0
"""Seconds for which a renewed token is not renewed again: an agent that asks in a loop must not turn into a loop upstream."""
_WHY: Final = {
    "expired": "has expired",
    "reused": "has been renewed by another program that holds a copy of it",
    "invalidated": "was revoked",
    "invalid_grant": "is no longer accepted",
    "refused": "is no longer accepted",
    "interrupted": "was being renewed when immure or the network stopped, and the answer that held the new token was lost",
    "replaced": "was replaced by a sign-in to another account",
    "removed": "is no longer in the vault",
    "single": "cannot be renewed: it came without a refresh token",
}


class LoginEnded(UsageError):
    """Only a new sign-in helps. `cause` is a word of the table above, `when` the renewal that was interrupted."""

    def __init__(self, cause: str, codex_home: str, when: float | None = None) -> None:
        at = f" ({datetime.fromtimestamp(when):%Y-%m-%d %H:%M})" if cause == "interrupted" and when is not None else ""
        super().__init__(
            f"the Codex login of {codex_home} {_WHY[cause]}{at}",
            code="login.ended",
            hint=f"sign in on the host: {sign_in(codex_home)}; then start again",
        )
        self.cause = cause


class LoginUnavailable(HostError):
    """The issuer could not be asked, or would not answer now."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the Codex login cannot be renewed now: {reason}",
            code="login.unavailable",
            hint="check the network, or the [[upstream]] of auth.openai.com in config.toml, and try again",
        )


class Logins:
    """The logins in one vault. `record` takes audit lines, `clock` gives seconds since the epoch. Any thread may call."""

    __slots__ = ("_clock", "_issuer", "_record", "_vault")

    def __init__(
        self, vault: Vault, upstreams: Sequence[Upstream], record: Callable[[bytes], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._vault = vault
        self._issuer = Issuer(upstreams)
        self._record = record
        self._clock = clock

    def open(self, codex_home: str, say: Callable[[str], None]) -> Login:
        """The login of a Codex home on the host, good for use: imported if it is new, renewed if that is due.

        `say` gets what is done with it, a sentence at a time, before it is done. Raises UsageError (no login, or one that cannot be
        used), LoginEnded, LoginUnavailable, HostError (vault).
        """
        home = os.path.realpath(codex_home)
        name = _PREFIX + home
        with self._vault.lock(name):
            lineage = self._imported(name, self._load(name), os.path.join(home, FILE), say)
        if lineage.ended is not None:
            raise LoginEnded(lineage.ended, home, lineage.pending)
        if lineage.is_due(self._clock()):
            try:
                lineage = self._renewed(name, lambda held: held.is_due(self._clock()), "scheduled", "")
            except LoginUnavailable:
                if lineage.is_dead(self._clock()):
                    raise
        return lineage.login(name)

    def refresh(self, stale: Login, *, reason: Reason = "unauthorized_recovery", sandbox: str = "") -> Login:
        """The login after `stale`, whose access token a server has refused. Whoever comes second gets what the first was given.

        Raises LoginEnded, LoginUnavailable, HostError (vault). `sandbox` is for the audit trail.
        """

        def is_stale(held: Lineage) -> bool:
            rested = held.renewed is None or not 0 <= self._clock() - held.renewed < _REST
            return held.secrets.get("access_token") == stale.secrets.get("access_token") and rested

        lineage = self._renewed(stale.name, is_stale, reason, sandbox)
        fresh = lineage.login(stale.name)
        if (fresh.kind, fresh.account_id) != (stale.kind, stale.account_id):
            raise LoginEnded("replaced", os.path.dirname(lineage.source))
        return fresh

    def report(self, login: str, activity: LoginActivity, *, sandbox: str = "", reason: str = "") -> None:
        """Write a change to a login into the audit trail."""
        milliseconds = int(self._clock() * 1000)
        self._record(login_event(time=milliseconds, login=login, activity=activity, host=HOST, sandbox=sandbox, reason=reason))

    def _imported(self, name: str, held: Lineage | None, source: str, say: Callable[[str], None]) -> Lineage:
        try:
            found = read_login(source)
        except UsageError as error:
            if held is None or error.code != "login.missing":
                raise
            return held  # signed out on the host, or never written there: the vault's is the login
        if held is not None and found.fingerprint == held.fingerprint:
            return held
        lineage = _begin(found, source)
        for sentence in _announcement(found, source, held):
            say(sentence)
        self._vault.put(name, lineage.to_record())
        self.report(name, "imported", reason=f"from {source}")
        return lineage

    def _renewed(self, name: str, is_needed: Callable[[Lineage], bool], reason: Reason, sandbox: str) -> Lineage:
        with self._vault.lock(name):
            held = self._load(name)
            if held is None:
                raise LoginEnded("removed", name.removeprefix(_PREFIX))
            if is_needed(held):
                held = self._adopted(name, held, sandbox)
            return self._rotated(name, held, reason, sandbox) if is_needed(held) else held

    def _adopted(self, name: str, held: Lineage, sandbox: str) -> Lineage:
        """What the host's file holds now, if it is a newer state of the same account's login; else what is held."""
        try:
            found = _begin(read_login(held.source), held.source)
        except UsageError:
            return held
        same = found.kind == held.kind and found.secrets.get("account_id") == held.secrets.get("account_id")
        if not same or found.fingerprint == held.fingerprint:
            return held
        self._vault.put(name, found.to_record())
        self.report(name, "imported", sandbox=sandbox, reason=f"{held.source} is newer")
        return found

    def _rotated(self, name: str, held: Lineage, reason: Reason, sandbox: str) -> Lineage:
        codex_home = os.path.dirname(held.source)
        token = held.secrets.get("refresh_token")
        if token is None:
            raise LoginEnded("single", codex_home)
        if held.ended is not None:
            raise LoginEnded(held.ended, codex_home, held.pending)
        begun = replace(held, pending=held.pending or self._clock())
        self._vault.put(name, begun.to_record())
        try:
            status, body = self._issuer.post(oauth.TOKEN_PATH, oauth.refresh_request(token, held.client_id, reason))
            outcome = oauth.interpret(status, body)
        except Unanswered as error:
            outcome = oauth.Transient(reason=error.reason, uncertain=error.sent)
        match outcome:
            case oauth.Rotated():
                renewed = begun.rotated(outcome, self._clock())
                self._vault.put(name, renewed.to_record())
                self.report(name, "refreshed", sandbox=sandbox, reason=reason)
                return renewed
            case oauth.Permanent():
                ended = held.end(outcome.cause)
                self._vault.put(name, ended.to_record())
                failure = LoginEnded(ended.ended or outcome.cause, codex_home, held.pending)
                self.report(name, "refresh-failed", sandbox=sandbox, reason=failure.cause)
                raise failure
            case oauth.Transient():
                if not outcome.uncertain:
                    self._vault.put(name, held.to_record())
                self.report(name, "refresh-failed", sandbox=sandbox, reason=outcome.reason)
                raise LoginUnavailable(outcome.reason)
        assert_never(outcome)

    def _load(self, name: str) -> Lineage | None:
        record = self._vault.get(name)
        return None if record is None else Lineage.from_record(name, record)


def _begin(found: ImportedLogin, source: str) -> Lineage:
    try:
        return Lineage.begin(found, source)
    except ValueError as error:
        raise UsageError(
            f"{source} is not a usable Codex login: tokens.id_token is not a JWT: {error}",
            code="login.malformed",
            hint=f"sign in again: {sign_in(os.path.dirname(source))}",
        ) from None


def _announcement(found: ImportedLogin, source: str, held: Lineage | None) -> list[str]:
    if held is not None and held.kind == found.kind:
        return [f"The Codex login in {source} is newer than the one in the vault, and takes its place."]
    what = "ChatGPT login" if found.kind == "chatgpt" else "API key (its use is billed)"
    sentences = [f"immure uses the {what} of {source}: it is copied, encrypted, into the vault. Codex inside gets placeholders."]
    if found.kind == "chatgpt":
        sentences.append("From now on immure renews this login. A Codex outside that goes on with its own copy may have to sign in again.")
        if "api_key" in found.secrets:
            sentences.append("The file holds an API key too: the subscription is used, the API key is not.")
    return sentences
