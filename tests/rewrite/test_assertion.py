"""Assertions: `>>` what Codex signs inside, `<<` what leaves in its place, or why nothing does."""

import json
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from immure.model import Secret
from immure.rewrite import mint
from immure.rewrite.assertion import Signatory, answered, is_assertion, is_of_moment, is_signed, shown, sign, signing_key

NOW = "2026-11-20T13:33:17Z"
AGENT, TASK = mint("agent", b"agent identity 1"), mint("agent_task", b"task 00000000001")
REAL, OWN, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2, 3))


def private(key: Ed25519PrivateKey | X25519PrivateKey) -> str:
    return b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()


def public(key: Ed25519PrivateKey) -> str:
    return b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


SIGNATORY = Signatory(
    agent_runtime_id="fake-agent-0000", private_key=private(REAL), task_id="fake-task-0000", own_task=TASK, own_key=public(OWN)
)


def inside(key: Ed25519PrivateKey = OWN, agent: str = AGENT, task: str = TASK, time: str = NOW, **changes: object) -> str:
    """As Codex makes it."""
    signature = sign(f"{agent}:{task}:{time}", private(key))
    return field({"agent_runtime_id": agent, "signature": signature, "task_id": task, "timestamp": time} | changes)


def field(content: object, scheme: str = "AgentAssertion") -> str:
    return f"{scheme} {urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip('=')}"


def test_it_is_made_again_with_the_real_key_and_of_this_moment() -> None:
    value = inside(time="2026-11-20T13:33:10Z")  # >>
    signed = answered(value, AGENT, SIGNATORY, NOW)
    scheme, token = signed.value.split(" ")  # <<
    envelope = json.loads(urlsafe_b64decode(token + "=="))
    assert scheme == "AgentAssertion"
    assert list(envelope) == ["agent_runtime_id", "signature", "task_id", "timestamp"]
    assert (envelope["agent_runtime_id"], envelope["task_id"], envelope["timestamp"]) == ("fake-agent-0000", "fake-task-0000", NOW)
    assert is_signed(f"fake-agent-0000:fake-task-0000:{NOW}", envelope["signature"], public(REAL))
    # What may come back of it, with the same part of what the agent sent.
    own = json.loads(shown(value))["signature"]
    assert signed.echoes == ((envelope["signature"].encode(), own.encode()),)


# what arrives, at what time, what is the matter
REFUSED = {
    "another agent": (inside(agent=mint("agent", b"another sandbox.")), NOW, "another agent or task"),
    "the real agent": (inside(agent="fake-agent-0000"), NOW, "another agent or task"),
    "another task": (inside(task=mint("agent_task", b"another sandbox.")), NOW, "another agent or task"),
    "another key": (inside(key=OTHER), NOW, "not signed with the key of this sandbox"),
    "another text is signed": (inside(signature=sign(f"{AGENT}:{NOW}", private(OWN))), NOW, "not signed with the key"),
    "another time than was signed": (inside(timestamp="2026-11-20T13:33:18Z"), NOW, "not signed with the key"),
    "a signature that is none": (inside(signature="AAAA"), NOW, "not signed with the key"),
    "a signature that is not base64": (inside(signature="-" * 88), NOW, "not signed with the key"),
    "from before": (inside(), "2026-11-20T13:38:18Z", "not made within 300 seconds"),
    "from the future": (inside(), "2026-11-20T13:28:16Z", "not made within 300 seconds"),
    "without a clock": (inside(), "", "not made within 300 seconds"),
    "a time in another form": (inside(time="2026-11-20T13:33:17.5Z"), NOW, "not made within 300 seconds"),
    "a day that is not": (inside(time="2026-99-99T13:33:17Z"), NOW, "not made within 300 seconds"),
    "a field more": (inside(note="x"), NOW, "cannot be read"),
    "a field that is no text": (inside(timestamp=1795181597), NOW, "cannot be read"),
    "a list": (field([]), NOW, "cannot be read"),
    "no JSON": (f"AgentAssertion {urlsafe_b64encode(b'{').decode()}", NOW, "cannot be read"),
    "padding": (inside() + "==", NOW, "cannot be read"),
    "two of them": (f"{inside()} {inside()}", NOW, "cannot be read"),
    "nothing": ("AgentAssertion", NOW, "cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_signed_here_and_now_is_refused(case: str) -> None:
    value, now, reason = REFUSED[case]
    with pytest.raises(ValueError, match=reason):
        answered(value, AGENT, SIGNATORY, now)


def test_without_a_task_nothing_is_signed() -> None:
    with pytest.raises(ValueError, match="no task has been registered"):
        answered(inside(), AGENT, replace(SIGNATORY, task_id=""), NOW)


def test_the_scheme_in_any_letter_case_and_more_spaces() -> None:
    value = inside().replace("AgentAssertion ", "AGENTassertion   ")
    assert is_assertion(value)
    assert answered(value, AGENT, SIGNATORY, NOW).value.startswith("AgentAssertion ey")
    assert not is_assertion("Bearer AgentAssertion")


@given(st.text() | st.binary().map(lambda raw: f"AgentAssertion {urlsafe_b64encode(raw).decode()}"))
def test_any_text_is_refused_and_nothing_else(text: str) -> None:
    shown(text)
    with pytest.raises(ValueError, match=r"^(it is in|its assertion)"):
        answered(text, AGENT, SIGNATORY, NOW)


@given(st.integers(-400, 400))
def test_a_moment_has_two_sides(seconds: int) -> None:
    hour, rest = divmod(12 * 3600 + seconds, 3600)
    made = f"2026-02-28T{hour:02}:{rest // 60:02}:{rest % 60:02}Z"
    assert is_of_moment(made, "2026-02-28T12:00:00Z") == (abs(seconds) <= 300)


def test_a_signatory_travels_as_a_secret_and_does_not_print_itself() -> None:
    assert Signatory.of(SIGNATORY.to_secret()) == SIGNATORY
    for secret in ("fake-agent", "fake-task", private(REAL)):
        assert secret not in repr(SIGNATORY)
    with pytest.raises((ValueError, TypeError)):
        Signatory.of(Secret('{"private_key":"fake"}'))


def test_what_an_answer_may_repeat_of_it() -> None:
    assert SIGNATORY.pairs(AGENT) == ((b"fake-agent-0000", AGENT.encode()), (b"fake-task-0000", TASK.encode()))
    assert replace(SIGNATORY, task_id="").pairs(AGENT) == ((b"fake-agent-0000", AGENT.encode()),)


@pytest.mark.parametrize("text", ["", "fake", "ZmFrZQ==", private(X25519PrivateKey.generate()), private(REAL)[:-4], public(REAL)])
def test_another_key_than_of_ed25519_is_none_and_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="Ed25519") as caught:
        signing_key(text)
    assert not text or text not in str(caught.value)
