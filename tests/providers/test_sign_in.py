"""What is asked of the issuer of a new login, and what is made of redirects and answers, whoever they come from."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.errors import UsageError
from immure.model import Secret
from immure.providers import sign_in

STATE = "state-0000"
BACK = sign_in.REDIRECT

# a redirect, the code that it brings
REDIRECTS = [
    (f"{BACK}?code=c-1&state={STATE}", "c-1"),
    (f"/auth/callback?state={STATE}&code=c%2F1&scope=openid", "c/1"),
    (f"  {BACK}?code=c-1&state={STATE}\n", "c-1"),
    (f"{BACK}?code=c-1&state=state-0001", None),
    (f"{BACK}?code=c-1", None),
    (f"{BACK}?code=c-1&state=", None),
    (f"{BACK}?code=c-1&state={STATE}&state={STATE}", None),
    (f"{BACK}?code=c-1&code=c-2&state={STATE}", None),
    (f"{BACK}?state={STATE}", None),
    (f"/favicon.ico?code=c-1&state={STATE}", None),
    (f"{BACK}?error=access_denied&state=wrong", None),
    (f"http://[broken?code=c-1&state={STATE}", None),
    ("", None),
]

# status, answer of the poll, what it means ("!" raises)
POLLS = [
    (403, {}, None),
    (404, {}, None),
    (200, {"authorization_code": "c-1", "code_verifier": "v-1"}, ("c-1", "v-1")),
    (200, {"authorization_code": "c-1"}, "!"),
    (200, {"authorization_code": "", "code_verifier": "v-1"}, "!"),
    (200, [], "!"),
    (410, {"error": {"code": "expired_token"}}, "!"),
    (500, {}, "!"),
]

WHOAMI = {"email": "ann@example.com", "chatgpt_user_id": "user-0000", "chatgpt_account_id": "acct-0000", "chatgpt_plan_type": "pro"}
TOKENS = {"id_token": "e30.e30.c2ln", "access_token": "fake-at-0000", "refresh_token": "fake-rt-0000"}


def test_a_challenge_is_that_of_the_rfc() -> None:
    """RFC 7636 appendix B."""
    assert sign_in.challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_browser_is_sent_to_the_issuer_with_a_challenge_and_never_the_verifier() -> None:
    url = sign_in.authorize_url("verifier-0000", STATE)
    assert "verifier-0000" not in url
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "auth.openai.com", "/oauth/authorize")
    query = {name: value for name, [value] in parse_qs(parts.query).items()}
    assert query["code_challenge"] == sign_in.challenge("verifier-0000")
    assert (query["redirect_uri"], query["state"], query["code_challenge_method"]) == (BACK, STATE, "S256")


@pytest.mark.parametrize(("redirect", "code"), REDIRECTS)
def test_only_an_answer_to_our_question_brings_a_code(redirect, code) -> None:
    assert sign_in.code_in(redirect, STATE) == code


def test_a_refusal_with_our_state_is_told_by_its_word_alone() -> None:
    with pytest.raises(UsageError, match="'access_denied'"):
        sign_in.code_in(f"{BACK}?error=access_denied&error_description=Call+%2B1555&state={STATE}", STATE)
    with pytest.raises(UsageError, match="'no reason'"):
        sign_in.code_in(f"{BACK}?error=%1b%5B2J&state={STATE}", STATE)


@given(st.text())
def test_no_text_is_more_than_refused(text) -> None:
    assert sign_in.code_in(text, STATE) is None


def test_a_code_is_exchanged_by_a_form() -> None:
    form = parse_qs(sign_in.exchange_request("c/1", BACK, "v-1").decode())
    assert form == {
        "grant_type": ["authorization_code"],
        "client_id": ["app_EMoamEEZ73f0CkXaXp7hrann"],
        "code": ["c/1"],
        "redirect_uri": [BACK],
        "code_verifier": ["v-1"],
    }


def test_a_new_login_has_all_three_tokens() -> None:
    assert sign_in.tokens_in(200, json.dumps(TOKENS).encode()) == {name: Secret(text) for name, text in TOKENS.items()}


@pytest.mark.parametrize(
    ("status", "answer"),
    [*((200, TOKENS | {name: None}) for name in TOKENS), (400, {"error": "invalid_grant"}), (401, {}), (500, {}), (200, "fake-at-0000")],
)
def test_anything_less_is_no_login(status, answer) -> None:
    with pytest.raises(UsageError) as caught:
        sign_in.tokens_in(status, json.dumps(answer).encode())
    assert caught.value.code == "login.refused"
    assert "fake" not in caught.value.render()


def test_an_api_key_is_asked_for_as_codex_does() -> None:
    form = parse_qs(sign_in.key_request(Secret("e30.e30.c2ln")).decode())
    assert {name: value for name, [value] in form.items()} == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "client_id": sign_in.CLIENT_ID,
        "requested_token": "openai-api-key",
        "subject_token": "e30.e30.c2ln",
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
    }


@pytest.mark.parametrize(
    ("status", "answer", "key"),
    [
        (200, {"access_token": "fake-key-0000"}, Secret("fake-key-0000")),
        (401, {"access_token": "fake-key-0000"}, None),
        (200, {"access_token": "short"}, None),
        (200, {"access_token": "x" * 20_000}, None),
        (200, {"access_token": "fake-key-\n0000"}, None),
        (200, {"access_token": 7}, None),
        (200, {}, None),
        (200, [], None),
    ],
)
def test_an_api_key_is_one_or_none(status, answer, key) -> None:
    assert sign_in.key_in(status, json.dumps(answer).encode()) == key


@pytest.mark.parametrize(("given_interval", "interval"), [("1", 1), (5, 5), ("x", 5), (None, 5), (0, 1), (-3, 1), (1e9, 60), ("nan", 1)])
def test_a_device_is_told_a_code_and_how_often_to_ask(given_interval, interval) -> None:
    answer = {"device_auth_id": "fake-device", "user_code": "ABCD-12345", "interval": given_interval}
    device = sign_in.device_code_in(200, json.dumps(answer).encode())
    assert (device.user_code, device.interval) == ("ABCD-12345", interval)
    assert "fake-device" not in repr(device)
    assert json.loads(sign_in.poll_request(device)) == {"device_auth_id": "fake-device", "user_code": "ABCD-12345"}


@pytest.mark.parametrize("user_code", [None, 7, "", "abcd", "A\x1b[2J", "A" * 30])
def test_a_code_that_could_trick_a_terminal_is_not_shown(user_code) -> None:
    with pytest.raises(UsageError):
        sign_in.device_code_in(200, json.dumps({"device_auth_id": "fake-device", "user_code": user_code}).encode())


@pytest.mark.parametrize(("status", "answer", "meaning"), POLLS)
def test_a_poll_waits_or_ends(status, answer, meaning) -> None:
    body = json.dumps(answer).encode()
    if meaning == "!":
        with pytest.raises(UsageError):
            sign_in.device_grant_in(status, body)
    else:
        assert sign_in.device_grant_in(status, body) == meaning


def test_the_owner_of_a_token_is_told_inside_with_a_placeholder_for_the_account() -> None:
    owner = sign_in.owner_in(200, json.dumps(WHOAMI).encode())
    assert owner.account_id == Secret("acct-0000")
    assert "acct-0000" not in json.dumps(owner.claims)
    told = json.loads(sign_in.owner_answer(owner.claims, "immure-acct-x"))
    assert told == WHOAMI | {"chatgpt_account_id": "immure-acct-x", "chatgpt_account_is_fedramp": False}


@pytest.mark.parametrize(
    ("status", "change"),
    [
        (401, {}),
        (500, {}),
        (200, {"chatgpt_account_id": "short"}),
        (200, {"chatgpt_account_id": "acc\u00f6unt-0"}),
        (200, {"chatgpt_user_id": 7}),
    ],
)
def test_an_owner_who_is_not_named_is_none(status, change) -> None:
    with pytest.raises(UsageError):
        sign_in.owner_in(status, json.dumps(WHOAMI | change).encode())
