"""The real Codex signs in inside its sandbox, unchanged, in each of its ways; the host has no Codex login of its own to begin with."""

import http.client
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from real_codex import CODEX, Immure, assert_no_leak
from test_signing_in import Terminal, agree, bearers, states
from test_turn import codex_pid, events

from immure.rewrite import is_placeholder
from immure.testing.household import Household
from immure.testing.leak import Needles
from immure.testing.openai.scenario import Hold, Say, Script
from immure.testing.openai.service import FakeOpenAI
from immure.testing.survey import Survey

DEVICE = "codex login --device-auth"
TURN = "codex exec --skip-git-repo-check go"
STATUS = "codex login status 2>&1"
FILE = "cat $CODEX_HOME/auth.json"


@pytest.fixture(scope="module")
def household(fake: FakeOpenAI) -> Iterator[Household]:
    with Household(fake, codex=str(CODEX)) as made:
        os.unlink(f"{made.codex_home}/auth.json")
        yield made


@pytest.fixture(autouse=True)
def signed_out(home: Household) -> Iterator[None]:
    yield
    home.run("logout")


@pytest.fixture
def always(home: Household) -> Iterator[None]:
    path = f"{home.immure_home}/config/config.toml"
    with open(path) as file:
        before = file.read()
    with open(path, "w") as file:
        file.write(before + '[codex]\nsign_in_inside = "always"\n')
    yield
    with open(path, "w") as file:
        file.write(before)


class Watched:
    """A command that runs while its two outputs are read; `person` is called with each line of either."""

    def __init__(self, person: "Person") -> None:
        self.stdout, self.stderr = "", ""
        self.status = -1
        self.person = person


class Person:
    """Who does what the screen says: enters a device code, visits an address, answers a question on the host."""

    def __init__(self, fake: FakeOpenAI, home: Household, *answer: str) -> None:
        self._fake = fake
        self._home = home
        self._answer = answer
        self.codes: list[str] = []
        self.pages: list[bytes] = []

    def reads(self, line: str) -> None:
        if found := re.search(r"FAKE-\w+", line):
            self.codes.append(found[0])
            self._fake.desk.approve(found[0])
        elif found := re.search(r"https://auth\.openai\.com/oauth/authorize\S+", line):
            self.pages.append(self._browse(found[0]))
        elif found := re.search(r"asks to sign in to Codex.*immure login approve (sb-\w+)", line):
            assert self._home.run("login", *self._answer, found[1]).returncode == 0

    def _browse(self, url: str) -> bytes:
        location = urlsplit(agree(self._fake, url))
        back = http.client.HTTPConnection(location.netloc, timeout=20)
        back.request("GET", f"{location.path}?{location.query}")
        page = back.getresponse().read()
        back.close()
        return page


@contextmanager
def watched(home: Household, person: Person, *arguments: str) -> Iterator[Watched]:
    """Run `immure ARGUMENTS` to its end, under the eyes of a person; within the block it still runs."""
    seen = Watched(person)
    with home.started(*arguments) as program:
        assert program.stdout
        assert program.stderr

        def read(name: str) -> None:
            for line in getattr(program, name):
                text = line.decode(errors="replace")
                setattr(seen, name, getattr(seen, name) + text)
                person.reads(text)

        readers = [threading.Thread(target=read, args=(name,)) for name in ("stdout", "stderr")]
        for reader in readers:
            reader.start()
        yield seen
        seen.status = program.wait(60)
        for reader in readers:
            reader.join()


def see(home: Household, person: Person, *arguments: str) -> Watched:
    with watched(home, person, *arguments) as seen:
        pass
    return seen


def shell(home: Household, person: Person, *commands: str) -> Watched:
    return see(home, person, "run", "--provider", "codex", "--", "sh", "-c", "; ".join(commands))


def assert_nothing_real_inside(fake: FakeOpenAI, home: Household, *seen: Watched) -> None:
    """Nothing real was shown inside, and nothing that is good inside only ever reached the issuer."""
    assert_no_leak(fake, home, *(text for one in seen for text in (one.stdout, one.stderr)))
    asked = [one.target.encode() + one.body for one in fake.record.all(host="auth.openai.com")]
    assert [request for request in asked if b"immure-" in request] == []
    for one in seen:
        assert not re.search(r"fake-(code|device)", one.stdout + one.stderr)


def assert_a_turn_works(fake: FakeOpenAI, immure: Immure, whose: str) -> None:
    result = immure(Say("Done."))
    assert (result.returncode, result.stdout) == (0, "Done.\n"), result.stderr
    assert bearers(fake) == {whose}


def current(fake: FakeOpenAI) -> str:
    return fake.account.describe(fake.account.access_token)


