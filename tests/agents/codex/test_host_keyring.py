"""A login that the user's own Codex keeps in the desktop's keyring."""

import json

import pytest

from immure.agents.codex.host_keyring import entry, read_keyring
from immure.errors import UsageError
from immure.model import Secret

TOKENS = {"id_token": "e30.e30.c2ln", "access_token": "fake-at-0000", "refresh_token": "fake-rt-0000", "account_id": "acct-0000"}


class Desktop:
    def __init__(self, held: dict[tuple[str, str], str] | None) -> None:
        self.held = held

    def get_password(self, service: str, username: str) -> str | None:
        if self.held is None:
            raise RuntimeError("the collection is locked")
        return self.held.get((service, username))


def test_the_entry_is_that_of_codex(tmp_path) -> None:
    """The first 16 digits of the SHA-256 of the canonical path."""
    assert entry("/") == "cli|8a5edab282632443"
    (tmp_path / "link").symlink_to(tmp_path)
    assert entry(str(tmp_path / "link")) == entry(str(tmp_path))


def test_a_login_in_the_keyring_is_read(tmp_path) -> None:
    home = str(tmp_path)
    held = Desktop({("Codex Auth", entry(home)): json.dumps({"auth_mode": "chatgpt", "tokens": TOKENS})})
    login = read_keyring(home, lambda: held)
    assert (login.kind, login.secrets["refresh_token"]) == ("chatgpt", Secret("fake-rt-0000"))


@pytest.mark.parametrize("keyring", [None, Desktop(None), Desktop({})])
def test_without_one_both_ways_to_sign_in_are_named(tmp_path, keyring) -> None:
    with pytest.raises(UsageError) as caught:
        read_keyring(str(tmp_path), lambda: keyring)
    assert caught.value.code == "login.missing"
    assert "codex login" in caught.value.hint
    assert "immure login codex" in caught.value.hint


def test_an_entry_that_is_no_login_is_refused_without_being_shown(tmp_path) -> None:
    held = Desktop({("Codex Auth", entry(str(tmp_path))): "fake-at-0000"})
    with pytest.raises(UsageError, match="not a usable Codex login") as caught:
        read_keyring(str(tmp_path), lambda: held)
    assert "fake" not in caught.value.render()
