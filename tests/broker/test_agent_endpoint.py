"""What a sandbox on an agent identity is told: its own keys, and a placeholder for a task that was registered outside."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from immure.agents.codex.agent_token import OwnIdentity, own_identity
from immure.broker.agent_endpoint import AgentEndpoint
from immure.broker.agent_issuer import timestamp
from immure.broker.login import Logins
from immure.broker.login_failure import LoginEnded, LoginUnavailable
from immure.broker.token_endpoint import Answer, Held
from immure.config.settings import Upstream
from immure.model import Secret
from immure.providers import Login
from immure.providers.agent_identity import KEY_SET_PATH, read, registration, task_path
from immure.rewrite import mint
from immure.rewrite.assertion import Signatory
from immure.testing.openai.service import FakeOpenAI
from immure.vault import Vault

RUNTIME, TASK = mint("agent", b"agent identity 1"), mint("agent_task", b"task 00000000001")
ACCOUNT = mint("account_id", b"account id 00001")


class Sandbox:
    """One on the agent identity of the stand-in, with a clock that stands still unless it is moved."""

    def __init__(self, fake: FakeOpenAI, vault: Vault) -> None:
        self.agent = fake.account.agent
        real = read(self.agent.token)
        self.now = float(real.expires - 30 * 24 * 3600)  # the stand-in goes by the true time
        self.trail: list[Any] = []
        secrets = {"agent_identity": Secret(self.agent.token), "account_id": real.account_id}
        self.login = Login(name="codex agent identity", kind="agent_identity", secrets=secrets, claims=real.owner)
        self.own = own_identity(real, runtime_id=RUNTIME, account_id=ACCOUNT, now=self.now)
        self.endpoint = AgentEndpoint(self.own, runtime_id=RUNTIME, task_id=TASK, clock=lambda: self.now)
        upstream = Upstream(host="auth.openai.com", address=fake.host, port=fake.port, ca_pem=fake.authority.pem)
        self.logins = Logins(vault, (upstream,), lambda line: self.trail.append(json.loads(line)), lambda: self.now)

    def ask(self, body: bytes | None = None, *, method: str = "POST", path: str = task_path(RUNTIME)) -> Answer:
        asked = self.request() if body is None else body
        held = Held(login=self.login, placeholders={"agent_identity": RUNTIME})
        return self.endpoint.answer(self.logins, held, method=method, path=path, body=asked, sandbox="s1")

    def request(self, own: OwnIdentity | None = None) -> bytes:
        """As Codex makes it of the JWT that it was given."""
        return registration(read((own or self.own).token), timestamp(self.now))

    @property
    def signatory(self) -> Signatory:
        return Signatory.of(self.endpoint.signing(self.login).secrets["agent_identity"])


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


@pytest.fixture
def sandbox(fake: FakeOpenAI, tmp_path) -> Sandbox:
    return Sandbox(fake, Vault(str(tmp_path / "vault"), bytes(32)))


def error(told: Answer) -> tuple[int, str]:
    return told.status, json.loads(told.body)["error"]["code"]


def test_the_keys_are_those_of_the_sandbox(fake, sandbox) -> None:
    told = sandbox.ask(b"", method="GET", path=KEY_SET_PATH)
    assert (told.status, told.body, told.granted) == (200, sandbox.own.key_set, False)
    assert fake.record.all() == []


def test_a_task_is_registered_with_the_real_key_and_the_sandbox_learns_a_placeholder(fake, sandbox) -> None:
    assert sandbox.signatory.task_id == ""
    told = sandbox.ask()
    assert (told.status, json.loads(told.body), told.granted) == (200, {"task_id": TASK}, True)
    (task,) = sandbox.agent.tasks
    signatory = sandbox.signatory
    assert (signatory.agent_runtime_id, signatory.task_id, signatory.own_task) == (sandbox.agent.runtime_id, task, TASK)
    assert signatory.own_key == sandbox.own.public_key
    (asked,) = fake.record.all()
    assert asked.path == task_path(sandbox.agent.runtime_id)
    assert asked.body != sandbox.request()
    assert [line["activity_name"] for line in sandbox.trail] == ["task-registered"]
    assert sandbox.agent.runtime_id not in json.dumps(sandbox.trail)


def test_who_asks_together_or_within_a_minute_is_given_one_task_and_later_a_new_one(fake, sandbox) -> None:
    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(lambda _: sandbox.ask(), range(8)))
    assert {answer.status for answer in told} == {200}
    sandbox.now += 55
    assert sandbox.ask().status == 200
    assert len(sandbox.agent.tasks) == len(fake.record.all()) == 1
    sandbox.now += 5
    assert sandbox.ask().status == 200
    assert len(sandbox.agent.tasks) == 2
    assert sandbox.signatory.task_id == sandbox.agent.tasks[-1]


def test_what_is_not_signed_with_the_sandboxs_own_key_and_now_goes_nowhere(fake, sandbox) -> None:
    real = read(sandbox.agent.token)
    another = own_identity(real, runtime_id=RUNTIME, account_id=ACCOUNT, now=sandbox.now)
    good = json.loads(sandbox.request())
    old = sandbox.request()
    sandbox.now += 301
    for body in (
        old,
        sandbox.request(another),
        registration(real, timestamp(sandbox.now)),
        json.dumps(good | {"timestamp": timestamp(sandbox.now)}).encode(),
        json.dumps(good | {"signature": None}).encode(),
        b"{}",
        b"[]",
        b"",
        b"\xff",
        b"[" * 60_000,
    ):
        assert error(sandbox.ask(body)) == (401, "invalid_signature")
    assert fake.record.all() == []
    assert {line["activity_name"] for line in sandbox.trail} == {"task-refused"}


def test_nothing_else_is_answered(fake, sandbox) -> None:
    for method, path in (("GET", task_path(RUNTIME)), ("POST", KEY_SET_PATH), ("POST", task_path(sandbox.agent.runtime_id))):
        assert error(sandbox.ask(method=method, path=path)) == (404, "not_found")
    assert not sandbox.endpoint.serves("/oauth/token")
    assert fake.record.all() == []


def test_a_login_that_has_ended_says_so_and_the_issuer_is_not_asked_in_a_loop(fake, sandbox) -> None:
    sandbox.agent.revoke()
    for _ in range(3):
        told = sandbox.ask()
        assert error(told) == (401, "agent_identity_refused")
        assert b"immure login codex --with-access-token" in told.body
        with pytest.raises(LoginEnded, match="no longer accepted"):
            sandbox.endpoint.register(sandbox.logins, sandbox.login, sandbox="s1")
    assert len(fake.record.all()) == 1
    sandbox.now += 5
    assert sandbox.ask().status == 401
    assert len(fake.record.all()) == 2


def test_an_issuer_in_trouble_is_told_as_such(fake, sandbox) -> None:
    fake.close()
    assert error(sandbox.ask()) == (503, "temporarily_unavailable")
    with pytest.raises(LoginUnavailable, match="cannot be used now"):
        sandbox.endpoint.register(sandbox.logins, sandbox.login, sandbox="s1")


def test_an_identity_that_has_expired_is_not_used(fake, sandbox) -> None:
    sandbox.now += 31 * 24 * 3600
    assert error(sandbox.ask()) == (401, "agent_identity_refused")
    assert fake.record.all() == []


def test_the_task_of_one_agent_is_not_signed_for_by_another(fake, sandbox) -> None:
    sandbox.ask()
    renewed = sandbox.agent.issue(agent_runtime_id="fake-agent-of-another-sign-in")
    sandbox.login = Login(name="codex agent identity", kind="agent_identity", secrets={"agent_identity": Secret(renewed)})
    assert (sandbox.signatory.agent_runtime_id, sandbox.signatory.task_id) == ("fake-agent-of-another-sign-in", "")
