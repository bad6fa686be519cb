"""Agent identities: what a JWT must be, whose signature counts, and what the answers of the issuer mean."""

import json
import time
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.model import Secret
from immure.providers import agent_identity
from immure.providers.agent_identity import NoTask, read, registration, task_in, verify
from immure.testing.openai.agent import Agent

AGENT = Agent(account_id="acct-fake-0000", user_id="user-fake", email="ann@example.com", plan="team")
OTHER = Agent(account_id="acct-fake-0000", user_id="user-fake", email="ann@example.com", plan="team")
KEYS = AGENT.key_set()
AUTH = "https://api.openai.com/auth"

# claims that make it unusable, and why
UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"iss": "https://example.com"}, "not an agent identity for Codex"),
    ({"aud": "another"}, "not an agent identity for Codex"),
    ({"aud": None}, "not an agent identity for Codex"),
    ({"exp": None}, "when it expires"),
    ({"exp": True}, "when it expires"),
    ({"exp": "2030"}, "when it expires"),
    ({"agent_private_key": "ZmFrZS1rZXk="}, "not one of Ed25519"),
    ({"agent_private_key": 7}, "agent_private_key is not one"),
    ({"agent_runtime_id": "short"}, "agent_runtime_id is not one"),
    ({"agent_runtime_id": "fake/../../agent"}, "agent_runtime_id is not one"),
    ({"agent_runtime_id": "fake-agent?x=1"}, "agent_runtime_id is not one"),
    ({"agent_runtime_id": "fake-agent\r\nx: y"}, "agent_runtime_id is not one"),
    ({"account_id": None}, "account_id is not one"),
    ({"plan_type": None}, "whose it is"),
    ({"chatgpt_user_id": 7}, "whose it is"),
]


def key(**changes: Any) -> bytes:
    """The key set of the issuer, with something else about its key."""
    return json.dumps({"keys": [KEYS["keys"][0] | changes]}).encode()


def headed(**head: Any) -> str:
    """The JWT with another header, and the signature that it had."""
    _, rest = AGENT.token.split(".", 1)
    return f"{urlsafe_b64encode(json.dumps(head).encode()).decode().rstrip('=')}.{rest}"


# the JWT, the key set, why they do not belong together
UNVERIFIED: list[tuple[str, bytes, str]] = [
    (AGENT.token, json.dumps(OTHER.key_set()).encode(), "not by OpenAI"),
    (AGENT.token[:-6] + "AAAAAA", key(), "not by OpenAI"),
    (OTHER.token, key(), "not by OpenAI"),
    (AGENT.token, key(kid="another"), "not by OpenAI"),
    (AGENT.token, b'{"keys":[]}', "not by OpenAI"),
    (AGENT.token, b'{"keys":{}}', "not by OpenAI"),
    (AGENT.token, b"[]", "not a JSON object"),
    (AGENT.token, b"[" * 100_000, "not a JSON object"),
    (AGENT.token, b"<html>", "not a JSON object"),
    (AGENT.token, b"\xff", "not a JSON object"),
    (AGENT.token, key(kty="EC"), "not one for RS256"),
    (AGENT.token, key(use="enc"), "not one for RS256"),
    (AGENT.token, key(alg="RS512"), "not one for RS256"),
    (AGENT.token, key(n="AQAB"), "no size"),
    (AGENT.token, key(n="_" * 4000), "no size"),
    (AGENT.token, key(e="_" * 400), "no size"),
    (AGENT.token, key(n=None), "not base64url"),
    (AGENT.token, key(n="+/=="), "not base64url"),
    (headed(alg="none", kid="fake-key"), key(), "not signed with RS256"),
    (headed(alg="HS256", kid="fake-key"), key(), "not signed with RS256"),
    (headed(alg="RS256", kid="fake-key", crit=["exp"]), key(), "not signed with RS256"),
    (headed(alg="RS256"), key(), "not by OpenAI"),
    (headed(alg="RS256", kid="fake-key", typ="JWT"), key(), "not by OpenAI"),
]

