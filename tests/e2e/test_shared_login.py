"""One login, two holders: the user's own Codex outside and the one inside take turns, and neither costs the other its login."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from host_codex import HostCodex
from real_codex import EXEC, Immure

from immure.testing.household import Household
from immure.testing.openai.scenario import Expire, Hold, Say, Script, Shell
from immure.testing.openai.service import FakeOpenAI

OUTSIDE = ("exec", "--skip-git-repo-check", "go on")


@pytest.fixture
def host(home: Household, fake: FakeOpenAI) -> Iterator[HostCodex]:
    with HostCodex(home, fake) as running:
        yield running


def file_tokens(home: Household) -> tuple[str, str]:
    with open(f"{home.codex_home}/auth.json") as file:
        tokens = json.load(file)["tokens"]
    return tokens["access_token"], tokens["refresh_token"]


def grants(fake: FakeOpenAI) -> list[str]:
    """The refresh tokens that were spent, in words."""
    return [fake.account.describe(json.loads(one.body)["refresh_token"]) for one in fake.record.all(path="/oauth/token")]


def test_the_hosts_codex_and_a_sandbox_renew_one_login_in_turn(fake: FakeOpenAI, home: Household, host: HostCodex, immure: Immure) -> None:
    for turn in range(2):
        inside = immure(Expire(), Say(f"Inside {turn}."))
        assert (inside.returncode, inside.stdout) == (0, f"Inside {turn}.\n")
        assert file_tokens(home) == (fake.account.access_token, fake.account.refresh_token)
        # What was renewed inside is good outside as it is …
        fake.script = Script(Say("Outside."))
        outside = host.run(*OUTSIDE)
        assert (outside.returncode, outside.stdout) == (0, "Outside.\n"), outside.stderr
        assert len(grants(fake)) == 2 * turn + 1
        # … and what is renewed outside is good inside.
        fake.script = Script(Expire(), Say("Renewed outside."))
        renewed = host.run(*OUTSIDE)
        assert (renewed.returncode, renewed.stdout) == (0, "Renewed outside.\n"), renewed.stderr
        assert file_tokens(home) == (fake.account.access_token, fake.account.refresh_token)
        again = immure(Say("Inside again."))
        assert (again.returncode, again.stdout) == (0, "Inside again.\n")
        assert len(grants(fake)) == 2 * turn + 2
    assert len(set(grants(fake))) == 4, "each refresh token was used once"


@pytest.mark.parametrize("count", [2, 10])
def test_sandboxes_that_find_the_token_expired_in_the_same_second_cost_one_renewal(count: int, fake: FakeOpenAI, home: Household) -> None:
    assert home.run("codex", "--version").returncode == 0, "whose login is in the vault, and good until told otherwise"
    fake.account.expire()
    fake.script = Script(*[Say("Hello.")] * count)
    with ExitStack() as stack:
        programs = [stack.enter_context(home.started(*EXEC, "go on")) for _ in range(count)]
        for program in programs:
            output, talk = program.communicate(timeout=90)
            assert (program.returncode, output) == (0, b"Hello.\n"), talk
    assert len(grants(fake)) == 1
    (refused,) = {one.bearer for one in fake.record.all(host="chatgpt.com")} - {fake.account.access_token}
    assert fake.account.describe(refused).startswith("access token")


def test_a_renewal_outside_while_a_sandbox_runs_is_taken_over(fake: FakeOpenAI, home: Household, host: HostCodex) -> None:
    fake.script = Script(Hold(), Shell("true"))
    with home.started(*EXEC, "go on") as program:
        assert fake.holding.wait(30)
        fake.script = Script(Expire(), Say("Outside."))
        assert host.run(*OUTSIDE).stdout == "Outside.\n"
        # The sandbox goes on with the old access token, and is refused; what it is given was renewed by the other.
        fake.script = Script(Say("Inside."))
        fake.release()
        output, talk = program.communicate(timeout=30)
        assert (program.returncode, output) == (0, b"Inside.\n"), talk
    assert len(grants(fake)) == 1


def test_an_import_on_demand_is_the_same_login_and_the_status_says_where_it_comes_from(fake: FakeOpenAI, home: Household) -> None:
    imported = home.run("login", "codex", "--import")
    assert imported.returncode == 0, imported.stderr
    assert f"Signed in: the Codex login of {home.codex_home}.\n" in imported.stderr
    status = home.run("login", "status", "--json")
    (state,) = json.loads(status.stdout)
    assert (state["source"], state["used"], state["state"]) == (f"{home.codex_home}/auth.json", True, "signed in")
    words = home.run("login", "status").stdout
    assert words.startswith(f"* codex {home.codex_home}: ChatGPT subscription; issued ")
    for text in status.stdout, words:
        assert fake.account.email not in text, "who it is goes to a terminal alone"
        assert not any(secret in text for secret in fake.account.secrets().values())
