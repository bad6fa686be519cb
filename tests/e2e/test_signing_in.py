"""Signing in by command line, and what the real Codex does inside with such a login. The host has no Codex login of its own."""

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from real_codex import CODEX, Immure

from immure.testing.household import Household, command
from immure.testing.leak import Needles
from immure.testing.openai.scenario import Expire, Say, Shell
from immure.testing.openai.service import FakeOpenAI
from immure.testing.survey import Survey

RESPONSES = "/backend-api/codex/responses"


@pytest.fixture(scope="module")
def household(fake: FakeOpenAI) -> Iterator[Household]:
    with Household(fake, codex=str(CODEX)) as made:
        os.unlink(f"{made.codex_home}/auth.json")
        yield made


@pytest.fixture(autouse=True)
def signed_out(home: Household) -> Iterator[None]:
    yield
    home.run("logout")


def by_device_code(fake: FakeOpenAI, home: Household) -> None:
    with home.started("login", "codex", "--device-auth") as program:
        assert program.stderr
        code = next(found[1].decode() for line in program.stderr if (found := re.search(rb"enter this code .*: (\S+)$", line.rstrip())))
        fake.desk.approve(code)
        _, talk = program.communicate(timeout=30)
        assert program.returncode == 0, talk


def agree(fake: FakeOpenAI, url: str) -> str:
    """As a browser whose owner agrees: the address that the issuer's page leads back to."""
    parts = urlsplit(url)
    there = http.client.HTTPConnection(parts.netloc)
    raw = socket.create_connection((fake.host, fake.port), timeout=10)
    there.sock = ssl.create_default_context(cadata=fake.authority.pem).wrap_socket(raw, server_hostname=parts.netloc)
    there.request("GET", f"{parts.path}?{parts.query}")
    location: str = there.getresponse().headers["Location"]
    there.close()
    return location


def browse(fake: FakeOpenAI, url: str) -> None:
    """As a browser on this machine, which then goes there."""
    location = urlsplit(agree(fake, url))
    back = http.client.HTTPConnection(location.netloc, timeout=10)
    back.request("GET", f"{location.path}?{location.query}")
    assert back.getresponse().status == 200
    back.close()


