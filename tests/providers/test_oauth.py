"""When a login is renewed, and what each answer of a token endpoint means."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.model import Secret
from immure.providers.oauth import EARLY, OPAQUE_AGE, Permanent, Rotated, Transient, claims, expiry, interpret, is_due, refresh_request

NOW = 1_800_000_000
DAY = 24 * 3600


def jwt(payload: object, header: str = "e30", signature: str = "c2ln") -> str:
    return f"{header}.{base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip('=')}.{signature}"


def openai_error(code: object) -> bytes:
    return json.dumps({"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": code}}).encode()


# status, body, outcome
ANSWERS = [
    (200, b"{}", Rotated(access_token=None, refresh_token=None, id_token=None)),
    (200, b'{"access_token":"fake-at","expires_in":3600}', Rotated(access_token=Secret("fake-at"), refresh_token=None, id_token=None)),
    (
        201,
        b'{"access_token":"fake-at","refresh_token":"fake-rt","id_token":"fake-id"}',
        Rotated(access_token=Secret("fake-at"), refresh_token=Secret("fake-rt"), id_token=Secret("fake-id")),
    ),
    (401, openai_error("refresh_token_expired"), Permanent(cause="expired")),
    (401, openai_error("refresh_token_reused"), Permanent(cause="reused")),
    (401, openai_error("REFRESH_TOKEN_INVALIDATED"), Permanent(cause="invalidated")),
    (400, openai_error("refresh_token_expired"), Permanent(cause="expired")),
    (403, b'{"error":"refresh_token_reused"}', Permanent(cause="reused")),
    (400, b'{"code":"refresh_token_invalidated"}', Permanent(cause="invalidated")),
    (400, b'{"error":"invalid_grant"}', Permanent(cause="invalid_grant")),
    (400, openai_error("invalid_grant"), Permanent(cause="invalid_grant")),
    (401, b"", Permanent(cause="refused")),
    (401, b"<html>", Permanent(cause="refused")),
    (401, openai_error(None), Permanent(cause="refused")),
    (401, openai_error(["refresh_token_expired"]), Permanent(cause="refused")),
    (403, b'{"error":"invalid_grant"}', Transient(reason="the token endpoint answered with status 403")),
    (400, b'{"error":"invalid_request"}', Transient(reason="the token endpoint answered with status 400")),
    (302, b"", Transient(reason="the token endpoint answered with status 302")),
    (429, b"", Transient(reason="the token endpoint answered with status 429")),
    (503, b"<html>", Transient(reason="the token endpoint answered with status 503")),
]

# Bodies of a success that may have used up the refresh token without giving the next.
UNCERTAIN = [
    b"",
    b"<html>",
    b"[]",
    b'{"access_token":',
    b'{"access_token":7}',
    b'{"access_token":""}',
    b'{"refresh_token":"fake\\nrt"}',
    b'{"id_token":"caf\\u00e9"}',
    b'{"access_token":"' + b"a" * 20_000 + b'"}',
    b"[" * 100_000,
]

# exp of a JWT (None: opaque), last refresh, due?
DUE = [
    (NOW + EARLY + 30, NOW - 30 * DAY, False),
    (NOW + EARLY - 12, NOW, True),
    (NOW - 1, NOW, True),
    (None, NOW - OPAQUE_AGE + 60, False),
    (None, NOW - OPAQUE_AGE - 60, True),
    (None, None, True),
    (None, NOW + 70 * 365 * DAY, False),
]

NO_JWT = [
    "",
    "opaque",
    "a.b",
    "..",
    "e30..c2ln",
    ".e30.c2ln",
    "e30.e30.",
    "e30.e30=.c2ln",
    "e30.W10.c2ln",
    "e30.!!!.c2ln",
    "e30.e3.x",
    "é.é.é",
]


@pytest.mark.parametrize(("status", "body", "outcome"), ANSWERS)
def test_an_answer_means(status, body, outcome) -> None:
    assert interpret(status, body) == outcome


@pytest.mark.parametrize("body", UNCERTAIN, ids=lambda body: body[:20].decode())
def test_a_success_that_cannot_be_used_leaves_the_token_in_doubt(body) -> None:
    outcome = interpret(200, body)
    assert isinstance(outcome, Transient)
    assert outcome.uncertain


@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=60) | st.recursive(st.none() | st.text(max_size=9), st.lists).map(repr).map(str.encode),
)
def test_any_answer_has_a_meaning_and_none_of_its_text_is_repeated(status, body) -> None:
    outcome = interpret(status, body)
    if isinstance(outcome, Transient):
        assert outcome.reason in (
            f"the token endpoint answered with status {status}",
            "the token endpoint's answer is not a JSON object",
        )


@given(st.dictionaries(st.text(max_size=9), st.integers() | st.text(max_size=9), max_size=4))
def test_claims_come_back_whatever_the_signature(payload) -> None:
    assert claims(jwt(payload)) == payload
    assert claims(jwt(payload, header="none", signature="immure:not:signed")) == payload


@pytest.mark.parametrize("token", NO_JWT)
def test_what_codex_would_not_read_is_not_read(token) -> None:
    with pytest.raises(ValueError, match=r"segments|payload"):
        claims(token)


@pytest.mark.parametrize(("expires", "last_refresh", "due"), DUE)
def test_a_renewal_is_due(expires, last_refresh, due) -> None:
    token = Secret("fake-opaque" if expires is None else jwt({"exp": expires}))
    assert is_due(token, last_refresh, NOW) is due


@pytest.mark.parametrize("claim", [{}, {"exp": "1800000000"}, {"exp": True}, {"exp": 1.5}, {"exp": None}])
def test_an_expiry_that_is_no_number_of_seconds_is_none(claim) -> None:
    assert expiry(Secret(jwt(claim))) is None


def test_the_request_is_the_one_codex_sends() -> None:
    assert refresh_request(Secret("fake-rt"), "app_x", "scheduled") == (
        b'{"client_id":"app_x","grant_type":"refresh_token","refresh_reason":"scheduled","refresh_token":"fake-rt"}'
    )


def test_no_outcome_shows_a_token() -> None:
    assert "fake-at" not in repr(interpret(200, b'{"access_token":"fake-at"}'))
