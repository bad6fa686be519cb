"""The sign-ins of one sandbox: Codex inside goes through them as ever, and what they bring goes into the vault.

Codex asks for device codes, polls, and exchanges authorization codes at virtual endpoints. Behind them the broker signs in itself, at
the real issuer, and each thing that Codex is given on the way is a placeholder that only this module can turn into the real one:

    device_auth_id, code    ours; the real ones are kept here, and good for one use
    verifier                with a device, one that we made up. With a browser it is the one made inside: the issuer, which was shown its
                            challenge, has it checked; to anyone without the real code it is of no use
    tokens, API key         in the vault, as the user's own login; the sandbox gets placeholders for them, which its gate knows

Rules: the issuer is polled, and a code exchanged, only with the user's consent. An API key is asked for once, right after a sign-in with
a browser, as Codex does: nothing inside has keys made at will. A login that came is in the vault before anybody hears of it, even if the
sandbox ends meanwhile. One step at a time: however many requests come, a sandbox keeps no more than one thread waiting for the issuer.

*Trust:* the agent wrote every request; redirects come from any page in the user's browser. *Fails:* with statuses that Codex knows.
Belongs to the event loop; waiting for the issuer is done in threads.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from immure.broker.consent import Consent
from immure.broker.desk import Desk
from immure.broker.login import Logins
from immure.broker.token_endpoint import Answer, Held, refusal
from immure.errors import HostError, UsageError
from immure.model import Secret
from immure.providers import Login, Profile, oauth, sign_in
from immure.providers import sign_in_inside as inside
from immure.rewrite import Shape, mint

_MOST: Final = 8
"""Device codes, or codes of a browser, that one sandbox may have open at a time."""
_ENTROPY: Final = 48
"""Bytes of a made-up verifier."""


@dataclass(slots=True, kw_only=True)
class _Device:
    """A device code that waits for a person; `due` is when the issuer may be asked again."""

    real: sign_in.DeviceCode = field(repr=False)
    until: float
    due: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Code:
    """A real code. Its `verifier` is None if it was made inside; `shown` is the one that Codex was given in its place."""

    real: str = field(repr=False)
    redirect: str
    verifier: str | None = field(repr=False)
    shown: str | None
    until: float


class Flows:
    """`desk` speaks to the issuer; `logins()` is the vault; `clock` gives seconds."""

    def __init__(
        self,
        profile: Profile,
        desk: Desk,
        logins: Callable[[], Logins],
        consent: Consent,
        sandbox: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._profile = profile
        self._desk = desk
        self._logins = logins
        self._consent = consent
        self._sandbox = sandbox
        self._clock = clock
        self._devices: dict[str, _Device] = {}
        self._codes: dict[str, _Code] = {}
        self._key_due: Secret | None = None
        self._turn = asyncio.Lock()

    def accept(self, code: str) -> str:
        """A code that a browser has brought; returns its placeholder. Of many the oldest is forgotten: any page can bring one."""
        while len(self._codes) >= _MOST:
            del self._codes[next(iter(self._codes))]
        until = self._clock() + sign_in.DEVICE_LIFE
        return self._kept(_Code(real=code, redirect=sign_in.REDIRECT, verifier=None, shown=None, until=until))

    async def answer(self, held: Held, *, method: str, path: str, body: bytes) -> Answer | None:
        """Serve a request that belongs to a sign-in; None if it does not."""
        request = inside.fields_in(body)
        match method, path.partition("?")[0], request.get("grant_type"):
            case "POST", sign_in.USER_CODE_PATH, _:
                step = self._user_code
            case "POST", sign_in.DEVICE_POLL_PATH, _:
                step = self._poll
            case "POST", oauth.TOKEN_PATH, inside.CODE_GRANT:
                step = self._exchange
            case "POST", oauth.TOKEN_PATH, sign_in.KEY_GRANT:
                step = self._key
            case _:
                return None
        try:
            async with self._turn:
                self._forget_old()
                return await step(held, request)
        except UsageError as error:
            return self._refused(held, 400, "invalid_grant", error.what)
        except HostError as error:
            return refusal(held, 503, "temporarily_unavailable", error.what)

    async def _user_code(self, held: Held, request: Mapping[str, Any]) -> Answer:
        if not inside.asks_for_user_code(request):
            return refusal(held, 400, "invalid_request", "this is not how Codex asks for a device code")
        if self._consent.ask():
            self._logins().report(held.name, "sign-in-asked", sandbox=self._sandbox)
        if self._consent.is_refused:
            return self._refused(held, 403, "access_denied", "signing in from inside this sandbox is refused on the host")
        if len(self._devices) >= _MOST:
            return refusal(held, 429, "slow_down", "too many device codes of this sandbox wait already")
        status, body = await asyncio.to_thread(self._desk.ask, sign_in.USER_CODE_PATH, sign_in.user_code_request())
        if status != 200:
            return refusal(held, *inside.failure(status, body), "auth.openai.com gave no device code")
        real = sign_in.device_code_in(status, body)
        placeholder = _minted("device_auth_id")
        self._devices[placeholder] = _Device(real=real, until=self._clock() + sign_in.DEVICE_LIFE)
        return Answer(status=200, body=inside.device_answer(real, placeholder), held=held)

    async def _poll(self, held: Held, request: Mapping[str, Any]) -> Answer:
        device = self._devices.get(str(request.get("device_auth_id")))
        if device is None or request.get("user_code") != device.real.user_code:
            return refusal(held, 400, "expired_token", "this device code is not of this sandbox, or no longer")
        if self._consent.is_refused:
            self._devices.clear()
            return self._refused(held, *inside.REFUSED, "signing in from inside this sandbox was refused on the host")
        now = self._clock()
        if not self._consent.is_given or now < device.due:
            return refusal(held, *inside.PENDING, "not yet")
        device.due = now + device.real.interval / 2
        status, body = await asyncio.to_thread(self._desk.ask, sign_in.DEVICE_POLL_PATH, sign_in.poll_request(device.real))
        if status in sign_in.PENDING:
            return refusal(held, *inside.PENDING, "not yet")
        self._devices = {name: other for name, other in self._devices.items() if other is not device}
        if status != 200:
            return refusal(held, *inside.failure(status, body), "auth.openai.com ended this sign-in")
        grant = sign_in.device_grant_in(status, body)
        assert grant is not None
        shown = secrets.token_urlsafe(_ENTROPY)
        until = self._clock() + sign_in.DEVICE_LIFE
        code = self._kept(_Code(real=grant[0], redirect=sign_in.DEVICE_REDIRECT, verifier=grant[1], shown=shown, until=until))
        return Answer(status=200, body=inside.grant_answer(code, shown), held=held)

    async def _exchange(self, held: Held, request: Mapping[str, Any]) -> Answer:
        asked = inside.exchange_in(request)
        code = self._codes.pop(asked.code, None) if asked is not None else None
        if asked is None or code is None or asked.redirect != code.redirect or code.shown not in (None, asked.verifier):
            return self._refused(held, 400, "invalid_grant", "this code is not of this sandbox, or no longer")
        if not self._consent.is_given:
            return self._refused(held, *inside.REFUSED, "signing in from inside this sandbox was not approved on the host")
        self._consent.use()
        login = await asyncio.to_thread(self._signed_in, code, code.verifier or asked.verifier)
        self._key_due = login.secrets["id_token"] if code.verifier is None else None
        fresh = Held(login=login, placeholders=self._profile.placeholders(login, secrets.token_bytes))
        return Answer(status=200, body=fresh.tokens(), held=fresh)

    def _signed_in(self, code: _Code, verifier: str) -> Login:
        lineage = self._desk.exchange(code.real, code.redirect, verifier)
        return lineage.login(self._logins().sign_in(lineage, sandbox=self._sandbox))

    async def _key(self, held: Held, request: Mapping[str, Any]) -> Answer:
        due, self._key_due = self._key_due, None
        login = held.login
        if login is None or due is None or login.secrets.get("id_token") != due or inside.subject_in(request) != held.id_token:
            return self._refused(held, 401, "invalid_request", "an API key is given once, after a sign-in with a browser")
        fresh = await asyncio.to_thread(self._with_key, login)
        if fresh is None:
            return refusal(held, 401, "access_denied", "auth.openai.com gives this account no API key")
        return Answer(status=200, body=inside.key_answer(_minted("api_key")), held=Held(login=fresh, placeholders=held.placeholders))

    def _with_key(self, login: Login) -> Login | None:
        key = sign_in.key_in(*self._desk.ask(oauth.TOKEN_PATH, sign_in.key_request(login.secrets["id_token"]), sign_in.FORM))
        return None if key is None else self._logins().keep_key(login, key, sandbox=self._sandbox)

    def _refused(self, held: Held, status: int, code: str, message: str) -> Answer:
        self._logins().report(held.name, "sign-in-refused", sandbox=self._sandbox, reason=message)
        return refusal(held, status, code, message)

    def _kept(self, code: _Code) -> str:
        placeholder = _minted("authorization_code")
        self._codes[placeholder] = code
        return placeholder

    def _forget_old(self) -> None:
        now = self._clock()
        self._devices = {name: device for name, device in self._devices.items() if device.until > now}
        self._codes = {name: code for name, code in self._codes.items() if code.until > now}


def _minted(shape: Shape) -> str:
    return mint(shape, secrets.token_bytes(16))
