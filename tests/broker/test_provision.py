"""Changes to sandboxes that run, by the commands that a user types: attach, detach, sign out and in.

A copy of curl stands in for Codex: it is the program that the placeholders are for, and asks one question in milliseconds.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
from test_agent_endpoint import ACCOUNT, RUNTIME
from test_agent_endpoint import Sandbox as AgentSandbox
from test_attachments import attachment

from immure import channel
from immure.broker.attachment import Surroundings
from immure.broker.gate_line import GateLine
from immure.broker.login import Logins
from immure.broker.plan import Plan, Request
from immure.broker.provision import Provision
from immure.broker.trust import Trust
from immure.config.settings import Settings
from immure.errors import ImmureError
from immure.gate.grants import Grants
from immure.model import Limits
from immure.paths import Paths
from immure.providers.agent_identity import task_path
from immure.rewrite.assertion import Signatory
from immure.sandbox import Spec
from immure.sandbox.system import System
from immure.testing.household import Household, command
from immure.testing.leak import Needles
from immure.testing.openai.account import Account
from immure.testing.openai.service import FakeOpenAI
from immure.testing.record import Record
from immure.testing.survey import Survey
from immure.vault import Vault

CHECK = "https://chatgpt.com/backend-api/wham/accounts/check"
# For each line of input one question with what stands in auth.json: the status, and what the answer says.
ASKING = f"""
field() {{ sed -n "s/.*\\"$1\\": \\"\\(.*\\)\\".*/\\1/p" "$HOME/.codex/auth.json" 2>&1; }}
while read -r program; do
    "$program" -sS --max-time 20 -w '\\n%{{http_code}}\\n' -H "Authorization: Bearer $(field access_token)" \\
        -H "ChatGPT-Account-ID: $(field account_id)" {CHECK} 2>&1 | tr -d '\\n'
    echo