def test_by_device_code_typed_on_the_host(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    person = Person(fake, home)
    seen = see(home, person, "codex", "login", "--device-auth")
    assert (seen.status, person.codes) == (0, fake.desk.user_codes[-1:]), seen.stderr
    assert "Successfully logged in" in seen.stderr
    assert [(state["login"], state["source"]) for state in states(home)] == [("codex subscription", "immure")]
    (signed_in,) = [one for one in events(home) if one.get("activity_name") == "signed-in"][-1:]
    assert signed_in["metadata"]["correlation_uid"].startswith("sb-")
    assert_a_turn_works(fake, immure, current(fake))
    assert_nothing_real_inside(fake, home, seen)


def test_by_browser_with_the_api_key_that_comes_along(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    person = Person(fake, home)
    seen = see(home, person, "codex", "login")
    assert seen.status == 0, seen.stderr
    assert "Successfully logged in" in seen.stderr
    (page,) = person.pages
    assert b"You are signed in" in page
    assert b"id_token" not in page
    grants = [one.body for one in fake.record.all(path="/oauth/token")]
    assert [b"authorization_code" in grants[0], b"token-exchange" in grants[1]] == [True, True]
    assert_a_turn_works(fake, immure, current(fake))
    assert_nothing_real_inside(fake, home, seen)


def test_a_browser_in_a_shell_inside_comes_back_by_the_users_word(fake: FakeOpenAI, home: Household, always: None) -> None:
    fake.script = Script(Say("Done."))
    person = Person(fake, home)
    ready, go = f"{home.workspace}/ready", f"{home.workspace}/go"
    os.mkfifo(ready)
    os.mkfifo(go)
    commands = f"echo > ready; read word < go; codex login; {FILE}; {TURN}"
    with watched(home, person, "run", "--provider", "codex", "--", "sh", "-c", commands) as seen:
        with open(ready) as inside:
            inside.read()
        (sandbox,) = os.listdir(f"{home.immure_home}/state/sandboxes")
        assert home.run("login", "approve", sandbox[:5], "--browser").returncode == 0
        with open(go, "w") as inside:
            inside.write("go\n")
    assert (seen.status, seen.stdout.endswith("Done.\n")) == (0, True), seen.stderr
    assert '"OPENAI_API_KEY": "sk-immure-' in seen.stdout
    assert bearers(fake) == {current(fake)}
    assert_nothing_real_inside(fake, home, seen)


def test_a_turn_works_in_the_sandbox_that_has_signed_in_and_nothing_real_is_in_it(fake: FakeOpenAI, home: Household, always: None) -> None:
    fake.script = Script(Hold(), Say("Done."))
    person = Person(fake, home)
    commands = f"{STATUS}; {DEVICE}; {STATUS}; {FILE}; {TURN}"
    since = time.time() - 1
    with watched(home, person, "run", "--provider", "codex", "--", "sh", "-c", commands) as seen:
        assert fake.holding.wait(30)
        survey = Survey(needles=Needles(fake.account.secrets()), since=since)
        survey.sandbox(codex_pid(home))
        fake.release()
    assert (survey.leaks, survey.unreadable) == ([], [])
    assert survey.size > 50_000_000
    assert (seen.status, seen.stdout.endswith("Done.\n")) == (0, True), seen.stderr
    assert re.findall(r"^(?:Not l|L)ogged in.*$", seen.stdout, re.MULTILINE) == ["Not logged in", "Logged in using ChatGPT"]
    assert '"access_token": "immure-at-' in seen.stdout
    assert bearers(fake) == {current(fake)}
    assert_nothing_real_inside(fake, home, seen)


def test_a_sign_in_that_begins_inside_waits_for_the_user(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    assert see(home, Person(fake, home), "codex", "login", "--device-auth").status == 0
    first = current(fake)
    fake.script = Script(Say("Done."))
    seen = shell(home, Person(fake, home, "approve"), DEVICE, FILE, TURN)
    assert (seen.status, seen.stdout.endswith("Done.\n")) == (0, True), seen.stderr
    assert "asks to sign in to Codex" in seen.stderr
    assert bearers(fake) == {current(fake)}
    assert first != current(fake)
    assert_a_turn_works(fake, immure, current(fake))
    assert_nothing_real_inside(fake, home, seen)


def test_what_the_user_denies_does_not_happen(fake: FakeOpenAI, home: Household) -> None:
    assert see(home, Person(fake, home), "codex", "login", "--device-auth").status == 0
    before = current(fake)
    seen = shell(home, Person(fake, home, "deny"), DEVICE, f"{DEVICE} && echo again", STATUS)
    assert "Error logging in" in seen.stderr
    assert "again" not in seen.stdout
    assert seen.stdout.endswith("Not logged in\n")
    assert current(fake) == before
    assert [one["activity_name"] for one in events(home) if one["class_uid"] == 3002][-4:] == [
        "revoked-locally",
        "sign-in-asked",
        "sign-in-refused",
        "sign-in-refused",
    ]


def test_an_api_key_on_standard_input_stays_outside(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    signed_in = home.run("codex", "login", "--with-api-key", text=fake.account.api_key + "\n")
    assert signed_in.returncode == 0, signed_in.stderr
    assert "Its use is billed." in signed_in.stderr
    assert [state["login"] for state in states(home)] == ["codex API key"]
    result = immure(Say("Done."))
    assert (result.returncode, result.stdout) == (0, "Done.\n"), result.stderr
    assert {fake.account.describe(one.bearer) for one in fake.record.all(host="api.openai.com")} == {"API key"}
    assert_no_leak(fake, home, signed_in.stderr, result.stderr)


def test_an_access_token_on_standard_input_stays_outside(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    signed_in = home.run("codex", "login", "--with-access-token", text=fake.account.personal_access_token)
    assert signed_in.returncode == 0, signed_in.stderr
    assert [state["kind"] for state in states(home)] == ["personal_access_token"]
    assert_a_turn_works(fake, immure, "personal access token")
    assert_no_leak(fake, home, signed_in.stderr)


@pytest.mark.parametrize(("option", "shape"), [("--with-api-key", "sk-immure-"), ("--with-access-token", "at-immure-")])
def test_what_codex_reads_is_a_placeholder(
    fake: FakeOpenAI, home: Household, monkeypatch: pytest.MonkeyPatch, option: str, shape: str
) -> None:
    """A shell stands in for Codex, which does not say what it has read: its arguments make it run a script in the workspace."""
    directory = Path(home.directory) / "stand-in"
    directory.mkdir(exist_ok=True)
    shutil.copy("/bin/bash", directory / "codex")
    monkeypatch.setitem(home.environment, "PATH", f"{directory}:{home.environment['PATH']}")
    (Path(home.workspace) / "login").write_text("cat > read; ls $CODEX_HOME > files\n")
    given = fake.account.api_key if option == "--with-api-key" else fake.account.personal_access_token
    assert home.run("codex", "login", option, text=given + "\n").returncode == 0
    read = (Path(home.workspace) / "read").read_text()
    assert (read.startswith(shape), is_placeholder(read)) == (True, True)
    assert "auth.json" not in (Path(home.workspace) / "files").read_text().split()
    assert_no_leak(fake, home)


@pytest.mark.parametrize("text", ["", "short", "two words of it\n"])
def test_what_is_no_key_is_refused_before_anything_is_made(home: Household, text: str) -> None:
    refused = home.run("codex", "login", "--with-api-key", text=text)
    assert refused.returncode == 2
    assert "[login.malformed]" in refused.stderr
    assert states(home) == []


def test_a_key_is_not_typed(home: Household) -> None:
    screen = Terminal(home, "codex", "login", "--with-api-key")
    assert screen.status() == 2
    assert b"[login.typed]" in screen.shown


def test_signing_out_inside_ends_the_login_of_this_sandbox_alone(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    assert see(home, Person(fake, home), "codex", "login", "--device-auth").status == 0
    revoked = list(fake.account.revoked)
    keep, back = "cp $CODEX_HOME/auth.json kept", "cp kept $CODEX_HOME/auth.json"
    fake.script = Script(Say("Done."))
    seen = shell(home, Person(fake, home), TURN, keep, "codex logout", STATUS, back, STATUS, f"timeout 2 {TURN}")
    assert seen.stdout == "Done.\nNot logged in\nLogged in using ChatGPT\n"
    denied = [one for one in events(home) if one.get("action") == "Denied"]
    assert denied
    assert {one["dst_endpoint"]["hostname"] for one in denied} == {"chatgpt.com"}
    assert {"signed out" in one["status_detail"] for one in denied} == {True}
    assert fake.account.revoked == revoked
    assert [state["state"] for state in states(home)] == ["signed in"]
    assert_a_turn_works(fake, immure, current(fake))


def test_codex_says_who_is_signed_in_and_signs_out_without_a_login_too(home: Household) -> None:
    for verb, status, said in (("login status", 1, "Not logged in\n"), ("logout", 0, "Not logged in\n")):
        result = home.run("codex", *verb.split())
        assert (result.returncode, result.stderr.endswith(said)) == (status, True), result.stderr


@pytest.mark.parametrize("arguments", [("codex", "exec", "go"), ("run", "--provider", "codex", "--", "true")])
def test_without_a_login_and_without_leave_nothing_else_starts(home: Household, arguments: tuple[str, ...]) -> None:
    refused = home.run(*arguments)
    assert refused.returncode == 2
    assert "[login.missing]" in refused.stderr


def test_an_answer_to_a_sandbox_that_cannot_sign_in(home: Household) -> None:
    ready, go = f"{home.workspace}/ready", f"{home.workspace}/go"
    os.mkfifo(ready)
    os.mkfifo(go)
    with home.started("run", "--", "sh", "-c", "echo > ready; read word < go") as program:
        with open(ready) as inside:
            inside.read()
        (sandbox,) = os.listdir(f"{home.immure_home}/state/sandboxes")
        refused = home.run("login", "approve", sandbox)
        with open(go, "w") as inside:
            inside.write("go\n")
        assert program.wait(20) == 0
    assert refused.returncode == 2
    assert "[sandbox.no-provider]" in refused.stderr


def test_an_answer_to_a_sandbox_that_is_not_there(home: Household) -> None:
    for verb in ("approve", "deny"):
        refused = home.run("login", verb, "sb-none")
        assert refused.returncode == 2
        assert "[sandbox.unknown]" in refused.stderr
        assert json.dumps("sb-none").replace('"', "'") in refused.stderr
