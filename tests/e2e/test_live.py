"""The real Codex in a sandbox that outlives its turns: what a change on the host means for the next one."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from real_codex import CODEX, assert_no_leak

from immure.testing.household import Household, command
from immure.testing.openai.scenario import Say, Script
from immure.testing.openai.service import FakeOpenAI

# A turn for each line, resumed after the first; what Codex says is ended by a line of its own.
TURNS = """
resume=
while read -r prompt; do
    codex exec $resume --skip-git-repo-check "$prompt" < /dev/null 2>&1
    resume='resume --last'
    echo END
done
"""


@pytest.fixture(scope="module")
def household(fake: FakeOpenAI) -> Iterator[Household]:
    """With an API key, for which Codex repeats what the gate says; refused a ChatGPT token, it says that routing failed, a while later."""
    with Household(fake, codex=str(CODEX), api_key=True) as made:
        yield made


class Shell:
    """A shell in a sandbox, in which Codex is called turn by turn."""

    def __init__(self, home: Household, fake: FakeOpenAI, program: subprocess.Popen[str]) -> None:
        self._home = home
        self._fake = fake
        self._program = program
        self.said = ""

    def turn(self, number: int) -> str:
        self._fake.script = Script(Say(f"Answer {number}."))
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.write(f"question {number}\n")
        self._program.stdin.flush()
        said = ""
        for line in self._program.stdout:
            if line == "END\n":
                break
            said += line
        self.said += said
        return said

    @property
    def id(self) -> str:
        (found,) = json.loads(self._home.run("list", "--json").stdout)
        identifier: str = found["id"]
        return identifier


@contextmanager
def shell(home: Household, fake: FakeOpenAI) -> Iterator[Shell]:
    with subprocess.Popen(
        [command(), "run", "--provider", "codex", "--", "bash", "-c", TURNS],
        cwd=home.workspace,
        env=home.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as program:
        try:
            yield Shell(home, fake, program)
        finally:
            program.kill()


def bearers(fake: FakeOpenAI) -> set[str]:
    return {one.bearer for one in fake.record.all(host="api.openai.com")}


def test_between_two_turns_of_a_conversation_the_key_is_removed_and_another_put_in_its_place(fake: FakeOpenAI, home: Household) -> None:
    first = fake.account.api_key
    with shell(home, fake) as inside:
        assert "Answer 1." in inside.turn(1)
        assert home.run("logout").returncode == 0
        refused = inside.turn(2)
        assert "403 Forbidden" in refused
        assert "is no longer in the vault" in refused
        assert bearers(fake) == {first}
        fake.account.api_key = "sk-proj-fake-another-key-0123456789"
        (Path(home.codex_home) / "auth.json").write_bytes(fake.account.api_key_file())
        assert home.run("login", "codex", "--import").returncode == 0
        assert "Answer 3." in inside.turn(3)
        assert "question 1" in fake.record.all(host="api.openai.com")[-1].body.decode(), "the same conversation"
    assert bearers(fake) == {first, fake.account.api_key}
    assert first not in inside.said
    assert_no_leak(fake, home, inside.said)


def test_a_provider_is_detached_and_attached_between_two_turns(fake: FakeOpenAI, home: Household) -> None:
    with shell(home, fake) as inside:
        assert "Answer 1." in inside.turn(1)
        count = len(fake.record.all())
        assert home.run("detach", "codex", inside.id).returncode == 0
        refused = inside.turn(2)
        assert "the provider 'codex' was detached from this sandbox" in refused
        assert len(fake.record.all()) == count
        assert home.run("attach", "codex", inside.id).returncode == 0
        assert "Answer 3." in inside.turn(3)
    assert_no_leak(fake, home, inside.said)
