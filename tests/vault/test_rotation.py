"""A new key for a vault: killed at any step it opens, and whoever has it open goes on."""

import base64
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable

import pytest

from immure.errors import HostError
from immure.vault import Vault, open_vault, rotation
from immure.vault.rotation import rotate_key
from immure.vault.store import settled_key

RECORDS = {f"login {number}": {"token": f"fake-token-{number}" * 20} for number in range(5)}

READER = """
import sys
from immure.vault import open_vault
vault = open_vault(sys.argv[1], {}, print)
print(vault.get("login 1")["token"], flush=True)
for line in sys.stdin:
    vault.put("login 1", {"token": line.strip()})
    print(vault.get("login 1")["token"], flush=True)
"""


@pytest.fixture
def directory(tmp_path) -> str:
    path = str(tmp_path / "state" / "vault")
    vault = open_vault(path, {}, lambda text: None)
    for name, record in RECORDS.items():
        vault.put(name, record)
    return path


def silent(text: str) -> None:
    raise AssertionError(text)


def content(vault: Vault) -> dict[str, object]:
    return {name: vault.get(name) for name in vault.names()}


def key_file(directory: str) -> bytes:
    with open(f"{directory}/key", "rb") as file:
        return file.read()


def files(directory: str) -> bytes:
    data = b""
    for name in os.listdir(directory):
        with open(f"{directory}/{name}", "rb") as file:
            data += file.read()
    return data


def test_every_record_is_under_the_new_key_and_nothing_is_left_under_the_old(directory) -> None:
    before, old = files(directory), key_file(directory)
    assert rotate_key(directory, {}, silent) == len(RECORDS)
    assert key_file(directory) != old
    assert content(open_vault(directory, {}, silent)) == RECORDS
    with pytest.raises(HostError):
        Vault(directory, old).get("login 1")
    assert sorted(name for name in os.listdir(directory) if "lock" not in name and "-" not in name) == ["key", "records.db"]
    # Sealed records look random, so a run of 24 octets of an old one that is found again is that old one.
    start = before.index(b"login 1")
    old_envelope = before[start + len(b"login 1") + 40 :][:24]
    assert old_envelope in before
    assert old_envelope not in files(directory)


def test_a_process_that_has_the_vault_open_goes_on_with_the_new_key(directory) -> None:
    reader = subprocess.Popen([sys.executable, "-c", READER, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert reader.stdin is not None
    assert reader.stdout is not None
    assert "fake-token-1" in reader.stdout.readline()
    for turn in "fake-one", "fake-two":
        rotate_key(directory, {}, silent)
        reader.stdin.write(turn + "\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == turn + "\n"
        assert open_vault(directory, {}, silent).get("login 1") == {"token": turn}
    reader.communicate()


def killed_at(step: int, directory: str) -> bool:
    """Rotate in a child that dies before the given event of its run (PEP 578: opening, renaming, connecting …)."""
    child = os.fork()
    if child == 0:
        left = step

        def count(event: str, arguments: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            rotate_key(directory, {}, lambda text: None)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_rotation_that_is_killed_before_any_event_leaves_a_vault_that_opens(directory) -> None:
    keeper = open_vault(directory, {}, silent)
    marks = {keeper.mark}
    step = 1
    while killed_at(step, directory):
        vault = open_vault(directory, {}, silent)
        assert content(vault) == RECORDS, f"killed at event {step}"
        assert content(keeper) == RECORDS, f"killed at event {step}"
        vault.put("login 0", RECORDS["login 0"])
        marks.add(vault.mark)
        step += 1
    assert step > 20
    assert len(marks) > 2, "some died after the records were sealed anew"
    assert content(open_vault(directory, {}, silent)) == RECORDS
    assert not os.path.exists(f"{directory}/key.next")


def test_a_record_that_does_not_open_stops_the_rotation_and_the_old_key_stays(directory) -> None:
    vault = open_vault(directory, {}, silent)
    connection = sqlite3.connect(directory + "/records.db", isolation_level=None)
    connection.execute("UPDATE record SET envelope = zeroblob(80) WHERE name = 'login 3'")
    connection.close()
    old = key_file(directory)
    with pytest.raises(HostError, match="login 3"):
        rotate_key(directory, {}, silent)
    assert key_file(directory) == old
    assert vault.get("login 1") == RECORDS["login 1"]
    assert open_vault(directory, {}, silent).get("login 4") == RECORDS["login 4"]


def test_a_wrong_key_writes_nothing(directory) -> None:
    with pytest.raises(HostError) as caught:
        Vault(directory, bytes(32)).put("login 9", {})
    assert caught.value.code == "vault.key"
    assert "login 9" not in open_vault(directory, {}, silent).names()


class Desktop:
    """A keyring in memory; `broken` makes the next writes fail."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}
        self.broken = False

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.broken:
            raise RuntimeError("the collection is locked")
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.held[service, username]


@pytest.fixture
def desktop(monkeypatch) -> Desktop:
    """Where the keyring library would be found."""
    found = Desktop()
    monkeypatch.setattr("immure.vault.store.find_keyring", lambda environment: found)
    monkeypatch.setattr(rotation, "find_keyring", lambda environment: found)
    return found


def test_a_key_in_the_keyring_is_replaced_there(desktop, tmp_path) -> None:
    directory = str(tmp_path / "vault")
    vault = open_vault(directory, {}, silent)
    vault.put("one", {"token": "fake"})
    (old,) = desktop.held.values()
    rotate_key(directory, {}, silent)
    (new,) = desktop.held.values()
    assert new != old
    assert vault.get("one") == {"token": "fake"}
    assert base64.b64decode(new) not in files(directory)


def test_a_keyring_that_locks_in_the_middle_costs_nothing(desktop, tmp_path, monkeypatch) -> None:
    directory = str(tmp_path / "vault")
    open_vault(directory, {}, silent).put("one", {"token": "fake"})
    reseal: Callable[[Vault, bytes], int] = Vault.reseal

    def then_lock(vault: Vault, key: bytes) -> int:
        desktop.broken = True
        return reseal(vault, key)

    monkeypatch.setattr(Vault, "reseal", then_lock)
    rotate_key(directory, {}, silent)
    assert len(desktop.held) == 2
    assert open_vault(directory, {}, silent).get("one") == {"token": "fake"}
    desktop.broken = False
    assert open_vault(directory, {}, silent).get("one") == {"token": "fake"}
    assert len(desktop.held) == 1
    assert settled_key(directory, lambda: desktop, silent) == base64.b64decode(*desktop.held.values())