done
"""


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


@pytest.fixture(scope="module")
def household(fake: FakeOpenAI) -> Iterator[Household]:
    with Household(fake, codex="/nowhere/codex") as made:
        program = Path(made.directory) / "bin" / "codex"
        program.parent.mkdir()
        curl = shutil.which("curl")
        assert curl
        shutil.copy(curl, program)
        made.environment["PATH"] = f"{program.parent}:{os.environ['PATH']}"
        yield made


@pytest.fixture
def home(household: Household, fake: FakeOpenAI) -> Iterator[Household]:
    """The user, with the login of the Codex outside in the vault, and no sandbox yet."""
    fake.record = Record()
    yield household
    household.run("logout")
    write_login(household, fake.account)


def write_login(home: Household, account: Account) -> None:
    (Path(home.codex_home) / "auth.json").write_bytes(account.login_file())


@dataclass
class Sandbox:
    """One that asks when it is told to."""

    home: Household
    program: subprocess.Popen[str]
    id: str = ""

    def ask(self, program: str = "codex") -> tuple[int, str]:
        """Status and body of the next answer."""
        talk: tuple[IO[str] | None, IO[str] | None] = (self.program.stdin, self.program.stdout)
        assert talk[0] is not None
        assert talk[1] is not None
        talk[0].write(f"{program}\n")
        talk[0].flush()
        line = talk[1].readline().rstrip("\n")
        return int(line[-3:]), line[:-3]

    def placeholder(self) -> str:
        (directory,) = Path(self.home.immure_home, "state/sandboxes", self.id).glob("agent-home")
        token: str = json.loads((directory / "auth.json").read_text())["tokens"]["access_token"]
        return token


@contextmanager
def sandbox(home: Household, *options: str) -> Iterator[Sandbox]:
    before = set(ids(home))
    argv = [command(), "run", *options, "--", "bash", "-c", f"echo ready; {ASKING}"]
    with subprocess.Popen(
        argv,
        cwd=home.workspace,
        env=home.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            assert program.stdout
            assert program.stdout.readline() == "ready\n", program.stderr and program.stderr.read()
            (identifier,) = set(ids(home)) - before
            yield Sandbox(home, program, identifier)
        finally:
            program.kill()


def listed(home: Household) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(home.run("list", "--json").stdout)
    return found


def ids(home: Household) -> list[str]:
    return [each["id"] for each in listed(home)]


def done(home: Household, *words: str, text: str = "") -> str:
    """A command that succeeds; what it said."""
    result = home.run(*words, text=text)
    assert result.returncode == 0, result.stderr
    return result.stderr


def bearers(fake: FakeOpenAI) -> list[str]:
    return [fake.account.describe(one.bearer) for one in fake.record.all(host="chatgpt.com")]


def assert_no_leak(fake: FakeOpenAI, home: Household) -> None:
    survey = Survey(needles=Needles(fake.account.secrets()))
    survey.tree(home.immure_home)
    assert (survey.leaks, survey.unreadable) == ([], [])


# ---------------------------------------------------------------- list


def test_the_list_has_the_sandboxes_that_run_and_of_their_commands_the_program_only(home: Household) -> None:
    assert home.run("list").stderr == "no sandbox is running\n"
    assert listed(home) == []
    with sandbox(home, "--provider", "codex") as one, sandbox(home) as other:
        first, second = listed(home)
        assert (first["id"], first["command"], first["workspace"]) == (one.id, "run bash", home.workspace)
        assert (first["providers"], second["providers"]) == ({"codex": "ready"}, {})
        with open(f"/proc/{first['pid']}/cmdline") as file:
            assert "bwrap" in file.read()
        shown = home.run("ls").stdout
        assert [line.split()[0] for line in shown.splitlines()] == ["ID", one.id, other.id]
        assert "echo ready" not in shown
        completed = subprocess.run(
            [command()],
            env={**home.environment, "_IMMURE_COMPLETE": "bash_complete", "COMP_WORDS": "immure detach codex ", "COMP_CWORD": "3"},
            capture_output=True,
            text=True,
        ).stdout
        assert all(each.id in completed for each in (one, other))


# ---------------------------------------------------------------- detach and attach


def test_detached_placeholders_are_dead_and_an_attachment_makes_new_ones(fake: FakeOpenAI, home: Household) -> None:
    with sandbox(home, "--provider", "codex") as one:
        assert one.ask()[0] == 200
        old = one.placeholder()
        assert done(home, "detach", "codex", one.id[3:7]) == f"codex is detached from {one.id}.\n"
        status, said = one.ask()
        assert status == 403
        assert "the provider 'codex' was detached from this sandbox" in said
        assert f"immure attach codex {one.id}" in said
        assert len(bearers(fake)) == 1
        assert f"codex is attached to {one.id}" in done(home, "attach", "codex", one.id)
        assert one.placeholder() != old
        assert one.ask()[0] == 200
        assert len(set(bearers(fake))) == 1
        events = [json.loads(line) for line in home.run("logs", "--json", "--sandbox", one.id[3:]).stdout.splitlines()]
        assert [event["activity_name"] for event in events if event["class_uid"] == 3002] == ["detached", "attached"]
    assert_no_leak(fake, home)


def test_detach_from_all_spares_nobody_and_no_other_rule(fake: FakeOpenAI, home: Household) -> None:
    with (
        sandbox(home, "--provider", "codex", "--allow", "chatgpt.com") as one,
        sandbox(home, "--provider", "codex") as other,
        sandbox(home),
    ):
        assert {one.ask()[0], other.ask()[0]} == {200}
        said = done(home, "detach", "codex", "--all")
        assert sorted(said.split()) == sorted(f"codex is detached from {one.id}. codex is detached from {other.id}.".split())
        status, answer = one.ask()
        assert (status, "credential_refused" in answer, "was detached" in answer) == (403, True, True)
        assert other.ask()[0] == 403
        assert len(bearers(fake)) == 2
        assert done(home, "detach", "codex", "--all") == "no sandbox has codex\n"


def test_a_provider_is_attached_to_a_sandbox_that_was_started_without(fake: FakeOpenAI, home: Household) -> None:
    program = Path(home.directory) / "bin"
    with sandbox(home, "--ro", str(program)) as one:
        assert one.ask(f"{program}/codex")[0] == 403
        done(home, "attach", "codex", one.id)
        assert one.ask(f"{program}/codex")[0] == 200
        status, said = one.ask("curl")
        assert (status, "denied_by_policy" in said) == (403, True), "another program"
        assert home.run("attach", "codex", one.id).returncode == 2, "it is attached already"
    assert bearers(fake) == [fake.account.describe(fake.account.access_token)]


def test_without_the_agents_program_inside_nothing_is_attached_and_that_is_said(home: Household) -> None:
    with sandbox(home) as one:
        result = home.run("attach", "codex", one.id)
        assert result.returncode == 2
        assert f"{home.directory}/bin/codex is not visible in that sandbox [provider.invisible]" in result.stderr
        assert "immure run --provider codex" in result.stderr
        assert not list(Path(home.immure_home, "state/sandboxes", one.id, "agent-home").iterdir())


# what is typed, and the code of the error
MISTAKES = [
    (("detach", "codex", "nobody"), "sandbox.unknown"),
    (("attach", "codex", "nobody"), "sandbox.unknown"),
    (("detach", "codex"), "usage"),
    (("detach", "codex", "x", "--all"), "usage"),
    (("detach", "other", "x"), "usage"),
    (("attach", "codex"), "usage"),
]


@pytest.mark.parametrize("running", [False, True], ids=["no broker", "a broker"])
def test_mistakes_are_told(home: Household, running: bool) -> None:
    done(home, "stop")
    if running:
        done(home, "run", "--", "true")
    for words, code in MISTAKES:
        result = home.run(*words)
        assert (result.returncode, f"[{code}]" in result.stderr, "hint: " in result.stderr) == (2, True, True), (words, result.stderr)
    with sandbox(home) as one:
        result = home.run("detach", "codex", one.id)
        assert (result.returncode, f"codex is not attached to {one.id} [provider.detached]" in result.stderr) == (2, True)
        assert f"running: {one.id}" in home.run("detach", "codex", "nobody").stderr


# ---------------------------------------------------------------- logins


def test_a_login_that_is_removed_is_refused_and_one_that_is_made_again_is_used_behind_the_same_placeholder(
    fake: FakeOpenAI, home: Household
) -> None:
    with sandbox(home, "--provider", "codex") as one, sandbox(home, "--provider", "codex") as other:
        assert one.ask()[0] == 200
        placeholder = one.placeholder()
        done(home, "logout")
        for each in one, other:
            status, said = each.ask()
            assert (status, "is no longer in the vault" in said, "immure login codex" in said) == (403, True, True)
        assert [each["providers"] for each in listed(home)] == [{"codex": "removed"}] * 2
        assert "codex (login removed)" in home.run("list").stdout
        assert len(bearers(fake)) == 1
        fake.account.sign_in()
        write_login(home, fake.account)
        done(home, "login", "codex", "--import")
        for each in one, other:
            assert each.ask()[0] == 200
        assert one.placeholder() == placeholder
        assert bearers(fake)[1:] == [fake.account.describe(fake.account.access_token)] * 2


def test_a_login_to_another_account_needs_to_be_attached_again(fake: FakeOpenAI, home: Household) -> None:
    own, another = fake.account, Account()
    try:
        with sandbox(home, "--provider", "codex") as one:
            assert one.ask()[0] == 200
            write_login(home, another)
            done(home, "login", "codex", "--import")
            status, said = one.ask()
            assert (status, "another account" in said, f"immure attach codex {one.id}" in said) == (403, True, True)
            done(home, "attach", "codex", one.id)
            fake.account = another
            assert one.ask()[0] == 200
    finally:
        fake.account = own
    assert {one.bearer for one in fake.record.all(host="chatgpt.com")} == {own.access_token, another.access_token}


KILLED = """
import os, signal, sys
from immure import client
from immure.cli.application import main
client.ask = lambda do, **fields: os.kill(os.getpid(), signal.SIGKILL)
main(["logout"])
"""


def test_a_command_that_is_killed_before_it_has_told_anybody_is_noticed(fake: FakeOpenAI, home: Household) -> None:
    with sandbox(home, "--provider", "codex") as one:
        assert one.ask()[0] == 200
        killed = subprocess.run([sys.executable, "-c", KILLED], env=home.environment, capture_output=True)
        assert killed.returncode == -signal.SIGKILL
        while listed(home)[0]["providers"] == {"codex": "ready"}:
            pass  # asking takes long enough to be no load
        assert one.ask()[0] == 403


# ---------------------------------------------------------------- a gate that does not answer


def provision(ended: list[ImmureError]) -> Provision:
    return Provision(None, "sb-1", lambda _: None, ended.append, patience=0.01)  # type: ignore[arg-type]


def test_a_request_that_was_on_its_way_when_its_provider_went_is_refused() -> None:
    async def scene() -> None:
        status, _, body = await provision([]).answer({"credential": "codex", "method": "POST", "path": "/oauth/token", "body": ""})
        assert (status, b"detached" in body) == (403, True)

    asyncio.run(scene())


def plan(directory: Path) -> Plan:
    """Of a sandbox with a provider, as far as its provision goes by it."""
    around = Surroundings(
        environment={},
        workspace=str(directory),
        paths=Paths({"IMMURE_HOME": str(directory)}),
        settings=Settings(),
        trust=Trust(f"{directory}/trust.db"),
        logins=lambda _: Logins(None, (), lambda _: None),  # type: ignore[arg-type]
        say=lambda _: None,
        sandbox="sb-1",
    )
    spec = Spec(command=("true",), environment={}, directory="/", terminal=False)
    host = System(mounts=(), links=(), copied={}, bundles=(), roots=b"")
    return Plan(
        spec=spec, needed=(), home=f"{directory}/home", limits=Limits(), system=host, around=around, rules=(), attachments=(attachment(),)
    )


def test_a_gate_that_does_not_take_what_it_is_told_ends_its_sandbox(tmp_path: Path) -> None:
    ended: list[ImmureError] = []

    async def scene() -> None:
        ours, theirs = channel.pair()
        made = provision(ended)
        made.begin(plan(tmp_path))
        gate = GateLine(ours, made.answer, ended.append)
        made.serve(gate, theirs.fileno(), [])
        await made.detach("codex")
        gate.close()
        theirs.close()

    asyncio.run(scene())
    assert [failure.code for failure in ended] == ["gate.late"]


def test_a_gate_knows_of_a_task_before_the_agent_does(fake: FakeOpenAI, tmp_path: Path) -> None:
    box = AgentSandbox(fake, Vault(str(tmp_path / "vault"), bytes(32)))
    attached = replace(attachment(), login=box.login, agent=box.endpoint, placeholders={"agent_identity": RUNTIME, "account_id": ACCOUNT})
    simple = plan(tmp_path)
    whole = replace(simple, attachments=(attached,), around=replace(simple.around, logins=lambda _: box.logins))
    command = {"verb": "run", "options": {}, "command": ("true",), "directory": "/", "environment": {}}
    request = Request(**command, terminal=None, is_typed=False, umask=0o22)
    call = {"credential": "codex", "method": "POST", "path": task_path(RUNTIME), "body": box.request().decode()}
    told: list[str] = []

    def play_gate(line: socket.socket) -> None:
        channel.receive(line)
        received = channel.receive(line)
        assert received
        assert received[0] == {"do": "grants"}
        with open(received[1][0], "rb") as file:
            grants = Grants.decode(file.read())
        told.extend(Signatory.of(one.secret).task_id for one in grants.credentials if one.is_signed)
        channel.send(line, {"did": "granted"})

    async def scene() -> tuple[int, list[str]]:
        ours, theirs = channel.pair()
        theirs.settimeout(10)
        made = Provision(SimpleNamespace(launcher=None), "sb-1", lambda _: None, lambda _: None)  # type: ignore[arg-type]
        made.begin(whole)
        made.prepare(whole, request)
        gate = GateLine(ours, made.answer, lambda _: None)
        made.serve(gate, theirs.fileno(), [])
        playing = asyncio.create_task(asyncio.to_thread(play_gate, theirs))
        status, _, _ = await made.answer(call)
        known = list(told)
        await playing
        gate.close()
        theirs.close()
        return status, known

    assert asyncio.run(scene()) == (200, [fake.account.agent.tasks[-1]])
