"""Assertions in the slot that they are for: what of the head of a request leaves, or why nothing does."""

import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from immure.model import Binary, Caller, Endpoint, Secret
from immure.rewrite import Binding, Credential, HeaderSlot, Refused, Slots, Substituted, mint
from immure.rewrite.assertion import Signatory, shown, sign
from immure.rewrite.slot import AssertionSlot

CODEX = Binary("/opt/codex/bin/codex", 1, 10)
CURL = Binary("/usr/bin/curl", 1, 11)
AT = mint("access_token", b"access token 001")
AGENT, TASK = mint("agent", b"agent identity 1"), mint("agent_task", b"task 00000000001")
NOW = "2026-11-20T13:33:17Z"
OUTSIDE, INSIDE = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))


def der(key: Ed25519PrivateKey) -> str:
    return b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()


BINDING = Binding(endpoints=(Endpoint("chatgpt.com", 443),), binaries=(CODEX,))
TOKEN = Credential(
    name="codex.access_token",
    placeholder=AT,
    secret=Secret("fake-real-access-token"),
    slots=(HeaderSlot(header="authorization", scheme="bearer"),),
    binding=BINDING,
)
SIGNED = Credential(
    name="codex.agent_identity",
    placeholder=AGENT,
    secret=Signatory(
        agent_runtime_id="fake-agent-0000",
        private_key=der(OUTSIDE),
        task_id="fake-task-0000",
        own_task=TASK,
        own_key=b64encode(INSIDE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode(),
    ).to_secret(),
    slots=(AssertionSlot(),),
    binding=BINDING,
)


def assertion(agent: str = AGENT, task: str = TASK, made: str = NOW) -> bytes:
    signature = sign(f"{agent}:{task}:{made}", der(INSIDE))
    content = json.dumps({"agent_runtime_id": agent, "signature": signature, "task_id": task, "timestamp": made})
    return b"AgentAssertion " + urlsafe_b64encode(content.encode()).rstrip(b"=")


def signing(value: bytes, *, host: str = "chatgpt.com", binary: Binary = CODEX, now: str = NOW) -> Substituted | Refused:
    slots = Slots((SIGNED, TOKEN), host=host, port=443, encrypted=True, caller=Caller(binary, 7), clock=lambda: now)
    try:
        return slots.substitute("POST", b"/", ((b"authorization", value),))
    except Refused as refused:
        return refused


def test_an_assertion_is_signed_again_for_each_request() -> None:
    sent = [signing(assertion(), now=now) for now in (NOW, "2026-11-20T13:33:18Z")]
    values = []
    for one, now in zip(sent, (NOW, "2026-11-20T13:33:18Z"), strict=True):
        assert isinstance(one, Substituted)
        assert one.used == (SIGNED,)
        ((_, value),) = one.headers
        envelope = json.loads(shown(value.decode()))
        assert envelope["timestamp"] == now
        OUTSIDE.public_key().verify(b64decode(envelope["signature"]), f"fake-agent-0000:fake-task-0000:{now}".encode())
        assert one.echoes == ((envelope["signature"].encode(), json.loads(shown(assertion().decode()))["signature"].encode()),)
        values.append(value)
    assert values[0] != values[1]
    slots = Slots((SIGNED,), host="chatgpt.com", port=443, encrypted=True, caller=Caller(CODEX, 7), clock=lambda: NOW)
    assert not slots.may_repeat((SIGNED,), "POST", b"/")
    assert slots.may_repeat((TOKEN,), "POST", b"/")


# what arrives instead, where, whose credential it is taken for, and why it goes nowhere
UNSIGNED: list[tuple[bytes, dict[str, Any], str | None, str]] = [
    (assertion(), {"host": "attacker.example.com"}, "codex.agent_identity", "not for attacker.example.com"),
    (assertion(), {"binary": CURL}, "codex.agent_identity", "not for /usr/bin/curl"),
    (assertion(), {"now": ""}, "codex.agent_identity", "not made within"),
    (assertion(made="2026-11-20T13:20:00Z"), {}, "codex.agent_identity", "not made within"),
    (assertion(task=mint("agent_task", b"another sandbox.")), {}, "codex.agent_identity", "another agent or task"),
    (assertion(agent=mint("agent", b"another sandbox.")), {}, None, "not of this sandbox"),
    (assertion(agent="fake-agent-0000", task="fake-task-0000"), {}, "codex.agent_identity", "is there for credential"),
    (b"Bearer " + AGENT.encode(), {}, "codex.agent_identity", "does not stand alone"),
    (b"AgentAssertion " + AGENT.encode(), {}, "codex.agent_identity", "cannot be read"),
    (b"AgentAssertion " + AT.encode(), {}, "codex.access_token", "does not stand alone"),
]


@pytest.mark.parametrize(("value", "where", "whose", "why"), UNSIGNED)
def test_only_an_assertion_of_this_sandbox_is_answered_with_one(value: bytes, where: dict[str, Any], whose: str | None, why: str) -> None:
    refused = signing(value, **where)
    assert isinstance(refused, Refused)
    assert refused.credential_name == whose
    assert why in refused.reason


def test_an_assertion_of_someone_else_passes_where_nothing_is_bound() -> None:
    foreign = assertion(agent="fake-agent-0000", task="fake-task-0000")
    sent = signing(foreign, host="api.example.com")
    assert isinstance(sent, Substituted)
    assert (sent.headers, sent.used, sent.echoes) == (((b"authorization", foreign),), (), ())


@given(st.binary())
def test_no_real_name_or_key_leaves_for_what_was_not_signed(raw: bytes) -> None:
    outcome = signing(b"AgentAssertion " + urlsafe_b64encode(raw))
    assert isinstance(outcome, Refused)
