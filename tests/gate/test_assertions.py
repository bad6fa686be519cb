"""An agent identity: what is signed inside goes out signed with the real key, and nothing of that comes back."""

import json
import re
import time
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from house import POOL, Gate, Peer, World, allow, read_answer, world

from immure.gate.brief import Brief
from immure.gate.grants import Grants
from immure.model import Endpoint
from immure.rewrite import Binding, Credential, mint
from immure.rewrite.assertion import Signatory, sign
from immure.rewrite.slot import AssertionSlot

HOST = "api.example.com"
AGENT, TASK = mint("agent", b"agent identity 1"), mint("agent_task", b"task 00000000001")
OUTSIDE, INSIDE = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
Setting = tuple[Gate, World]


def der(key: Ed25519PrivateKey) -> str:
    return b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()


def signed_for(port: int, task: str = "fake-task-0000") -> Credential:
    own = b64encode(INSIDE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    signatory = Signatory(agent_runtime_id="fake-agent-0000", private_key=der(OUTSIDE), task_id=task, own_task=TASK, own_key=own)
    return Credential(
        name="agent",
        placeholder=AGENT,
        secret=signatory.to_secret(),
        slots=(AssertionSlot(),),
        binding=Binding(endpoints=(Endpoint(HOST, port),)),
    )


@pytest.fixture
def setting(open_gate: Callable[..., Gate]) -> Iterator[Setting]:
    with world(HOST) as served:
        gate = open_gate(
            lambda port: Brief(
                sandbox="box",
                grants=Grants(rules=(allow(HOST, port),), credentials=(signed_for(port),)),
                upstreams=(served.upstream(HOST),),
                pool=POOL,
            )
        )
        yield gate, served
        gate.hang_up()


def inside(task: str = TASK, key: Ed25519PrivateKey = INSIDE) -> str:
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    content = {"agent_runtime_id": AGENT, "signature": sign(f"{AGENT}:{task}:{made}", der(key)), "task_id": task, "timestamp": made}
    return urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode().rstrip("=")


def request(gate: Gate, token: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {HOST}:{gate.port}\r\nAuthorization: AgentAssertion {token}\r\n\r\n".encode()


def envelope(head: bytes) -> tuple[bytes, dict[str, str]]:
    """The token of an assertion, and what it says."""
    found = re.search(rb"(?im)^authorization: AgentAssertion (\S+)\r?$", head)
    assert found
    content: dict[str, str] = json.loads(urlsafe_b64decode(found[1] + b"=" * (-len(found[1]) % 4)))
    return found[1], content


def repeating(peer: Peer) -> None:
    """Answers with all that an assertion says, and the whole of it."""
    for _ in range(2):
        token, content = envelope(peer.head())
        body = b"\n".join([token, *(value.encode() for value in content.values())])
        peer.send(b"HTTP/1.1 200 OK\r\nx-token: %b\r\ncontent-length: %d\r\n\r\n%b" % (token, len(body), body))


def test_each_request_is_signed_with_the_real_key_and_nothing_of_it_comes_back(setting: Setting) -> None:
    gate, served = setting
    served.scripts = [repeating]
    with gate.connect_tls(HOST) as client:
        for _ in range(2):
            token = inside()
            client.sendall(request(gate, token))
            head, body = read_answer(client)
            said = json.loads(urlsafe_b64decode(token + "=="))
            again, *lines = body.decode().split("\n")
            assert lines[:3] == [said["agent_runtime_id"], said["signature"], said["task_id"]]
            assert json.loads(urlsafe_b64decode(again + "==")) | {"timestamp": said["timestamp"]} == said
            assert f"x-token: {again}".encode() in head
            assert b"fake" not in head + body
    heads = served.peers[0].heads
    assert len(heads) == 2
    for one in heads:
        _, content = envelope(one)
        text = f"fake-agent-0000:fake-task-0000:{content['timestamp']}"
        OUTSIDE.public_key().verify(b64decode(content["signature"]), text.encode())
        assert AGENT.encode() not in one
    assert gate.event()["unmapped"]["credentials"] == ["agent"]


@pytest.mark.parametrize(
    "token",
    [
        lambda: inside(mint("agent_task", b"another sandbox.")),
        lambda: inside(key=OUTSIDE),
        lambda: AGENT,
        lambda: inside() + "A",
    ],
    ids=["another task", "another key", "the bare name", "not base64"],
)
def test_what_is_not_signed_in_this_sandbox_stops_the_request(setting: Setting, token: Callable[[], str]) -> None:
    gate, served = setting
    with gate.connect_tls(HOST) as client:
        client.sendall(request(gate, token()))
        head, body = read_answer(client)
    assert head.startswith(b"HTTP/1.1 403")
    assert b"credential_refused" in body
    assert not served.peers
