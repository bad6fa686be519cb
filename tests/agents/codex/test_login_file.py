"""Reading a real auth.json, and writing the one for inside."""

import json
import os

import pytest

from immure.agents.codex.id_token import synthetic_id_token
from immure.agents.codex.login_file import login_file, read_login
from immure.errors import UsageError
from immure.model import Secret

ID = "e30.e30.c2ln"
TOKENS = {"id_token": ID, "access_token": "fake-at-0000", "refresh_token": "fake-rt-0000", "account_id": "acct-0000"}
ISSUED = {"issuer": "https://auth.openai.com", "client_id": "app_other"}
WHEN = "2026-11-20T13:33:17.269874963Z"

# document, kind, names of secrets
READABLE = [
    ({"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": TOKENS, "last_refresh": WHEN}, "chatgpt", "access account id refresh"),
    ({"tokens": TOKENS}, "chatgpt", "access account id refresh"),
    ({"auth_mode": "chatgpt", "tokens": TOKENS | {"account_id": None, "refresh_token": ""}}, "chatgpt", "access id"),
    ({"tokens": TOKENS, "OPENAI_API_KEY": "fake-key-0000"}, "chatgpt", "access account api id refresh"),
    ({"auth_mode": "chatgpt", "tokens": TOKENS, "OPENAI_API_KEY": "fake-key-0000"}, "chatgpt", "access account api id refresh"),
    ({"auth_mode": "apikey", "OPENAI_API_KEY": "fake-key-0000"}, "api_key", "api"),
    ({"auth_mode": "apikey", "OPENAI_API_KEY": "fake-key-0000", "tokens": TOKENS}, "api_key", "api"),
    ({"OPENAI_API_KEY": "fake-key-0000"}, "api_key", "api"),
    ({"OPENAI_API_KEY": "fake-key-0000", "tokens": None, "future_field": {}}, "api_key", "api"),
]

# content, code, part of the message
UNUSABLE = [
    (b"", "login.malformed", "not a JSON object"),
    (b"{", "login.malformed", "not a JSON object"),
    (b"[]", "login.malformed", "not a JSON object"),
    (b"\xff\xfe{}", "login.malformed", "not a JSON object"),
    (b"[" * 100_000, "login.malformed", "not a JSON object"),
    (b" " * (1 << 20) + b"{}", "login.malformed", "larger than"),
    ({}, "login.malformed", "tokens is missing"),
    ({"auth_mode": "chatgpt", "OPENAI_API_KEY": "fake-key-0000"}, "login.malformed", "tokens is missing"),
    ({"auth_mode": "chatgpt", "tokens": []}, "login.malformed", "tokens is missing"),
    ({"tokens": TOKENS | {"access_token": ""}}, "login.malformed", "tokens.access_token is missing"),
    ({"tokens": TOKENS | {"access_token": 7}}, "login.malformed", "tokens.access_token is not a token"),
    ({"tokens": TOKENS | {"access_token": "fake at\n0000"}}, "login.malformed", "tokens.access_token is not a token"),
    ({"tokens": TOKENS | {"refresh_token": "fäke-rt-0000"}}, "login.malformed", "tokens.refresh_token is not a token"),
    ({"tokens": TOKENS | {"account_id": "short"}}, "login.malformed", "tokens.account_id is not a token"),
    ({"tokens": TOKENS | {"id_token": None}}, "login.malformed", "tokens.id_token is missing"),
    ({"auth_mode": "apikey"}, "login.malformed", "OPENAI_API_KEY is missing"),
    ({"auth_mode": "apikey", "OPENAI_API_KEY": ["fake-key-0000"]}, "login.malformed", "OPENAI_API_KEY is not a token"),
    ({"auth_mode": "agentIdentity"}, "login.malformed", "agent_identity is missing"),
    ({"agent_identity": {"agent_runtime_id": "fake"}}, "login.malformed", "agent_identity is not a token"),
    ({"auth_mode": "personalAccessToken"}, "login.unsupported", "personal access token"),
    ({"OPENAI_API_KEY": None, "personal_access_token": "at-fake-0000"}, "login.unsupported", "personal access token"),
    ({"auth_mode": "chatgptAuthTokens", "tokens": TOKENS}, "login.unsupported", "another program"),
    ({"auth_mode": "carrier-pigeon"}, "login.unsupported", "carrier-pigeon"),
    ({"auth_mode": {"a": 1}}, "login.unsupported", "does not know"),
    ({"tokens": TOKENS | {"oauth_provenance": ISSUED | {"issuer": "https://evil.example"}}}, "login.unsupported", "issuer"),
]


