"""The real Codex on an agent identity: it signs with a key of its sandbox, and what upstream verifies is signed with the real one."""

import json
import os
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_codex import HostCodex
from real_codex import CODEX, EAR, EXEC, Immure, assert_no_leak

from immure.testing.household import Household
from immure.testing.leak import Needles
from immure.testing.openai.scenario import Hold, Say, Script, Shell
from immure.testing.openai.service import FakeOpenAI
from immure.testing.record import Arrival, Record
from immure.testing.survey import Survey

RESPONSES = "/backend-api/codex/responses"
KEYS = "/backend-api/wham/agent-identities/jwks"
LOOK = Shell("cat $CODEX_HOME/auth.json; env; cat /proc/1/environ /proc/self/environ | tr '\\0' '\\n'")


@pytest.fixture(scope="module", params=[False, True], ids=["events", "websocket"])
def fake(request: pytest.FixtureRequest) -> Iterator[FakeOpenAI]:
    with FakeOpenAI(ears=[EAR], websocket=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def household(fake: FakeOpenAI) -> Iterator[Household]:
    with Household(fake, codex=str(CODEX)) as made:
        signed_in(fake, made)
        yield made


def signed_in(fake: FakeOpenAI, home: Household) -> None:
    """By the identity alone: the host's Codex has no login."""
    os.unlink(f"{home.codex_home}/auth.json")
    result = home.run("login", "codex", "--with-access-token", text=fake.account.agent.token + "\n")
    assert result.returncode == 0, result.stderr


def registrations(fake: FakeOpenAI) -> list[Arrival]:
    return [one for one in fake.record.all(host="auth.openai.com") if one.path.endswith("/task/register")]


def asserted(arrival: Arrival) -> dict[str, str]:
    """What an assertion says. That its signature is good the stand-in has verified, or it would have refused it."""
    scheme, _, token = arrival.header("authorization").partition(" ")
    assert scheme == "AgentAssertion"
    envelope: dict[str, str] = json.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    return envelope


def test_a_turn_is_signed_outside_with_the_real_key(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    agent = fake.account.agent
    before = len(agent.tasks)
    result = immure(Shell("echo made inside > made.txt; cat made.txt"), LOOK, Say("It is made."))
    assert (result.returncode, result.stdout) == (0, "It is made.\n"), result.stderr
    assert (Path(home.workspace) / "made.txt").read_text() == "made inside\n"
    (task,) = agent.tasks[before:]
    assert [one.path for one in registrations(fake)] == [f"/api/accounts/v1/agent/{agent.runtime_id}/task/register"]
    arrivals = fake.record.all(host="chatgpt.com")
    assert {(asserted(one)["agent_runtime_id"], asserted(one)["task_id"]) for one in arrivals} == {(agent.runtime_id, task)}
    assert {one.header("chatgpt-account-id") for one in arrivals} == {fake.account.account_id}
    assert {one.method for one in arrivals if one.path == RESPONSES} == ({"GET", "MESSAGE"} if fake.websocket else {"GET", "POST"})
    assert all(one["timestamp"] for one in map(asserted, arrivals))
    assert '"agent_identity"' in result.stderr.replace("\\", "")
    assert "immure-agent-" in result.stderr
    assert_no_leak(fake, home, result.stdout, result.stderr)


def test_nothing_real_is_in_a_living_sandbox(fake: FakeOpenAI, home: Household) -> None:
    fake.script = Script(LOOK, Hold(), Say("Searched."))
    since = time.time() - 1
    with home.started(*EXEC, "go on") as program:
        assert fake.holding.wait(30)
        survey = Survey(needles=Needles(fake.account.secrets()), since=since)
        events = [json.loads(line) for line in home.run("logs", "--json").stdout.splitlines()]
        survey.sandbox([one["actor"]["process"]["pid"] for one in events if "http_request" in one][-1])
        fake.release()
        output, talk = program.communicate(timeout=30)
        assert (program.returncode, output) == (0, b"Searched.\n")
    assert (survey.leaks, survey.unreadable) == ([], [])
    assert survey.size > 50_000_000
    assert_no_leak(fake, home, output.decode(), talk.decode(errors="replace"))


def test_each_sandbox_has_a_key_and_a_task_of_its_own(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    fake.script = Script(Hold(), Say("First."))
    with home.started(*EXEC, "go on") as first:
        assert fake.holding.wait(30)
        second = home.run(*EXEC, "go on", timeout=60)
        assert (second.returncode, second.stdout) == (0, "The script has ended.\n"), second.stderr
        fake.release()
        output, _ = first.communicate(timeout=30)
        assert (first.returncode, output) == (0, b"First.\n")
    tasks = {asserted(one)["task_id"] for one in fake.record.all(host="chatgpt.com")}
    assert (len(registrations(fake)), len(tasks)) == (2, 2)


def test_a_task_may_come_encrypted_as_codex_itself_takes_it(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    agent = fake.account.agent
    agent.seals = True
    try:
        result = immure(Say("Inside."))
        assert (result.returncode, result.stdout) == (0, "Inside.\n"), result.stderr
        inside = agent.tasks[-1]
        assert {asserted(one)["task_id"] for one in fake.record.all(host="chatgpt.com")} == {inside}
        with HostCodex(home, fake) as outside:
            Path(home.codex_home, "auth.json").write_bytes(agent.login_file())
            fake.script = Script(Say("Outside."))
            plain = outside.run("exec", "--skip-git-repo-check", "go on")
            assert (plain.returncode, plain.stdout) == (0, "Outside.\n"), plain.stderr
    finally:
        agent.seals = False
        Path(home.codex_home, "auth.json").unlink(missing_ok=True)
    assert asserted(fake.record.all(host="chatgpt.com")[-1])["task_id"] in set(agent.tasks) - {inside}


def test_a_session_is_resumed(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    assert immure(Say("Begun.")).returncode == 0
    begun = len(registrations(fake))
    fake.script = Script(Say("Resumed."))
    result = home.run("codex", "exec", "resume", "--last", "--skip-git-repo-check", "go on")
    assert (result.returncode, result.stdout) == (0, "Resumed.\n"), result.stderr
    assert len(registrations(fake)) == begun + 1


def test_codexs_own_sign_in_reads_the_jwt_of_its_sandbox(fake: FakeOpenAI, home: Household) -> None:
    result = home.run("codex", "login", "--with-access-token", text=fake.account.agent.token)
    assert result.returncode == 0, result.stderr
    assert "Successfully logged in" in result.stderr
    assert [one.path for one in fake.record.all()] == [KEYS, *[one.path for one in registrations(fake)]]
    assert_no_leak(fake, home, result.stdout, result.stderr)
    shown = json.loads(home.run("login", "status", "--json").stdout)
    assert [(one["login"], one["kind"]) for one in shown] == [("codex agent identity", "agent_identity")]


def test_an_identity_that_was_revoked_says_so() -> None:
    with FakeOpenAI() as fake, Household(fake, codex=str(CODEX)) as home:
        signed_in(fake, home)
        fake.record = Record()
        fake.account.agent.revoke()
        result = home.run(*EXEC, "go on")
        assert result.returncode == 2
        assert "is no longer accepted" in result.stderr
        assert "immure login codex --with-access-token" in result.stderr
        assert (len(registrations(fake)), fake.record.all(host="chatgpt.com")) == (1, [])
        assert_no_leak(fake, home, result.stdout, result.stderr)
