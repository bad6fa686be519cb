"""Writing to the user's own auth.json: as Codex does it, and only over what is known."""

import fcntl
import json
import os
import stat

import pytest

from immure.agents.codex.host_file import give_tokens
from immure.agents.codex.login_file import ImportedLogin
from immure.model import Secret

OLD = {"id_token": "e30.e30.c2ln", "access_token": "fake-at-0000", "refresh_token": "fake-rt-0000", "account_id": "acct-0000"}
NEW = {"id_token": "e30.e30.bmV3", "access_token": "fake-at-0001", "refresh_token": "fake-rt-0001"}
DOCUMENT = {"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": OLD | {"login_owner_id": "x"}, "last_refresh": "x", "future": [1]}
SECRETS = {name: Secret(text) for name, text in NEW.items()} | {"account_id": Secret("acct-9999"), "api_key": Secret("fake-key-0000")}


@pytest.fixture
def path(tmp_path) -> str:
    path = tmp_path / ".codex" / "auth.json"
    path.parent.mkdir()
    path.write_text(json.dumps(DOCUMENT))
    path.chmod(0o600)
    return str(path)


def give(path: str, expected: bool = True) -> bool:
    def is_old(found: ImportedLogin) -> bool:
        return expected and found.secrets["refresh_token"] == Secret("fake-rt-0000")

    return give_tokens(path, SECRETS, 1795181597.25, is_old, patience=0.05)


def test_the_tokens_are_replaced_and_everything_else_stays(path) -> None:
    assert give(path)
    with open(path) as file:
        document = json.load(file)
    assert document == DOCUMENT | {"tokens": DOCUMENT["tokens"] | NEW, "last_refresh": "2026-11-20T13:33:17.250000Z"}
    assert sorted(os.listdir(os.path.dirname(path))) == ["auth.json", "auth.json.lock", "auth.lock"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_the_mode_stays_and_the_file_is_a_new_one(path, mode) -> None:
    os.chmod(path, mode)
    with open(path) as reader:
        assert give(path)
        assert json.load(reader) == DOCUMENT, "whoever has it open reads on in the old one"
    assert stat.S_IMODE(os.stat(path).st_mode) == mode


def test_what_is_not_expected_is_left_alone(path) -> None:
    assert not give(path, expected=False)
    with open(path) as file:
        assert json.load(file) == DOCUMENT


@pytest.mark.parametrize("content", [None, b"{", b'{"OPENAI_API_KEY":"fake-key-0000","auth_mode":"carrier-pigeon"}'])
def test_a_file_that_is_gone_or_holds_no_login_is_left_alone(path, content) -> None:
    os.unlink(path)
    if content is not None:
        with open(path, "wb") as file:
            file.write(content)
    assert not give(path)
    assert os.path.exists(path) == (content is not None)


def test_what_a_killed_writer_left_is_overwritten(path) -> None:
    draft = os.path.join(os.path.dirname(path), ".auth-immure")
    with open(draft, "w") as file:
        file.write("x" * 10_000)
    assert give(path)
    assert not os.path.exists(draft)
    with open(path) as file:
        json.load(file)


def test_a_link_stays_and_what_it_leads_to_is_replaced(path, tmp_path) -> None:
    real = tmp_path / "dotfiles" / "codex.json"
    real.parent.mkdir()
    os.rename(path, real)
    os.symlink(real, path)
    assert give(path)
    assert os.path.islink(path)
    assert json.loads(real.read_text())["tokens"]["refresh_token"] == "fake-rt-0001"


@pytest.mark.parametrize("name", ["auth.lock", "auth.json.lock"])
def test_a_codex_that_holds_a_lock_is_waited_for(path, name) -> None:
    with open(os.path.join(os.path.dirname(path), name), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match=f"holding {name}"):
            give(path)
    assert give(path)


def test_a_failed_write_leaves_the_old_file_and_no_other(path, monkeypatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        give(path)
    with open(path) as file:
        assert json.load(file) == DOCUMENT
    assert not [name for name in os.listdir(os.path.dirname(path)) if name.startswith(".")]