@pytest.fixture
def path(tmp_path) -> str:
    (tmp_path / ".codex").mkdir()
    return str(tmp_path / ".codex" / "auth.json")


def write(path: str, content: object) -> None:
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else json.dumps(content).encode())


@pytest.mark.parametrize(("document", "kind", "names"), READABLE)
def test_a_login_is_read(path, document, kind, names) -> None:
    write(path, document)
    login = read_login(path)
    assert login.kind == kind
    assert " ".join(sorted(name.split("_")[0] for name in login.secrets)) == names
    assert "fake" not in repr(login)


def test_everything_of_a_subscription_is_read(path) -> None:
    write(path, {"tokens": TOKENS | {"oauth_provenance": ISSUED}, "last_refresh": WHEN})
    login = read_login(path)
    assert {name: secret.reveal() for name, secret in login.secrets.items()} == TOKENS
    assert login.client_id == "app_other"
    assert login.last_refresh == 1795181597.269874


@pytest.mark.parametrize("when", [None, "", "yesterday", 7])
def test_a_date_that_is_none_means_that_it_is_not_known(path, when) -> None:
    write(path, {"tokens": TOKENS, "last_refresh": when})
    assert read_login(path).last_refresh is None


@pytest.mark.parametrize(("content", "code", "says"), UNUSABLE, ids=lambda value: str(value)[:40])
def test_a_file_without_a_usable_login_says_what_signs_in(path, content, code, says) -> None:
    write(path, content)
    with pytest.raises(UsageError, match=says) as caught:
        read_login(path)
    assert (caught.value.code, caught.value.status) == (code, 2)
    assert "codex login" in caught.value.hint
    for text in "fake", "fäke", "evil", "app_":
        assert text not in caught.value.render()


def test_a_login_that_is_not_there_names_the_command_that_makes_one(path) -> None:
    with pytest.raises(UsageError) as caught:
        read_login(path)
    assert (caught.value.code, caught.value.status) == ("login.missing", 2)
    assert caught.value.hint.startswith("codex login (")
    assert path in caught.value.what


def test_the_command_names_a_home_that_is_not_the_usual_one(tmp_path) -> None:
    with pytest.raises(UsageError) as caught:
        read_login(str(tmp_path / "auth.json"))
    assert caught.value.hint.startswith(f"CODEX_HOME={tmp_path} codex login")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink(path, path)])
def test_what_is_not_a_file_is_not_read(path, make) -> None:
    make(path)
    with pytest.raises(UsageError) as caught:
        read_login(path)
    assert caught.value.code == "login.unreadable"


def test_the_fingerprint_changes_with_the_login_and_not_with_the_file(path) -> None:
    def fingerprint(document: object) -> str:
        write(path, document)
        return read_login(path).fingerprint

    first = fingerprint({"tokens": TOKENS, "last_refresh": WHEN})
    assert fingerprint({"tokens": TOKENS | {"access_token": "fake-at-0001"}, "last_refresh": None}) == first
    others = [
        fingerprint({"tokens": TOKENS | {"refresh_token": "fake-rt-0001"}, "last_refresh": WHEN}),
        fingerprint({"tokens": TOKENS | {"refresh_token": ""}}),
        fingerprint({"OPENAI_API_KEY": "fake-rt-0000"}),
        fingerprint({"OPENAI_API_KEY": "fake-key-0001"}),
    ]
    assert len({first, *others}) == 5


def test_the_file_for_inside_reads_as_a_login_of_placeholders(path) -> None:
    placeholders = {"access_token": "immure-at-x", "refresh_token": "immure-rt-x", "account_id": "immure-acct-x"}
    write(path, login_file(placeholders, synthetic_id_token({}, None, None), 1795181597.25))
    login = read_login(path)
    assert login.kind == "chatgpt"
    assert {name: login.secrets[name] for name in placeholders} == {name: Secret(text) for name, text in placeholders.items()}
    assert login.last_refresh == 1795181597.25
    with open(path) as file:
        assert json.load(file)["last_refresh"] == "2026-11-20T13:33:17.250000Z"


def test_a_login_without_refresh_token_or_account_still_parses_in_codex(path) -> None:
    document = json.loads(login_file({"access_token": "immure-at-x"}, ID, 0.0))
    assert document["tokens"] == {"id_token": ID, "access_token": "immure-at-x", "refresh_token": "", "account_id": None}
    assert document["last_refresh"] == "1970-01-01T00:00:00.000000Z"


def test_the_file_for_an_api_key_holds_nothing_else() -> None:
    assert json.loads(login_file({"api_key": "sk-immure-x"}, None, 0.0)) == {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-immure-x"}
