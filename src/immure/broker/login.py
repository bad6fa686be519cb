"""The logins of a user: made here or imported from the host's Codex, kept in the vault, renewed by one process at a time.

All work is done in the calling thread, under the vault's lock of that login: it reads what is there now, and only if that still needs a
renewal does it ask the issuer. So whoever waited finds the new tokens and asks nobody, whether they are threads of one broker or two
brokers. Each step is on disk before the next begins; see `lineage` for what a crash leaves.

The host's Codex may go on using the file that a login was imported from. What we have renewed is written back to it: the vault first,
then the file, so that a file that was missed is mended the next time. When it holds something newer than we do, that is taken in
place of ours, since ours is then used up or will be.

*Trust:* the vault, the user's files and the issuer. What a sandbox sends never reaches this module except as "renew what I have".
*Fails:* LoginEnded when only a new sign-in helps, LoginUnavailable when it may work later.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Literal, assert_never

from immure.agents.codex import ImportedLogin, give_tokens, read_login
from immure.agents.codex.login_file import FILE, sign_in
from immure.audit.event import LoginActivity, login_event
from immure.broker import agent_issuer, login_name
from immure.broker.issuer import HOST, Issuer, Unanswered
from immure.broker.lineage import Lineage
from immure.broker.login_failure import LoginEnded, LoginUnavailable
from immure.config.settings import Upstream
from immure.errors import UsageError
from immure.model import Secret
from immure.providers import Login, oauth
from immure.vault import Vault

Reason = Literal["scheduled", "unauthorized_recovery"]
Say = Callable[[str], None]

_REST: Final = 5.0
"""Seconds for which a renewed token is not renewed again: an agent that asks in a loop must not turn into a loop upstream."""


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

    def open(self, codex_home: str, say: Say) -> Login:
        """The login to run on, good for use: one of our own, or else that of a Codex home on the host, imported if it is new.

        A subscription goes before an API key, which is billed by use. `say` gets what is done, a sentence at a time, before it is done.
        Raises UsageError (no login, or one that cannot be used), LoginEnded, LoginUnavailable, HostError (vault).
        """
        name, key = self.first(codex_home), login_name.OWN["api_key"]
        if name != key and key in self._own():
            say(f"Codex signs in with {login_name.described(name)}; {login_name.described(key)} is not used.")
        with self._vault.lock(name):
            lineage = self._load(name)
            home = login_name.home_of(name)
            if home is not None:
                lineage = self._imported(name, lineage, os.path.join(home, FILE), say)
        if lineage is None:
            raise LoginEnded("removed", name)
        if lineage.ended is not None:
            raise LoginEnded(lineage.ended, name, lineage.pending)
        if lineage.kind == "agent_identity" and lineage.is_dead(self._clock()):
            raise LoginEnded("expired", name)
        if lineage.kind == "api_key":
            say(f"Codex signs in with an API key, {login_name.described(name)}: its use is billed.")
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

        return self._later(stale, self._renewed(stale.name, is_stale, reason, sandbox))

    def keep(self, login: Login, *, sandbox: str = "") -> Login:
        """The login as it is now, renewed if that is due. Raises as `refresh` does."""

        def is_due(held: Lineage) -> bool:
            return held.ended is None and "refresh_token" in held.secrets and held.is_due(self._clock())

        return self._later(login, self._renewed(login.name, is_due, "scheduled", sandbox))

    def register_task(self, login: Login, *, sandbox: str) -> Secret:
        """The name of a new task of an agent identity. Raises LoginEnded, LoginUnavailable. `sandbox` is for the audit trail."""
        try:
            task = agent_issuer.registered(self._issuer, login, self._clock())
        except (LoginEnded, LoginUnavailable) as error:
            self.report(login.name, "task-refused", sandbox=sandbox, reason=error.what)
            raise
        self.report(login.name, "task-registered", sandbox=sandbox)
        return task

    def present(self, login: Login) -> Login:
        """The login as the vault has it now: what it was renewed to, or another sign-in to the same account. Nobody upstream is asked.

        Raises LoginEnded (removed, replaced), HostError (vault).
        """
        held = self._load(login.name)
        if held is not None and _is_same(held, login):
            return held.login(login.name)
        for name, lineage in self.held().items() if login.account_id is not None else ():
            if _is_same(lineage, login):
                return lineage.login(name)
        raise LoginEnded("removed" if held is None else "replaced", login.name)

    def take(self, codex_home: str, say: Say) -> None:
        """Import the login of a Codex home on the host, if it is new. Raises UsageError, HostError (vault)."""
        name = login_name.of_home(codex_home)
        with self._vault.lock(name):
            self._imported(name, self._load(name), os.path.join(os.path.realpath(codex_home), FILE), say)

    def first(self, codex_home: str) -> str:
        """The name of the login that is used: one of our own, or else that of a Codex home, but a subscription before an API key."""
        host, key = login_name.of_home(codex_home), login_name.OWN["api_key"]
        own = self._own()
        return own[0] if own and (own[0] != key or not self._is_subscription(host)) else host

    def sign_in(self, lineage: Lineage, *, sandbox: str = "") -> str:
        """Keep a login that was just made, in place of an earlier one of its kind; returns its name."""
        name = login_name.OWN[lineage.kind]
        with self._vault.lock(name):
            self._vault.put(name, lineage.to_record())
        self.report(name, "signed-in", sandbox=sandbox)
        return name

    def announcement(self, name: str, codex_home: str) -> list[str]:
        """What the user of a new login should know, in sentences."""
        first = self.first(codex_home)
        sentences = [f"Signed in: {login_name.described(name)}."]
        if first != name:
            sentences.append(f"`immure codex` uses {login_name.described(first)} before it.")
        elif name == login_name.OWN["api_key"]:
            sentences.append("Its use is billed.")
        return sentences

    def keep_key(self, login: Login, key: Secret, *, sandbox: str) -> Login:
        """Keep an API key beside the subscription that it was given for, unless another has taken its place."""
        with self._vault.lock(login.name):
            held = self._load(login.name)
            if held is None or held.secrets.get("id_token") != login.secrets["id_token"]:
                return login
            held = replace(held, secrets={**held.secrets, "api_key": key})
            self._vault.put(login.name, held.to_record())
        self.report(login.name, "signed-in", sandbox=sandbox, reason="an API key came with it")
        return held.login(login.name)

    def sign_out(self, name: str) -> str:
        """Remove a login from the vault, and revoke it if it is our own. Returns why it was not revoked, or nothing."""
        with self._vault.lock(name):
            held = self._load(name)
            self._vault.delete(name)
            token = held.secrets.get("refresh_token") if held is not None and not held.source else None
            failure = "" if held is None or token is None else self._revoke(oauth.revoke_request(token, held.client_id))
        self.report(name, "signed-out", reason=failure)
        return failure

    def held(self) -> dict[str, Lineage]:
        """What is in the vault, by name; our own first, in the order in which they are used."""
        names = self._vault.names()
        ordered = [*(name for name in login_name.OWN.values() if name in names), *(n for n in names if login_name.home_of(n) is not None)]
        return {name: lineage for name in ordered if (lineage := self._load(name)) is not None}

    def report(self, login: str, activity: LoginActivity, *, sandbox: str = "", reason: str = "") -> None:
        """Write a change to a login into the audit trail."""
        milliseconds = int(self._clock() * 1000)
        self._record(login_event(time=milliseconds, login=login, activity=activity, host=HOST, sandbox=sandbox, reason=reason))

    def _own(self) -> list[str]:
        names = self._vault.names()
        return [name for name in login_name.OWN.values() if name in names]

    def _is_subscription(self, name: str) -> bool:
        """Whether a Codex home on the host has a ChatGPT login, in its file or as we have it."""
        try:
            return read_login(os.path.join(login_name.home_of(name) or "", FILE)).kind != "api_key"
        except UsageError as error:
            held = self._load(name) if error.code == "login.missing" else None
            return held is not None and held.kind != "api_key"

    def _imported(self, name: str, held: Lineage | None, source: str, say: Say) -> Lineage:
        try:
            found = read_login(source)
        except UsageError as error:
            if held is None or error.code != "login.missing":
                raise
            return held  # signed out on the host, or never written there: the vault's is the login
        if held is not None and not held.is_behind(found):
            if found.fingerprint != held.fingerprint and (failure := self._give_back(name, held)):
                say(f"The new tokens could not be written to {source}: {failure}. The Codex outside may have to sign in again.")
            return held
        lineage = _begin(found, source).after(held)
        if found.kind == "agent_identity":
            self._verify(found.secrets["agent_identity"])
        for sentence in _announcement(found, source, held):
            say(sentence)
        self._vault.put(name, lineage.to_record())
        self.report(name, "imported", reason=f"from {source}")
        return lineage

    def _verify(self, token: Secret) -> None:
        try:
            agent_issuer.verified(self._issuer, token.reveal(), self._clock())
        except Unanswered as error:
            raise LoginUnavailable(error.reason, "imported") from None

    def _renewed(self, name: str, is_needed: Callable[[Lineage], bool], reason: Reason, sandbox: str) -> Lineage:
        with self._vault.lock(name):
            held = self._load(name)
            if held is None:
                raise LoginEnded("removed", name)
            if is_needed(held):
                held = self._adopted(name, held, sandbox)
            return self._rotated(name, held, reason, sandbox) if is_needed(held) else held

    def _later(self, earlier: Login, lineage: Lineage) -> Login:
        if not _is_same(lineage, earlier):
            raise LoginEnded("replaced", earlier.name)
        return lineage.login(earlier.name)

    def _adopted(self, name: str, held: Lineage, sandbox: str) -> Lineage:
        """What the host's file holds now, if it is a newer state of the same account's login; else what is held."""
        if not held.source:
            return held
        try:
            found = _begin(read_login(held.source), held.source).after(held)
        except UsageError:
            return held
        if not found.is_of(held) or not held.is_behind(found):
            return held
        self._vault.put(name, found.to_record())
        self.report(name, "imported", sandbox=sandbox, reason=f"{held.source} is newer")
        return found

    def _rotated(self, name: str, held: Lineage, reason: Reason, sandbox: str) -> Lineage:
        token = held.secrets.get("refresh_token")
        if token is None:
            raise LoginEnded("single", name)
        if held.ended is not None:
            raise LoginEnded(held.ended, name, held.pending)
        if rest := held.rest(self._clock()):
            raise LoginUnavailable(f"the last attempt failed; the next is in {rest:.0f} seconds")
        begun = held.begun(self._clock())
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
                self._give_back(name, renewed)
                return renewed
            case oauth.Permanent():
                # The host's Codex may have been the quicker one, a moment ago.
                newer = self._adopted(name, held, sandbox)
                if newer is not held:
                    return newer
                ended = held.end(outcome.cause)
                self._vault.put(name, ended.to_record())
                failure = LoginEnded(ended.ended or outcome.cause, name, held.pending)
                self.report(name, "refresh-failed", sandbox=sandbox, reason=failure.cause)
                raise failure
            case oauth.Transient():
                self._vault.put(name, held.postponed(self._clock(), uncertain=outcome.uncertain).to_record())
                self.report(name, "refresh-failed", sandbox=sandbox, reason=outcome.reason)
                raise LoginUnavailable(outcome.reason)
        assert_never(outcome)

    def _give_back(self, name: str, held: Lineage) -> str:
        """Tell the file that a login came from what has been renewed, unless it knows better. Returns why that failed, or nothing."""
        if not held.source or held.kind != "chatgpt":
            return ""
        try:
            if give_tokens(held.source, held.secrets, held.last_refresh or self._clock(), lambda found: not held.is_behind(found)):
                self.report(name, "written-back", reason=f"to {held.source}")
        except OSError as error:
            failure = error.strerror or str(error)
            self.report(name, "write-back-failed", reason=failure)
            return failure
        return ""

    def _revoke(self, request: bytes) -> str:
        try:
            status, _ = self._issuer.post(oauth.REVOKE_PATH, request)
        except Unanswered as error:
            return error.reason
        return "" if 200 <= status < 300 else f"{HOST} answered with status {status}"

    def _load(self, name: str) -> Lineage | None:
        record = self._vault.get(name)
        return None if record is None else Lineage.from_record(name, record)


def _is_same(lineage: Lineage, login: Login) -> bool:
    """Whether both are logins of one kind to one account."""
    return (lineage.kind, lineage.secrets.get("account_id")) == (login.kind, login.account_id)


def _begin(found: ImportedLogin, source: str) -> Lineage:
    try:
        return Lineage.begin(found, source)
    except ValueError as error:
        what = "agent_identity is not one" if found.kind == "agent_identity" else "tokens.id_token is not a JWT"
        raise UsageError(
            f"{source} is not a usable Codex login: {what}: {error}",
            code="login.malformed",
            hint=f"sign in again: {sign_in(os.path.dirname(source))}",
        ) from None


def _announcement(found: ImportedLogin, source: str, held: Lineage | None) -> list[str]:
    if held is not None and held.kind == found.kind:
        return [f"The Codex login in {source} is newer than the one in the vault, and takes its place."]
    what = {"chatgpt": "ChatGPT login", "agent_identity": "agent identity", "api_key": "API key"}[found.kind]
    sentences = [f"The {what} of {source} is used: it is copied, encrypted, into the vault. Codex inside gets placeholders."]
    if found.kind == "chatgpt":
        sentences.append("From now on immure renews it, and writes the new tokens back to that file for the Codex outside.")
        if "api_key" in found.secrets:
            sentences.append("The file holds an API key too: the subscription is used, the API key is not.")
    return sentences
