"""The agent identity for inside: Codex's checks pass, and nothing of the real one is in it but what Codex shows."""

import json
import time

import pytest

from immure.agents.codex.agent_token import own_identity
from immure.agents.codex.login_file import login_file
from immure.providers.agent_identity import read, verify
from immure.providers.oauth import claims
from immure.rewrite import mint
from immure.rewrite.assertion import is_signed, sign
from immure.testing.leak import Needles
from immure.testing.openai.agent import Agent

RUNTIME, ACCOUNT = mint("agent", b"agent identity 1"), mint("account_id", b"account id 00001")
AUTH = "https://api.openai.com/auth"


@pytest.fixture(scope="module")
def agent() -> Agent:
    return Agent(account_id="acct-fake-0000", user_id="user-of-acct-fake-0000", email="ann@example.com", plan="enterprise")


def test_it_is_verified_by_its_own_key_set_and_says_what_the_real_one_says(agent: Agent) -> None:
    real = read(agent.token)
    own = own_identity(real, runtime_id=RUNTIME, account_id=ACCOUNT, now=time.time())
    verify(own.token, own.key_set)
    inside = read(own.token)
    assert (inside.agent_runtime_id.reveal(), inside.account_id.reveal(), inside.expires) == (RUNTIME, ACCOUNT, real.expires)
    assert inside.owner["email"] == "ann@example.com"
    assert inside.owner[AUTH]["chatgpt_plan_type"] == "enterprise"
    assert inside.owner[AUTH]["chatgpt_user_id"] == f"user-of-{ACCOUNT}", "the account id is a placeholder wherever it occurs"
    # Each of the eleven claims must be there (seen with Codex 0.169).
    assert sorted(claims(own.token)) == sorted(claims(agent.token))


def test_its_key_is_its_own_and_nothing_of_the_real_one_is_in_it(agent: Agent) -> None:
    real = read(agent.token)
    first, second = (own_identity(real, runtime_id=RUNTIME, account_id=ACCOUNT, now=time.time()) for _ in range(2))
    signature = sign("text", read(first.token).private_key.reveal())
    assert is_signed("text", signature, first.public_key)
    assert not is_signed("text", signature, second.public_key)
    with pytest.raises(ValueError, match="not by OpenAI"):
        verify(first.token, second.key_set)
    needles = Needles(agent.secrets())
    assert needles.search(first.token.encode() + first.key_set, "inside") == []
    assert needles.search(agent.token.rpartition(".")[0].encode(), "outside"), "the positive control: the key as it stands in a JWT"
    assert "eyJ" not in repr(first)


def test_the_login_file_that_codex_reads() -> None:
    document = json.loads(login_file({"agent_identity": RUNTIME, "account_id": ACCOUNT}, "e30.e30.x", 0.0))
    assert document == {"auth_mode": "agentIdentity", "OPENAI_API_KEY": None, "agent_identity": "e30.e30.x"}
