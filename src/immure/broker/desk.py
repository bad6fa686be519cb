"""Making a login that is immure's own, in each of the ways that Codex knows; what comes of it is a line for the vault.

The tokens come into this process and go into the vault: no file, no argument and no variable ever holds them.

*Trust:* the issuer, and the user at the terminal. *Fails:* UsageError; HostError if the issuer does not answer.
"""

import secrets
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO, TypeVar

from immure.agents.codex import ImportedLogin
from immure.agents.codex.login_file import SHORTEST
from immure.broker import agent_issuer, callback
from immure.broker.issuer import Issuer, Unanswered
from immure.broker.lineage import Lineage
from immure.errors import Fault, HostError, UsageError
from immure.model import Secret
from immure.providers import LoginKind, oauth, sign_in

Say = Callable[[str], None]
Answered = TypeVar("Answered")

_ENTROPY: Final = 48
"""Bytes of a verifier (RFC 7636 section 4.1 wants 32 or more) and of a state."""


class Desk:
    """Where logins are made. `say` gets what the user must know or do; `clock` gives seconds since the epoch."""

    def __init__(
        self, issuer: Issuer, say: Say, *, clock: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._issuer = issuer
        self._say = say
        self._clock = clock
        self._sleep = sleep

    def by_browser(self, listener: socket.socket, pasted: TextIO | None, visit: Callable[[str], None]) -> Lineage:
        """The user signs in with a browser, which `visit` may open here; `pasted` may bring where it ended elsewhere."""
        verifier, state = secrets.token_urlsafe(_ENTROPY), secrets.token_urlsafe(_ENTROPY)
        url = sign_in.authorize_url(verifier, state)
        self._say(f"Sign in with your browser:\n\n  {url}\n")
        if pasted is not None:
            self._say("If that browser is on another machine, paste here the address at which it ends.")
        visit(url)
        code = callback.code_for(state, listener, pasted, self._say)
        return self.exchange(code, sign_in.REDIRECT, verifier)

    def by_device_code(self) -> Lineage:
        """The user types a code into a page of any browser."""
        device = sign_in.device_code_in(*self.ask(sign_in.USER_CODE_PATH, sign_in.user_code_request()))
        self._say(f"Open {sign_in.DEVICE_PAGE} in any browser and enter this code within 15 minutes: {device.user_code}")
        self._say("Never enter a code there that somebody else has given you.")
        deadline = self._clock() + sign_in.DEVICE_LIFE
        while self._clock() < deadline:
            self._sleep(device.interval)
            grant = sign_in.device_grant_in(*self.ask(sign_in.DEVICE_POLL_PATH, sign_in.poll_request(device)))
            if grant is not None:
                return self.exchange(grant[0], sign_in.DEVICE_REDIRECT, grant[1])
        raise sign_in.refused("the code was not entered in time")

    def by_api_key(self, text: str) -> Lineage:
        return Lineage(kind="api_key", secrets={"api_key": _secret(text, "an API key")}, client_id=oauth.CLIENT_ID)

    def by_access_token(self, text: str) -> Lineage:
        """A personal access token, whose owner the issuer names; or the JWT of an agent identity, which the issuer has signed."""
        token = _secret(text, "an access token")
        if not token.reveal().startswith(sign_in.ACCESS_TOKEN_PREFIX):
            return self._by_agent_identity(token)
        owner = sign_in.owner_in(*self._answered(lambda: self._issuer.get(sign_in.WHOAMI_PATH, token)))
        held = {"personal_access_token": token, "account_id": owner.account_id}
        return Lineage(kind="personal_access_token", secrets=held, client_id=oauth.CLIENT_ID, identity=owner.claims)

    def _by_agent_identity(self, token: Secret) -> Lineage:
        self._answered(lambda: agent_issuer.verified(self._issuer, token.reveal(), self._clock()))
        return copied(ImportedLogin(kind="agent_identity", secrets={"agent_identity": token}), "the agent identity")

    def by_copy(self, found: ImportedLogin, source: str) -> Lineage:
        """A login of our own with the tokens of another. Raises UsageError."""
        return self._by_agent_identity(found.secrets["agent_identity"]) if found.kind == "agent_identity" else copied(found, source)

    def exchange(self, code: str, redirect: str, verifier: str) -> Lineage:
        """The login that a code of the issuer stands for."""
        form = sign_in.exchange_request(code, redirect, verifier)
        tokens = sign_in.tokens_in(*self.ask(oauth.TOKEN_PATH, form, sign_in.FORM))
        return copied(ImportedLogin(kind="chatgpt", secrets=tokens, last_refresh=self._clock()), "the new login")

    def ask(self, path: str, body: bytes, content_type: str = "application/json") -> tuple[int, bytes]:
        """Status and body of what the issuer answers."""
        return self._answered(lambda: self._issuer.post(path, body, content_type))

    def _answered(self, ask: Callable[[], Answered]) -> Answered:
        try:
            return ask()
        except Unanswered as error:
            hint = "check the network, or the [[upstream]] of auth.openai.com in config.toml"
            raise HostError(f"you are not signed in: {error.reason}", code="login.unavailable", hint=hint) from None


def described(claims: Mapping[str, Any]) -> str:
    """Whose login it is, for the user's own terminal: the address of the account and its plan, where they are known."""
    nested = claims.get("https://api.openai.com/auth")
    plan = nested.get("chatgpt_plan_type") if isinstance(nested, Mapping) else None
    return ", ".join(str(part) for part in (claims.get("email"), plan and f"plan {plan}") if part)


def kind_in_words(kind: LoginKind) -> str:
    words: dict[LoginKind, str] = {
        "chatgpt": "ChatGPT subscription",
        "personal_access_token": "personal access token",
        "agent_identity": "agent identity",
        "api_key": "API key",
    }
    return words[kind]


def copied(found: ImportedLogin, source: str) -> Lineage:
    """A login of our own with the tokens of another, of which no file is told. Raises UsageError."""
    try:
        return Lineage.begin(found, "")
    except ValueError as error:
        raise UsageError(
            f"{source} cannot be used: its id_token is not a JWT: {error}", code="login.malformed", hint="sign in again"
        ) from None


def _secret(text: str, what: str) -> Secret:
    try:
        if len(text) >= SHORTEST and " " not in text:
            return Secret(text)
    except Fault:
        pass
    raise UsageError(f"what was read from standard input is not {what}", code="login.malformed", hint="give it alone, on one line")
