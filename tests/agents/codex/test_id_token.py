"""The id_token for inside: what it keeps, what it must not, and that Codex can read it."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.agents.codex.id_token import synthetic_id_token
from immure.providers.oauth import claims

REAL = {
    "iss": "https://auth.openai.com",
    "sub": "auth0|0000",
    "aud": ["app_EMoamEEZ73f0CkXaXp7hrann"],
    "exp": 1800000000,
    "at_hash": "fake-hash",
    "email": "ann@example.com",
    "email_verified": True,
    "name": "Ann",
    "https://api.openai.com/profile": {"email": "ann@example.com", "phone": "000"},
    "https://api.openai.com/auth": {
        "chatgpt_plan_type": "enterprise",
        "chatgpt_user_id": "user-0000",
        "user_id": "user-0000__acct-0000",
        "chatgpt_account_id": "acct-0000",
        "chatgpt_account_is_fedramp": False,
        "organizations": [{"id": "org-0000", "title": "fake"}],
    },
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.just("see acct-0000 here"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["email", "name", "sub", "https://api.openai.com/auth", "chatgpt_account_id", "user_id", "chatgpt_plan_type"])


def test_it_keeps_what_codex_reads_and_hides_the_account() -> None:
    token = synthetic_id_token(REAL, "acct-0000", "immure-acct-x")
    assert claims(token) == {
        "email": "ann@example.com",
        "email_verified": True,
        "name": "Ann",
        "https://api.openai.com/profile": {"email": "ann@example.com"},
        "https://api.openai.com/auth": {
            "chatgpt_plan_type": "enterprise",
            "chatgpt_user_id": "user-0000",
            "user_id": "user-0000__immure-acct-x",
            "chatgpt_account_id": "immure-acct-x",
            "chatgpt_account_is_fedramp": False,
        },
    }


def test_it_is_not_signed_and_says_so() -> None:
    header, _, signature = synthetic_id_token(REAL, None, None).split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "none", "typ": "JWT"}
    assert b"not signed" in base64.urlsafe_b64decode(signature + "==")


@pytest.mark.parametrize("account", ["acct-0000", "acct-9999", None])
def test_an_account_that_the_token_alone_names_is_hidden_too(account) -> None:
    assert "acct-0000" not in json.dumps(claims(synthetic_id_token(REAL, account, "immure-acct-x")))


@given(st.dictionaries(names, json_values | st.dictionaries(names, json_values, max_size=5), max_size=5))
def test_whatever_the_real_one_says_it_parses_and_holds_no_account(real) -> None:
    token = synthetic_id_token(real, "acct-0000", "immure-acct-x")
    assert all(token.split("."))
    assert "=" not in token
    assert "acct-0000" not in json.dumps(claims(token))
    assert set(claims(token)) <= {"email", "name", "https://api.openai.com/auth"}
