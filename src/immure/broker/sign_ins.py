"""Signing in from inside, for one session: the user's consent, the browser's way back, and a secret that is given on standard input.

    immure codex login                  typed on the host, so approved; the browser comes back to a listener of ours
    immure codex login --with-api-key   the key is read out here, before there is a sandbox; Codex reads a placeholder in its place
    codex login, in a shell inside      asks for the user's consent, unless the settings have an answer

The flows themselves are in `sign_in_inside`, one set of them for each provider that is attached.

*Trust:* the client for what it typed and gave; nothing inside. *Fails:* UsageError, before anything was made.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Final

from immure.broker.attachment import Attachment
from immure.broker.browser_return import BrowserReturn
from immure.broker.consent import GOOD_FOR, Consent
from immure.broker.desk import Desk
from immure.broker.issuer import Issuer
from immure.broker.login import Logins
from immure.broker.plan import Request
from immure.broker.sign_in_inside import Flows
from immure.broker.streams import poured, read_to_end
from immure.broker.token_endpoint import Answer
from immure.config.settings import Settings
from immure.errors import UsageError
from immure.providers import Profile, oauth
from immure.providers.sign_in import CALLBACK_PORT

_PATIENCE: Final = 15.0
"""Seconds for a connection to a listener that is there."""


async def given_secret(request: Request, stdin: int | None) -> str | None:
    """The secret that a sign-in takes from its standard input; None for any other command. Raises UsageError."""
    doing = request.doing
    if doing is None or doing.way not in ("api_key", "access_token"):
        return None
    if stdin is None:
        raise UsageError(
            "a key or token is read from standard input, and that is your terminal",
            code="login.typed",
            hint="immure codex login --with-api-key < FILE; or, to paste it unseen: immure login codex --with-api-key",
        )
    return (await read_to_end(stdin, oauth.MAX_TOKEN)).decode("latin-1").strip()


class SignIns:
    """`logins()` is the vault, `tell` the user's terminal, `inside()` a TCP socket of the sandbox's network, None if that is gone."""

    def __init__(
        self,
        sandbox: str,
        settings: Settings,
        logins: Callable[[], Logins],
        tell: Callable[[str], None],
        inside: Callable[[], asyncio.Future[socket.socket | None]],
    ) -> None:
        self._sandbox = sandbox
        self._logins = logins
        self._inside = inside
        self._consent = Consent(settings.sign_in_inside, sandbox, tell)
        self._desk = Desk(Issuer(settings.upstreams), tell)
        self._flows: dict[str, Flows] = {}
        self._browser: BrowserReturn | None = None
        self._input: int | None = None

    def begin(self, request: Request, attachments: Sequence[Attachment]) -> None:
        """Make ready for what the command line asks. Raises UsageError: the browser's port is taken."""
        doing = request.doing
        if request.given is not None:
            self._input = poured(attachments[-1].shown_secret.encode())
        elif doing is not None and doing.way is not None:
            self.approve(attachments, browser=doing.way == "browser", good_for=inf)

    def input(self, stdin: int | None) -> int | None:
        """What the program gets for standard input."""
        return stdin if self._input is None else self._input

    def approve(self, attachments: Iterable[Attachment], *, browser: bool, good_for: float = GOOD_FOR) -> None:
        """Let one sign-in through; `browser`: with a listener on the host for as long. Raises UsageError: nothing to sign in to, or its
        port is taken.
        """
        flows = [self._of(attachment.profile) for attachment in attachments]
        if not flows:
            raise UsageError(
                f"nothing in {self._sandbox} can sign in", code="sandbox.no-provider", hint="start it with one: immure run --provider codex"
            )
        if browser:
            self._close_browser()
            self._browser = BrowserReturn(flows[-1].accept, self._connect)
            self._browser.open(good_for)
        self._consent.approve(good_for)

    def deny(self) -> None:
        """Refuse what waits, and what follows until the user approves."""
        self._consent.deny()
        self._close_browser()

    async def answer(self, attachment: Attachment, *, method: str, path: str, body: bytes) -> Answer | None:
        """Serve a request that belongs to a sign-in; None if it does not."""
        return await self._of(attachment.profile).answer(attachment.held, method=method, path=path, body=body)

    def close(self) -> None:
        self._close_browser()
        if self._input is not None:
            os.close(self._input)

    def _of(self, profile: Profile) -> Flows:
        if profile.name not in self._flows:
            self._flows[profile.name] = Flows(profile, self._desk, self._logins, self._consent, self._sandbox)
        return self._flows[profile.name]

    def _close_browser(self) -> None:
        if self._browser is not None:
            self._browser.close()

    async def _connect(self) -> socket.socket:
        """A connection to where Codex waits for a browser. Raises OSError."""
        sock = await self._inside()
        if sock is None:
            raise ConnectionRefusedError
        try:
            async with asyncio.timeout(_PATIENCE):
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", CALLBACK_PORT))
        except OSError:
            sock.close()
            raise
        return sock
