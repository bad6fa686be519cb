"""Codex inside signs in: what it is told at each step, what the issuer gets to see, and what nobody inside can do with it."""

import asyncio
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from immure.broker import login_name
from immure.broker.consent import Consent
from immure.broker.desk import Desk
from immure.broker.issuer import Issuer
from immure.broker.login import Logins
from immure.broker.sign_in_inside import Flows
from immure.broker.token_endpoint import Answer, Held
from immure.config.settings import SignInInside, Upstream
from immure.providers import load_profile, sign_in
from immure.providers.oauth import CLIENT_ID, TOKEN_PATH, claims
from immure.rewrite import is_placeholder
from immure.testing.openai.service import FakeOpenAI
from immure.vault import Vault

NOBODY = Held(login=None, placeholders={})
ACCOUNT = "https://api.openai.com/auth", "chatgpt_account_id"


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


class Inside:
    """Codex in a sandbox, as its requests arrive at the broker."""

    def __init__(self, fake: FakeOpenAI, vault: Vault, standing: SignInInside = "always") -> None:
        self.fake = fake
        self.now = 1000.0
        self.said: list[str] = []
        self.trail: list[bytes] = []
        self.held = NOBODY
        upstreams = (Upstream(host="auth.openai.com", address=fake.host, port=fake.port, ca_pem=fake.authority.pem),)
        self.logins = Logins(vault, upstreams, self.trail.append)
        self.consent = Consent(standing, "sb-1", self.said.append, lambda: self.now)
        desk = Desk(Issuer(upstreams), self.said.append)
        self.flows = Flows(load_profile("codex"), desk, lambda: self.logins, self.consent, "sb-1", lambda: self.now)
        self.seen = len(fake.record.all())

    def ask(self, path: str, fields: Mapping[str, Any], *, form: bool = False) -> tuple[int, dict[str, Any]]:
        body = urlencode(fields).encode() if form else json.dumps(fields).encode()
        told = asyncio.run(self.flows.answer(self.held, method="POST", path=path, body=body))
        assert isinstance(told, Answer)
        for secret in self.fake.account.secrets().values():
            assert secret.encode() not in told.body
        assert b"fake-code" not in told.body
        assert b"fake-device" not in told.body
        self.held = told.held
        return told.status, json.loads(told.body)

    def user_code(self) -> dict[str, Any]:
        status, device = self.ask(sign_in.USER_CODE_PATH, {"client_id": CLIENT_ID})
        assert status == 200
        assert is_placeholder(device["device_auth_id"])
        return device

    def poll(self, device: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        self.now += 5
        return self.ask(sign_in.DEVICE_POLL_PATH, {name: device[name] for name in ("device_auth_id", "user_code")})

    def exchange(
        self, code: str, verifier: str, redirect: str = sign_in.DEVICE_REDIRECT, client: str = CLIENT_ID
    ) -> tuple[int, dict[str, Any]]:
        grant = {"grant_type": "authorization_code", "client_id": client, "redirect_uri": redirect}
        return self.ask(TOKEN_PATH, {**grant, "code": code, "code_verifier": verifier}, form=True)

    def key(self, subject: str) -> tuple[int, dict[str, Any]]:
        grant = {"grant_type": sign_in.KEY_GRANT, "client_id": CLIENT_ID, "requested_token": "openai-api-key", "subject_token": subject}
        return self.ask(TOKEN_PATH, grant, form=True)

    def browsed(self, verifier: str) -> str:
        """The placeholder for the code that a browser brings back from the issuer."""
        query = parse_qs(urlsplit(sign_in.authorize_url(verifier, "state")).query)
        location = self.fake.desk.authorize({name: value for name, [value] in query.items()})
        assert location is not None
        return self.flows.accept(parse_qs(urlsplit(location).query)["code"][0])

    def granted(self) -> dict[str, Any]:
        device = self.user_code()
        self.fake.desk.approve(device["user_code"])
        status, grant = self.poll(device)
        assert status == 200
        return grant

    @property
    def asked_of_issuer(self) -> list[str]:
        return [one.path for one in self.fake.record.all()[self.seen :]]

    @property
    def activities(self) -> list[str]:
        return [json.loads(line)["activity_name"] for line in self.trail]

    @property
    def vaulted(self) -> dict[str, str]:
        held = self.logins.held().get(login_name.OWN["chatgpt"])
        return {} if held is None else {name: secret.reveal() for name, secret in held.secrets.items()}


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(str(tmp_path / "vault"), bytes(range(32)))


@pytest.fixture
def codex(fake: FakeOpenAI, vault: Vault) -> Inside:
    fake.desk.gives_keys = True
    return Inside(fake, vault)


def real(fake: FakeOpenAI) -> dict[str, str]:
    account = fake.account
    tokens = {"access_token": account.access_token, "refresh_token": account.refresh_token, "id_token": account.id_token}
    return tokens | {"account_id": account.account_id}


def test_by_device_code(fake: FakeOpenAI, codex: Inside) -> None:
    device = codex.user_code()
    assert codex.poll(device)[0] == 403
    fake.desk.approve(device["user_code"])
    status, grant = codex.poll(device)
    assert (status, is_placeholder(grant["authorization_code"])) == (200, True)
    assert grant["code_challenge"] == sign_in.challenge(grant["code_verifier"])
    status, tokens = codex.exchange(grant["authorization_code"], grant["code_verifier"])
    assert (status, sorted(tokens)) == (200, ["access_token", "id_token", "refresh_token"])
    assert codex.vaulted == real(fake)
    assert codex.held.login is not None
    assert codex.held.placeholders == {
        "access_token": tokens["access_token"],
        "refresh_token": tokens["refresh_token"],
        "account_id": claims(tokens["id_token"])[ACCOUNT[0]][ACCOUNT[1]],
    }
    assert all(map(is_placeholder, codex.held.placeholders.values()))
    assert codex.activities == ["signed-in"]
    assert json.loads(codex.trail[0])["metadata"]["correlation_uid"] == "sb-1"
    assert codex.said == []


def test_by_browser_with_an_api_key(fake: FakeOpenAI, codex: Inside) -> None:
    verifier = secrets.token_urlsafe(64)
    code = codex.browsed(verifier)
    status, tokens = codex.exchange(code, verifier, sign_in.REDIRECT)
    assert (status, codex.vaulted) == (200, real(fake))
    status, key = codex.key(tokens["id_token"])
    assert (status, key["access_token"][:10], is_placeholder(key["access_token"])) == (200, "sk-immure-", True)
    assert codex.vaulted == real(fake) | {"api_key": fake.account.api_key}
    assert codex.held.login is not None
    assert codex.held.login.secrets["api_key"].reveal() == fake.account.api_key
    assert codex.activities == ["signed-in", "signed-in"]


def test_an_account_without_an_api_key_is_signed_in_all_the_same(fake: FakeOpenAI, codex: Inside) -> None:
    fake.desk.gives_keys = False
    verifier = secrets.token_urlsafe(64)
    _, tokens = codex.exchange(codex.browsed(verifier), verifier, sign_in.REDIRECT)
    assert codex.key(tokens["id_token"])[0] == 401
    assert codex.vaulted == real(fake)


def test_a_key_is_given_once_and_only_after_a_browser(fake: FakeOpenAI, codex: Inside) -> None:
    grant = codex.granted()
    _, tokens = codex.exchange(grant["authorization_code"], grant["code_verifier"])
    assert codex.key(tokens["id_token"])[0] == 401
    verifier = secrets.token_urlsafe(64)
    _, tokens = codex.exchange(codex.browsed(verifier), verifier, sign_in.REDIRECT)
    assert codex.key(tokens["id_token"])[0] == 200
    assert codex.key(tokens["id_token"])[0] == 401
    assert codex.asked_of_issuer.count(TOKEN_PATH) == 3


@pytest.mark.parametrize("subject", ["e30.e30.x", ""])
def test_a_key_is_for_this_sandboxs_own_id_token(codex: Inside, subject: str) -> None:
    verifier = secrets.token_urlsafe(64)
    codex.exchange(codex.browsed(verifier), verifier, sign_in.REDIRECT)
    assert codex.key(subject)[0] == 401
    assert "api_key" not in codex.vaulted


# what is wrong with an exchange: code, verifier, redirect, client
WRONG = [
    {"code": "immure-code-aaaaaaaaaaaaaaaaaaaaaaaaaa"},
    {"verifier": "v" * 43},
    {"redirect": sign_in.REDIRECT},
    {"redirect": "https://attacker.example.com/"},
    {"client": "app_evil"},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_what_does_not_belong_together_is_not_exchanged(codex: Inside, change: dict[str, str]) -> None:
    grant = codex.granted()
    asked = {"code": grant["authorization_code"], "verifier": grant["code_verifier"]} | change
    assert codex.exchange(**asked)[0] == 400
    assert TOKEN_PATH not in codex.asked_of_issuer
    assert codex.held == NOBODY
    assert codex.activities == ["sign-in-refused"]


def test_a_code_is_good_once_and_in_its_own_sandbox(fake: FakeOpenAI, codex: Inside, vault: Vault) -> None:
    grant = codex.granted()
    other = Inside(fake, vault)
    assert other.exchange(grant["authorization_code"], grant["code_verifier"])[0] == 400
    assert codex.exchange(grant["authorization_code"], grant["code_verifier"])[0] == 200
    assert codex.exchange(grant["authorization_code"], grant["code_verifier"])[0] == 400
    assert codex.asked_of_issuer.count(TOKEN_PATH) == 1


def test_what_is_shown_inside_is_useless_at_the_issuer(fake: FakeOpenAI, codex: Inside) -> None:
    grant = codex.granted()
    form = {"client_id": CLIENT_ID, "code": grant["authorization_code"], "code_verifier": grant["code_verifier"]}
    assert fake.desk.exchange(form | {"redirect_uri": sign_in.DEVICE_REDIRECT}) is None


def test_with_another_verifier_the_issuer_refuses_the_code_of_a_browser(codex: Inside) -> None:
    code = codex.browsed(secrets.token_urlsafe(64))
    status, told = codex.exchange(code, "v" * 43, sign_in.REDIRECT)
    assert (status, told["error"]["code"]) == (400, "invalid_grant")
    assert (codex.vaulted, codex.held) == ({}, NOBODY)


def test_until_the_user_approves_the_issuer_is_not_polled(fake: FakeOpenAI, vault: Vault) -> None:
    codex = Inside(fake, vault, "ask")
    device = codex.user_code()
    fake.desk.approve(device["user_code"])
    assert [codex.poll(device)[0] for _ in range(20)] == [403] * 20
    assert codex.asked_of_issuer == [sign_in.USER_CODE_PATH]
    assert len(codex.said) == 1
    codex.consent.approve()
    status, grant = codex.poll(device)
    assert status == 200
    assert codex.exchange(grant["authorization_code"], grant["code_verifier"])[0] == 200
    assert codex.activities == ["sign-in-asked", "signed-in"]
    # one approval is one sign-in
    device = codex.user_code()
    fake.desk.approve(device["user_code"])
    assert codex.poll(device)[0] == 403


def test_a_code_is_not_exchanged_once_the_consent_is_gone(fake: FakeOpenAI, vault: Vault) -> None:
    codex = Inside(fake, vault, "ask")
    codex.consent.approve()
    grant = codex.granted()
    codex.consent.deny()
    assert codex.exchange(grant["authorization_code"], grant["code_verifier"])[0] == 400
    assert codex.vaulted == {}


def test_a_denial_ends_the_wait(fake: FakeOpenAI, vault: Vault) -> None:
    codex = Inside(fake, vault, "ask")
    device = codex.user_code()
    codex.consent.deny()
    status, told = codex.poll(device)
    assert (status, told["error"]["code"]) == (400, "access_denied")
    assert codex.ask(sign_in.USER_CODE_PATH, {"client_id": CLIENT_ID})[0] == 403
    assert codex.activities == ["sign-in-asked", "sign-in-refused", "sign-in-refused"]


def test_never_is_never(fake: FakeOpenAI, vault: Vault) -> None:
    codex = Inside(fake, vault, "never")
    assert codex.ask(sign_in.USER_CODE_PATH, {"client_id": CLIENT_ID})[0] == 403
    assert codex.asked_of_issuer == []


def test_the_issuer_is_not_asked_more_often_than_it_wants(codex: Inside) -> None:
    device = codex.user_code()
    codex.poll(device)
    for _ in range(10):
        codex.now -= 5
        assert codex.poll(device)[0] == 403
    assert codex.asked_of_issuer.count(sign_in.DEVICE_POLL_PATH) == 1


def test_device_codes_are_few_and_do_not_last(codex: Inside) -> None:
    devices = [codex.user_code() for _ in range(8)]
    assert codex.ask(sign_in.USER_CODE_PATH, {"client_id": CLIENT_ID})[0] == 429
    codex.now += sign_in.DEVICE_LIFE
    assert codex.poll(devices[0])[0] == 400
    codex.user_code()


def test_codes_of_browsers_are_few_and_the_last_are_kept(codex: Inside) -> None:
    verifier = secrets.token_urlsafe(64)
    first = codex.browsed(verifier)
    codes = [codex.browsed(verifier) for _ in range(8)]
    assert codex.exchange(first, verifier, sign_in.REDIRECT)[0] == 400
    assert codex.exchange(codes[0], verifier, sign_in.REDIRECT)[0] == 200


@pytest.mark.parametrize("fields", [{}, {"client_id": "app_evil"}, []])
def test_a_user_code_is_for_codex(codex: Inside, fields: Any) -> None:
    assert codex.ask(sign_in.USER_CODE_PATH, fields)[0] == 400
    assert codex.asked_of_issuer == []


@pytest.mark.parametrize(
    ("device", "user_code"), [("immure-device-aaaaaaaaaaaaaaaaaaaaaaaaaa", "own"), ("own", "FAKE-0000"), (None, "own"), ("own", None)]
)
def test_polling_is_with_what_was_given(codex: Inside, device: str | None, user_code: str | None) -> None:
    own = codex.user_code()
    asked = {
        "device_auth_id": own["device_auth_id"] if device == "own" else device,
        "user_code": own["user_code"] if user_code == "own" else user_code,
    }
    assert codex.poll(asked)[0] == 400
    assert sign_in.DEVICE_POLL_PATH not in codex.asked_of_issuer


def test_an_issuer_that_is_away_is_told_so_that_codex_can_try_again(codex: Inside, vault: Vault) -> None:
    with FakeOpenAI() as gone:
        pass
    assert Inside(gone, vault).ask(sign_in.USER_CODE_PATH, {"client_id": CLIENT_ID})[0] == 503


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", sign_in.USER_CODE_PATH, b"{}"),
        ("POST", TOKEN_PATH, b'{"grant_type":"refresh_token"}'),
        ("POST", TOKEN_PATH, b"\xff"),
        ("POST", TOKEN_PATH, b'{"grant_type":["authorization_code"]}'),
        ("POST", "/oauth/revoke", b"{}"),
        ("GET", sign_in.WHOAMI_PATH, b""),
    ],
)
def test_what_belongs_to_no_sign_in_is_left_to_others(codex: Inside, method: str, path: str, body: bytes) -> None:
    assert asyncio.run(codex.flows.answer(NOBODY, method=method, path=path, body=body)) is None
