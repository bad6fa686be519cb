"""The files that stand in Codex's home inside, and that the real Codex takes them for a login."""

import json
import os
import subprocess

import pytest

from immure.agents.codex import environment, find_program, stage
from immure.errors import UsageError
from immure.model import Secret

PINNED = os.path.join(os.path.dirname(__file__), *[".."] * 3, "tools", "codex", "node_modules", ".bin")
SECRETS = {"access_token": Secret("fake-at-0000"), "refresh_token": Secret("fake-rt-0000"), "account_id": Secret("acct-0000")}
PLACEHOLDERS = {"access_token": "immure-at-x", "refresh_token": "immure-rt-x", "account_id": "immure-acct-x"}
CLAIMS = {"email": "ann@example.com", "https://api.openai.com/auth": {"chatgpt_plan_type": "pro", "chatgpt_account_id": "acct-0000"}}


@pytest.fixture
def codex_home(tmp_path) -> str:
    (tmp_path / "config.toml").write_text('model = "gpt-5.5"\nnote = "fake-rt-0000"\n')
    return str(tmp_path)


def test_a_subscription_is_staged_without_a_secret(codex_home) -> None:
    home = stage(codex_home, secrets=SECRETS, claims=CLAIMS, placeholders=PLACEHOLDERS, now=0.0)
    assert sorted(home.files) == ["auth.json", "config.toml"]
    assert home.left_out == ("note",)
    assert b'model = "gpt-5.5"' in home.files["config.toml"]
    for content in home.files.values():
        assert b"fake" not in content
        assert b"acct-0000" not in content
    assert json.loads(home.files["auth.json"])["tokens"]["account_id"] == "immure-acct-x"


def test_an_api_key_is_staged_as_one(codex_home) -> None:
    placeholders = {"api_key": "sk-immure-x"}
    home = stage(codex_home, secrets={"api_key": Secret("fake-key-0000")}, claims={}, placeholders=placeholders, now=0.0)
    assert json.loads(home.files["auth.json"]) == {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-immure-x"}


def test_without_a_login_there_is_no_login_file(tmp_path) -> None:
    home = stage(str(tmp_path), secrets={}, claims={}, placeholders={}, now=0.0)
    assert list(home.files) == ["config.toml"]


@pytest.mark.parametrize("content", [b"\xff", b"["])
def test_a_config_that_cannot_be_read_is_an_error(tmp_path, content) -> None:
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        stage(str(tmp_path), secrets={}, claims={}, placeholders={}, now=0.0)
    assert caught.value.code == "codex.config"


def test_a_config_that_is_a_directory_is_an_error(tmp_path) -> None:
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        stage(str(tmp_path), secrets={}, claims={}, placeholders={}, now=0.0)


@pytest.mark.parametrize(
    ("placeholders", "says"),
    [
        (PLACEHOLDERS, "Logged in using ChatGPT"),
        ({"api_key": "sk-immure-aaaabbbbccccdddd"}, "API key configured - sk-immur***cdddd"),
        ({}, "Not logged in"),
    ],
)
def test_the_real_codex_reads_the_staged_files_as_a_login(tmp_path, placeholders, says) -> None:
    secrets = {name: SECRETS.get(name, Secret("fake-key-0000")) for name in placeholders}
    home = tmp_path / ".codex"
    home.mkdir()
    for name, content in stage(str(tmp_path), secrets=secrets, claims=CLAIMS, placeholders=placeholders, now=1795181597.0).files.items():
        (home / name).write_bytes(content)
    program = find_program(os.path.realpath(PINNED), os.uname().machine)
    done = subprocess.run(
        [program.executable, "login", "status"],
        env=environment(str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert says in done.stdout + done.stderr
    assert (done.returncode == 0) == bool(placeholders)
