"""What Codex inside asks when it signs in, and what it is told: only what Codex asks is understood, and nothing real is in the answers."""

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.providers import sign_in
from immure.providers import sign_in_inside as inside
from immure.providers.oauth import CLIENT_ID

VERIFIER = "v" * 43
EXCHANGE = {
    "grant_type": "authorization_code",
    "client_id": CLIENT_ID,
    "code": "immure-code-x",
    "redirect_uri": sign_in.REDIRECT,
    "code_verifier": VERIFIER,
}
KEY = {"grant_type": sign_in.KEY_GRANT, "client_id": CLIENT_ID, "requested_token": "openai-api-key", "subject_token": "e30.e30.x"}

# changes that make an exchange none
NO_EXCHANGE = [
    {"grant_type": "refresh_token"},
    {"grant_type": None},
    {"client_id": "app_evil"},
    {"client_id": None},
    {"redirect_uri": "http://127.0.0.1:1456/auth/callback"},
    {"redirect_uri": "https://attacker.example.com/"},
    {"redirect_uri": [sign_in.REDIRECT]},
    {"code": None},
    {"code": 7},
    {"code_verifier": None},
    {"code_verifier": "v" * 42},
    {"code_verifier": "v" * 129},
    {"code_verifier": "v" * 43 + "\n"},
    {"code_verifier": "v" * 43 + "&x=y"},
]
NO_KEY = [{"grant_type": "x"}, {"client_id": "app_evil"}, {"requested_token": "other"}, {"subject_token": None}, {"subject_token": 7}]


@pytest.mark.parametrize("redirect", [sign_in.REDIRECT, sign_in.DEVICE_REDIRECT])
def test_an_exchange_in_a_form_or_in_json(redirect: str) -> None:
    fields = EXCHANGE | {"redirect_uri": redirect}
    for body in (urlencode(fields).encode(), json.dumps(fields).encode()):
        asked = inside.exchange_in(inside.fields_in(body))
        assert asked == inside.Exchange(code="immure-code-x", redirect=redirect, verifier=VERIFIER)
        assert VERIFIER not in repr(asked)


@pytest.mark.parametrize("change", NO_EXCHANGE, ids=str)
def test_what_codex_would_not_ask_is_no_exchange(change: dict[str, object]) -> None:
    assert inside.exchange_in(EXCHANGE | change) is None


def test_an_api_key_is_asked_for_with_an_id_token() -> None:
    assert inside.subject_in(inside.fields_in(urlencode(KEY).encode())) == "e30.e30.x"


@pytest.mark.parametrize("change", NO_KEY, ids=str)
def test_what_codex_would_not_ask_gets_no_key(change: dict[str, object]) -> None:
    assert inside.subject_in(KEY | change) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_none(body: bytes) -> None:
    fields = inside.fields_in(body)
    assert inside.exchange_in(fields) is None
    assert inside.subject_in(fields) is None
    assert not inside.asks_for_user_code(fields)


def test_a_device_is_told_its_code_and_a_placeholder() -> None:
    real = sign_in.DeviceCode(user_code="ABCD-12345", device_auth_id="fake-device", interval=5.0)
    told = inside.device_answer(real, "immure-device-x")
    assert json.loads(told) == {"device_auth_id": "immure-device-x", "user_code": "ABCD-12345", "interval": "5"}
    assert sign_in.device_code_in(200, told).interval == 5.0


def test_a_made_up_verifier_comes_with_its_challenge() -> None:
    told = json.loads(inside.grant_answer("immure-code-x", VERIFIER))
    assert told == {
        "authorization_code": "immure-code-x",
        "code_challenge": sign_in.challenge(VERIFIER),
        "code_verifier": VERIFIER,
    }


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (410, b'{"error":{"code":"expired_token"}}', (410, "expired_token")),
        (429, b'{"error":"slow_down"}', (429, "slow_down")),
        (400, b'{"error":{"code":"fake-at-0000"}}', (400, "no reason")),
        (503, b"fake-at-0000", (503, "no reason")),
        (302, b"", (502, "server_error")),
        (200, b"", (502, "server_error")),
    ],
)
def test_a_refusal_is_handed_on_without_its_text(status: int, body: bytes, told: tuple[int, str]) -> None:
    assert inside.failure(status, body) == told