class Terminal:
    """`immure ARGUMENTS` in a terminal of its own; what it shows is read until a text appears, or to the end."""

    def __init__(self, home: Household, *arguments: str) -> None:
        self._side, theirs = os.openpty()
        environment = home.environment | {"DISPLAY": "", "WAYLAND_DISPLAY": ""}
        words = ["setsid", "--ctty", command(), *arguments]
        self._program = subprocess.Popen(words, cwd=home.workspace, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.shown = b""

    def read_until(self, text: str) -> bytes:
        while text.encode() not in self.shown:
            self.shown += os.read(self._side, 65536)
        return self.shown

    def enter(self, line: str) -> None:
        os.write(self._side, line.encode() + b"\r")

    def status(self) -> int:
        try:
            while data := os.read(self._side, 65536):
                self.shown += data
        except OSError:
            pass  # EIO: nobody holds the other side any more
        os.close(self._side)
        return self._program.wait(30)


def bearers(fake: FakeOpenAI) -> set[str]:
    return {fake.account.describe(one.bearer) for one in fake.record.all(path=RESPONSES)}


def states(home: Household) -> list[dict[str, object]]:
    result = home.run("login", "status", "--json")
    assert result.returncode == 0, result.stderr
    found: list[dict[str, object]] = json.loads(result.stdout)
    return found


def assert_no_leak(fake: FakeOpenAI, home: Household, *results: subprocess.CompletedProcess[str]) -> None:
    survey = Survey(needles=Needles(fake.account.secrets()))
    survey.tree(home.workspace)
    survey.tree(home.immure_home)
    survey.tree(home.codex_home)
    for result in results:
        survey.text((result.stdout + result.stderr).encode(), "output")
    assert (survey.leaks, survey.unreadable) == ([], [])


def test_a_turn_with_a_login_by_device_code_that_is_refreshed_in_the_middle(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    by_device_code(fake, home)
    first = fake.account.describe(fake.account.access_token)
    result = immure(Shell("cat $CODEX_HOME/auth.json; env"), Expire(), Say("Done."))
    assert (result.returncode, result.stdout) == (0, "Done.\n"), result.stderr
    assert bearers(fake) == {first, fake.account.describe(fake.account.access_token)}
    assert_no_leak(fake, home, result)
    assert not os.path.exists(f"{home.codex_home}/auth.json")
    (state,) = states(home)
    assert (state["login"], state["kind"], state["source"], state["used"]) == ("codex subscription", "chatgpt", "immure", True)


def test_a_turn_with_a_login_by_browser(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    with home.started("login", "codex") as program:
        assert program.stderr
        for line in program.stderr:
            if found := re.search(rb"https://\S+", line):
                browse(fake, found[0].decode())
                break
        _, talk = program.communicate(timeout=30)
        assert program.returncode == 0, talk
    result = immure(Say("Done."))
    assert (result.returncode, result.stdout) == (0, "Done.\n"), result.stderr
    assert bearers(fake) == {fake.account.describe(fake.account.access_token)}
    assert_no_leak(fake, home, result)


def test_a_turn_with_a_personal_access_token(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    signed_in = home.run("login", "codex", "--with-access-token", text=fake.account.personal_access_token + "\n")
    assert signed_in.returncode == 0, signed_in.stderr
    asked = len(fake.record.all(host="auth.openai.com"))
    result = immure(Shell("cat $CODEX_HOME/auth.json; env"), Say("Done."))
    assert (result.returncode, result.stdout) == (0, "Done.\n"), result.stderr
    assert '"at-immure-' in result.stderr.replace("\\", "")
    assert bearers(fake) == {"personal access token"}
    assert {one.header("chatgpt-account-id") for one in fake.record.all(host="chatgpt.com")} == {fake.account.account_id}
    assert len(fake.record.all(host="auth.openai.com")) == asked, "whose it is was answered here"
    assert_no_leak(fake, home, signed_in, result)
    assert [state["kind"] for state in states(home)] == ["personal_access_token"]


def test_a_turn_with_an_api_key_of_immures_own(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    signed_in = home.run("login", "codex", "--with-api-key", text=fake.account.api_key)
    assert signed_in.returncode == 0, signed_in.stderr
    assert "billed" in signed_in.stderr
    result = immure(Say("Done."))
    assert (result.returncode, result.stdout) == (0, "Done.\n"), result.stderr
    assert "its use is billed" in result.stderr
    assert {fake.account.describe(one.bearer) for one in fake.record.all(host="api.openai.com")} == {"API key"}
    assert_no_leak(fake, home, signed_in, result)


def test_a_browser_elsewhere_and_the_address_pasted(fake: FakeOpenAI, home: Household) -> None:
    screen = Terminal(home, "login", "codex")
    found = re.search(rb"https://\S+", screen.read_until("paste here"))
    assert found
    screen.enter("https://example.com/?code=1&state=2")
    screen.read_until("That is not the address")
    screen.enter(agree(fake, found[0].decode()))
    assert screen.status() == 0, screen.shown
    assert f"({fake.account.email}, plan pro)".encode() in screen.shown
    assert [state["login"] for state in states(home)] == ["codex subscription"]


def test_a_key_that_is_pasted_is_not_shown(fake: FakeOpenAI, home: Household) -> None:
    screen = Terminal(home, "login", "codex", "--with-api-key")
    screen.read_until("Paste the API key")
    screen.enter(fake.account.api_key)
    assert screen.status() == 0, screen.shown
    assert fake.account.api_key.encode() not in screen.shown
    assert [state["login"] for state in states(home)] == ["codex API key"]


def test_signing_out_revokes_and_the_next_start_says_how_to_sign_in(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    by_device_code(fake, home)
    token = fake.account.refresh_token
    result = home.run("logout")
    assert (result.returncode, result.stderr) == (0, "Signed out: the Codex subscription of `immure login`.\n")
    assert fake.account.revoked[-1] == token
    assert states(home) == []
    refused = immure(Say("Never."))
    assert refused.returncode == 2
    assert "immure login codex" in refused.stderr


def test_a_taken_port_is_said(home: Household) -> None:
    with socket.create_server(("127.0.0.1", 1455)):
        result = home.run("login", "codex")
    assert result.returncode == 2
    assert "port 1455" in result.stderr
    assert "--device-auth" in result.stderr