# an answer to a registration, what it means
ANSWERS: list[tuple[int, object, str]] = [
    (200, {"task_id": "fake-task-1"}, "fake-task-1"),
    (200, {"taskId": "fake-task-2"}, "fake-task-2"),
    (201, {"task_id": "fake-task-3", "more": 1}, "fake-task-3"),
    (200, {"encrypted_task_id": AGENT.sealed("fake-task-5")}, "fake-task-5"),
    (200, {"encryptedTaskId": AGENT.sealed("fake-task-6")}, "fake-task-6"),
    (200, {"encrypted_task_id": OTHER.sealed("fake-task-7")}, "no task"),
    (200, {"encrypted_task_id": AGENT.sealed("short")}, "no task"),
    (200, {"encrypted_task_id": "ZmFrZQ=="}, "no task"),
    (200, {"encrypted_task_id": "fake"}, "no task"),
    (200, {"encrypted_task_id": 7}, "no task"),
    (200, {"task_id": "short"}, "no task"),
    (200, {"task_id": "fake\ntask\n1"}, "no task"),
    (200, {"task_id": 7}, "no task"),
    (200, {}, "no task"),
    (200, [], "no task"),
    (200, None, "no task"),
    (401, {"error": "fake"}, "refuses"),
    (403, None, "refuses"),
    (404, {}, "no task"),
    (429, {}, "no task"),
    (500, {"task_id": "fake-task-4"}, "no task"),
]


def test_what_a_good_one_says() -> None:
    identity = read(AGENT.token)
    assert identity.agent_runtime_id.reveal() == AGENT.runtime_id
    assert identity.account_id.reveal() == "acct-fake-0000"
    assert identity.expires > time.time()
    assert identity.owner == {
        "email": "ann@example.com",
        AUTH: {"chatgpt_user_id": "user-fake", "chatgpt_plan_type": "team", "chatgpt_account_is_fedramp": False},
    }
    assert identity.private_key.reveal() not in repr(identity)
    verify(AGENT.token, key())


@pytest.mark.parametrize(("claims", "why"), UNUSABLE)
def test_one_that_cannot_be_used_is_refused_and_not_repeated(claims: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        read(AGENT.issue(**claims))
    assert "fake" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "fake", "a.b", "a.b.c", "e30.e30.e30.e30", AGENT.token + ".x", "é.e30.x"])
def test_what_is_no_jwt_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(not|the payload|it is)"):
        read(text)


@pytest.mark.parametrize(("token", "keys", "why"), UNVERIFIED)
def test_only_a_signature_of_the_issuer_counts(token: str, keys: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        verify(token, keys)


@given(st.binary())
def test_any_bytes_for_keys_verify_nothing(keys: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(it is not a JSON object|its signature)"):
        verify(AGENT.token, keys)


def test_of_several_keys_of_one_name_any_will_do() -> None:
    verify(AGENT.token, json.dumps({"keys": [*OTHER.key_set()["keys"], *KEYS["keys"]]}).encode())


def test_a_registration_is_signed() -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert AGENT.register(AGENT.runtime_id, registration(read(AGENT.token), now)) == AGENT.tasks[-1]
    assert AGENT.register(AGENT.runtime_id, registration(read(OTHER.token), now)) is None
    assert agent_identity.task_path("fake-agent") == "/api/accounts/v1/agent/fake-agent/task/register"


@pytest.mark.parametrize(("status", "body", "meaning"), ANSWERS)
def test_what_an_answer_to_a_registration_means(status: int, body: object, meaning: str) -> None:
    outcome = task_in(status, b"" if body is None else json.dumps(body).encode(), read(AGENT.token).private_key)
    if isinstance(outcome, NoTask):
        assert meaning in outcome.reason
        assert outcome.cause == ("refused" if meaning == "refuses" else "unavailable")
    else:
        assert outcome == Secret(meaning)


@given(st.integers(100, 599), st.binary())
def test_any_answer_has_a_meaning_and_none_of_its_text_is_repeated(status: int, body: bytes) -> None:
    outcome = task_in(status, b"fake-text" + body, read(AGENT.token).private_key)
    assert isinstance(outcome, NoTask)
    assert "fake" not in outcome.reason
