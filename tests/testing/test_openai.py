"""The stand-in answers as Codex needs it, knows its own tokens from others, and rotates them as the real issuer does."""

import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import tomllib
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from immure.providers.agent_identity import read, registration, task_path, verify
from immure.providers.oauth import claims
from immure.testing.leak import Needles
from immure.testing.openai.account import Account, RefreshRefused
from immure.testing.openai.scenario import Expire, Hold, Refuse, Say, Script, Shell, Step, events, parse
from immure.testing.openai.service import FakeOpenAI

RESPONSES = "POST chatgpt.com/backend-api/codex/responses"
CHECK = "GET chatgpt.com/backend-api/wham/accounts/check"
TOKEN = "POST auth.openai.com/oauth/token"
WHOAMI = "GET auth.openai.com/api/accounts/v1/user-auth-credential/whoami"


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(ears=["ear.example"]) as running:
        yield running


def ask(fake: FakeOpenAI, request: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Send "METHOD HOST/PATH"; the status and the body, as JSON or as the list of the events of a stream."""
    method, _, url = request.partition(" ")
    host, _, path = url.partition("/")
    context = ssl.create_default_context(cadata=fake.authority.pem)
    connection = http.client.HTTPConnection(host)
    with closing(connection), socket.create_connection((fake.host, fake.port), timeout=10) as raw:
        connection.sock = context.wrap_socket(raw, server_hostname=host)
        connection.request(method, "/" + path, json.dumps(body), {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        text = response.read().decode()
    if response.headers["Content-Type"] == "text/event-stream":
        return response.status, [json.loads(data) for data in re.findall(r"^data: (.*)$", text, re.M)]
    return response.status, json.loads(text) if text.startswith("{") else text


def login(fake: FakeOpenAI) -> dict[str, str]:
    return {"authorization": f"Bearer {fake.account.access_token}", "chatgpt_account_id": fake.account.account_id}


def assertion(fake: FakeOpenAI, *, late: int = 0, **changes: str) -> dict[str, str]:
    """The headers of a request on the agent identity, as Codex signs it, or with something else in it."""
    agent = fake.account.agent
    task = registered(fake)
    made = (datetime.now(UTC) - timedelta(seconds=late)).strftime("%Y-%m-%dT%H:%M:%SZ")
    key = load_der_private_key(b64decode(claims(agent.token)["agent_private_key"]), None)
    assert isinstance(key, Ed25519PrivateKey)
    signature = b64encode(key.sign(f"{agent.runtime_id}:{task}:{made}".encode())).decode()
    content = {"agent_runtime_id": agent.runtime_id, "signature": signature, "task_id": task, "timestamp": made} | changes
    token = urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
    return {"authorization": f"AgentAssertion {token}", "chatgpt_account_id": fake.account.account_id}


def registration_of(fake: FakeOpenAI) -> bytes:
    """What asks for a task, signed now."""
    return registration(read(fake.account.agent.token), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def registered(fake: FakeOpenAI) -> str:
    task = fake.account.agent.register(fake.account.agent.runtime_id, registration_of(fake))
    assert task
    return task


def refresh_grant(token: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": token, "client_id": "app_fake"}


# (request, headers for which the status is given, status)
ANSWERS: list[tuple[str, Callable[[FakeOpenAI], dict[str, str]], int]] = [
    (CHECK, login, 200),
    (CHECK, lambda fake: {}, 401),
    (CHECK, lambda fake: login(fake) | {"authorization": "Bearer immure-at-placeholder"}, 401),
    (CHECK, lambda fake: login(fake) | {"authorization": f"Basic {fake.account.access_token}"}, 401),
    (CHECK, lambda fake: login(fake) | {"chatgpt_account_id": "acct-other"}, 403),
    (CHECK, lambda fake: {"authorization": f"Bearer {fake.account.api_key}"}, 401),
    ("GET chatgpt.com/backend-api/codex/models?client_version=1", login, 200),
    ("GET chatgpt.com/backend-api/wham/settings/user", login, 200),
    ("GET chatgpt.com/backend-api/codex/responses", login, 426),
    ("GET chatgpt.com/unknown", login, 404),
    (RESPONSES, login, 200),
    (RESPONSES, lambda fake: {}, 401),
    ("POST api.openai.com/v1/responses", lambda fake: {"authorization": f"Bearer {fake.account.api_key}"}, 200),
    ("POST api.openai.com/v1/responses", login, 401),
    ("GET api.openai.com/v1/responses", lambda fake: {"authorization": f"Bearer {fake.account.api_key}"}, 426),
    ("GET api.openai.com/v1/models", lambda fake: {"authorization": f"Bearer {fake.account.api_key}"}, 404),
    (CHECK, assertion, 200),
    (CHECK, lambda fake: assertion(fake) | {"chatgpt_account_id": "acct-other"}, 403),
    (CHECK, lambda fake: assertion(fake, late=90), 401),
    (CHECK, lambda fake: assertion(fake, task_id="fake-task-of-another"), 401),
    (CHECK, lambda fake: assertion(fake, task_id=registered(fake)), 401),
    (CHECK, lambda fake: assertion(fake, agent_runtime_id="fake-agent-of-another"), 401),
    (CHECK, lambda fake: assertion(fake, timestamp="2026-11-20T13:33:17Z"), 401),
    (CHECK, lambda fake: assertion(fake, signature="AAAA"), 401),
    (CHECK, lambda fake: login(fake) | {"authorization": "AgentAssertion e30"}, 401),
    ("POST auth.openai.com/api/accounts/v1/agent/fake-agent/task/register", lambda fake: {}, 401),
    ("GET chatgpt.com/backend-api/wham/agent-identities/jwks", lambda fake: {}, 200),
    (WHOAMI, login, 200),
    (WHOAMI, lambda fake: {}, 401),
    ("POST auth.openai.com/oauth/revoke", lambda fake: {}, 200),
    ("POST auth.openai.com/api/accounts/deviceauth/usercode", lambda fake: {}, 200),
    ("POST auth.openai.com/api/accounts/deviceauth/token", lambda fake: {}, 403),
    ("GET auth.openai.com/oauth/authorize?client_id=someone", lambda fake: {}, 400),
    ("GET auth.openai.com/", lambda fake: {}, 404),
    (TOKEN, lambda fake: {}, 400),
    ("GET ear.example/anything", lambda fake: {}, 200),
    ("GET ear.example/anything", lambda fake: {"host": "elsewhere.example"}, 421),
]


@pytest.mark.parametrize(("request_line", "headers", "status"), ANSWERS)
def test_each_request_has_its_answer(
    fake: FakeOpenAI, request_line: str, headers: Callable[[FakeOpenAI], dict[str, str]], status: int
) -> None:
    got, _ = ask(fake, request_line, **headers(fake))
    assert got == status
    (arrival,) = fake.record.all()
    assert arrival.server_name == request_line.split()[1].split("/")[0]


def test_the_account_check_names_exactly_the_real_account(fake: FakeOpenAI) -> None:
    _, check = ask(fake, CHECK, **login(fake))
    assert [one["id"] for one in check["accounts"]] == [fake.account.account_id]
    assert ask(fake, WHOAMI, **login(fake))[1]["chatgpt_account_id"] == fake.account.account_id


def test_a_refresh_rotates_both_tokens_and_ends_the_old_ones(fake: FakeOpenAI) -> None:
    before = login(fake), fake.account.refresh_token
    status, pair = ask(fake, TOKEN, refresh_grant(before[1]))
    assert (status, pair["access_token"], pair["refresh_token"]) == (200, fake.account.access_token, fake.account.refresh_token)
    assert pair["refresh_token"] != before[1]
    assert ask(fake, CHECK, **before[0])[0] == 401
    assert ask(fake, CHECK, **login(fake))[0] == 200


# (refresh token, code in OpenAI's error object)
REFUSED: list[tuple[Callable[[Account], str], str]] = [
    (lambda account: account.issued[1], "refresh_token_reused"),
    (lambda account: "immure-rt-placeholder", "refresh_token_invalidated"),
    (lambda account: account.access_token, "refresh_token_invalidated"),
]


@pytest.mark.parametrize(("token", "code"), REFUSED)
def test_any_other_refresh_token_is_refused_for_good(fake: FakeOpenAI, token: Callable[[Account], str], code: str) -> None:
    assert ask(fake, TOKEN, refresh_grant(fake.account.refresh_token))[0] == 200
    current = fake.account.access_token
    status, answer = ask(fake, TOKEN, refresh_grant(token(fake.account)))
    assert (status, answer["error"]["code"]) == (401, code)
    assert fake.account.access_token == current


@pytest.mark.parametrize(
    "body", [None, [], "text", {}, {"grant_type": "authorization_code", "refresh_token": "x"}, {"grant_type": "refresh_token"}]
)
def test_a_grant_that_is_no_refresh_is_refused(fake: FakeOpenAI, body: object) -> None:
    assert ask(fake, TOKEN, body)[0] == 400


# (script, what the answers to one request after another are: a status, or the item of a reply)
PLAYED: list[tuple[tuple[Step, ...], list[int | str]]] = [
    ((), ["message", "message"]),
    ((Shell("true"), Say("a")), ["function_call", "message", "message"]),
    ((Refuse(503), Shell("true")), [503, "function_call"]),
    ((Shell("true"), Expire(), Say("a")), ["function_call", 401, 401, "refresh", "message"]),
]


@pytest.mark.parametrize(("steps", "answers"), PLAYED)
def test_a_script_is_played_step_by_step(steps: tuple[Step, ...], answers: list[int | str]) -> None:
    with FakeOpenAI(Script(*steps)) as fake:
        for answer in answers:
            if answer == "refresh":
                ask(fake, TOKEN, refresh_grant(fake.account.refresh_token))
                continue
            status, got = ask(fake, RESPONSES, **login(fake))
            assert (got[1]["item"]["type"] if status == 200 else status) == answer
        assert fake.script.finished()


def test_a_held_reply_has_begun_and_ends_when_released() -> None:
    with FakeOpenAI(Script(Hold(), Say("free"))) as fake:
        got: list[tuple[int, Any]] = []
        client = threading.Thread(target=lambda: got.append(ask(fake, RESPONSES, **login(fake))))
        client.start()
        assert fake.holding.wait(10)
        assert client.is_alive()
        fake.release()
        client.join(10)
    ((status, (created, done, completed)),) = got
    assert (status, created["type"], completed["type"]) == (200, "response.created", "response.completed")
    assert done["item"]["content"][0]["text"] == "free"


def test_both_tool_formats_carry_the_command() -> None:
    command = """echo "a 'b' $C" > d\\n"""
    plain = events(Shell(command), number=1, code_mode=False)[1]["item"]
    assert (plain["name"], json.loads(plain["arguments"])["cmd"]) == ("exec_command", command)
    coded = events(Shell(command), number=2, code_mode=True)[1]["item"]
    assert coded["name"] == "exec"
    assert json.dumps(command) in coded["input"]
    assert plain["call_id"] != coded["call_id"]


def test_the_tool_format_follows_the_request() -> None:
    with FakeOpenAI(Script(Shell("true"), Shell("true"))) as fake:
        (_, plain), (_, coded) = (ask(fake, RESPONSES, **login(fake), x_openai_internal_codex_responses_lite=lite) for lite in ("", "true"))
    assert [got[1]["item"]["type"] for got in (plain, coded)] == ["function_call", "custom_tool_call"]


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("shell: echo a: b", Shell("echo a: b")),
        ("say: hello", Say("hello")),
        ("say:", Say("")),
        ("expire", Expire()),
        ("hold", Hold()),
        ("refuse: 429", Refuse(429)),
    ],
)
def test_a_step_is_read_from_text(text: str, step: Step) -> None:
    assert parse(text) == step


@pytest.mark.parametrize("text", ["", "shell:", "expire: now", "hold: 3", "refuse:", "refuse: 200", "refuse: abc", "run: true"])
def test_what_is_no_step_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a step"):
        parse(text)


def test_tokens_are_plainly_fake_unlike_each_other_and_named() -> None:
    account = Account(plan="team")
    account.refresh(account.refresh_token)
    with pytest.raises(RefreshRefused):
        account.refresh(account.issued[1])
    secrets = account.secrets()
    assert list(secrets) == [
        "access token 1",
        "refresh token 1",
        "id_token 1",
        "access token 2",
        "refresh token 2",
        "id_token 2",
        "API key",
        "personal access token",
    ]
    assert len(set(secrets.values())) == 8
    assert all("fake-" in secret for name, secret in secrets.items() if "id_token" not in name)
    assert account.describe(account.access_token) == "access token 2"
    assert (account.describe("x"), account.describe("")) == ("a token that is not ours", "no token")


def test_the_id_token_is_shaped_as_codex_parses_it_and_agrees_with_the_login_file() -> None:
    account = Account(plan="team")
    file = json.loads(account.login_file())
    tokens = file["tokens"]
    header, claims, signature = tokens["id_token"].split(".")
    assert "=" not in tokens["id_token"]
    assert json.loads(urlsafe_b64decode(header + "=="))["alg"] == "RS256"
    assert len(urlsafe_b64decode(signature + "==")) == 256
    ours = json.loads(urlsafe_b64decode(claims + "=="))["https://api.openai.com/auth"]
    assert (ours["chatgpt_plan_type"], ours["chatgpt_account_id"]) == ("team", tokens["account_id"])
    assert file["last_refresh"].endswith("Z")
    assert json.loads(account.api_key_file()) == {"auth_mode": "apikey", "OPENAI_API_KEY": account.api_key}


def test_the_command_lays_out_a_set_up_serves_it_and_ends_when_told(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "immure.testing.openai",
        "--step",
        "say: hello",
        "--ear",
        "ear.example",
        "--directory",
        str(tmp_path / "new"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout
        assert program.stderr
        lines: list[str] = []
        while not lines or "auth.json" not in lines[-1]:
            lines.append(program.stdout.readline())
        settings = tomllib.loads("".join(lines))
        assert settings == tomllib.loads((tmp_path / "new" / "config.toml").read_text())
        assert [one["host"] for one in settings["upstream"]] == ["chatgpt.com", "auth.openai.com", "api.openai.com", "ear.example"]
        address, authority = settings["upstream"][3]["address"], settings["upstream"][3]["ca"]
        context = ssl.create_default_context(cafile=authority)
        host, port = address.split(":")
        with (
            socket.create_connection((host, int(port)), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname="ear.example") as stream,
        ):
            stream.sendall(b"GET /x HTTP/1.1\r\nHost: ear.example\r\n\r\n")
            assert stream.recv(12) == b"HTTP/1.1 200"
        assert program.stderr.readline().split() == ["1", "GET", "ear.example/x", "[no", "token]"]
        assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == dict.fromkeys(
            ("ca.pem", "config.toml", "auth.json"), 0o600
        )
        program.send_signal(signal.SIGTERM)
        assert program.wait(10) == 0
        assert program.stderr.read() == ""


def test_an_agent_identity_is_verified_by_its_key_set_and_can_be_revoked(fake: FakeOpenAI) -> None:
    agent = fake.account.agent
    verify(agent.token, json.dumps(ask(fake, "GET chatgpt.com/backend-api/wham/agent-identities/jwks")[1]).encode())
    register = f"POST auth.openai.com{task_path(agent.runtime_id)}"
    assert ask(fake, register, json.loads(registration_of(fake))) == (200, {"task_id": agent.tasks[-1]})
    headers = assertion(fake)
    assert ask(fake, CHECK, **headers)[0] == 200
    agent.revoke()
    assert ask(fake, CHECK, **headers)[0] == 401
    assert ask(fake, register, json.loads(registration_of(fake)))[0] == 401


def test_the_key_of_an_agent_is_looked_for_in_every_form_that_it_can_have() -> None:
    agent = Account().agent
    assert agent.secrets() == {}, "as long as nobody has asked for it"
    key = b64decode(claims(agent.token)["agent_private_key"])[16:]
    needles = Needles(agent.secrets())
    for form in (key.hex(), b64encode(key).decode(), b64encode(b".." + key).decode(), agent.token.split(".")[1]):
        assert any(leak.secret.startswith("agent key") for leak in needles.search(form.encode(), "here")), form
