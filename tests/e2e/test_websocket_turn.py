"""Turns of the real Codex over its WebSocket: the login opens it, both sides compress, and every frame passes the gate."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_codex import EAR, Immure, assert_no_leak

from immure.testing.household import Household
from immure.testing.openai.scenario import Expire, Say, Shell
from immure.testing.openai.service import FakeOpenAI
from immure.testing.record import Arrival

RESPONSES = "/backend-api/codex/responses"


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(ears=[EAR], websocket=True) as running:
        yield running


def arrivals(fake: FakeOpenAI, method: str) -> list[Arrival]:
    """The requests for responses with a method; MESSAGE for what came over a WebSocket."""
    return [one for one in fake.record.all(host="chatgpt.com", path=RESPONSES) if one.method == method]


@pytest.mark.parametrize("model", [(), ("-m", "gpt-5.5")], ids=["code mode", "function calls"])
def test_a_turn_with_a_tool_call_runs_over_one_websocket(fake: FakeOpenAI, home: Household, immure: Immure, model: tuple[str, ...]) -> None:
    result = immure(Shell("echo made inside > made.txt; cat made.txt"), Say("It is made."), arguments=model)
    assert (result.returncode, result.stdout) == (0, "It is made.\n"), result.stderr
    assert (Path(home.workspace) / "made.txt").read_text() == "made inside\n"
    (upgrade,) = arrivals(fake, "GET")
    assert fake.account.describe(upgrade.bearer) == fake.account.describe(fake.account.access_token)
    assert upgrade.header("chatgpt-account-id") == fake.account.account_id
    assert upgrade.values("sec-websocket-extensions") == ["permessage-deflate; client_max_window_bits"]
    messages = arrivals(fake, "MESSAGE")
    asked = [json.loads(one.body) for one in messages]
    assert [one.get("previous_response_id") for one in asked] == [None, *(f"resp_fake_{one.number}" for one in messages[:-1])]
    assert "made inside" in json.dumps(asked[-1]["input"])
    assert arrivals(fake, "POST") == []
    assert_no_leak(fake, home, result.stdout, result.stderr)


def test_a_token_that_is_refused_at_the_upgrade_is_refreshed_outside(fake: FakeOpenAI, home: Household, immure: Immure) -> None:
    before = fake.account.describe(fake.account.access_token)
    result = immure(Shell("true"), Expire(), Shell("cat $CODEX_HOME/auth.json"), Say("Refreshed."))
    assert (result.returncode, result.stdout) == (0, "Refreshed.\n"), result.stderr
    after = fake.account.describe(fake.account.access_token)
    assert before != after
    seen = [fake.account.describe(one.bearer) for one in arrivals(fake, "GET")]
    assert (seen[0], seen[-1], seen) == (before, after, sorted(seen, key=[before, after].index))
    assert len(fake.record.all(host="auth.openai.com", path="/oauth/token")) == 1
    assert fake.account.describe(arrivals(fake, "MESSAGE")[-1].bearer) == after
    assert arrivals(fake, "POST") == []
    events = [json.loads(line) for line in home.run("logs", "--json").stdout.splitlines()]
    codes = [one["http_response"]["code"] for one in events if one.get("http_request", {}).get("url", {}).get("path") == RESPONSES]
    assert codes[-len(seen) :] == [101, *[401] * (len(seen) - 2), 101]
    assert_no_leak(fake, home, result.stdout, result.stderr)
