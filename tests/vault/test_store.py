"""Records on disk: what survives, what is refused, and who waits for whom."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from immure.errors import HostError
from immure.vault import Vault, open_vault

KEY = bytes(range(32))

WRITER = """
import sys
from immure.vault import Vault
vault = Vault(sys.argv[1], bytes(range(32)))
number = int(sys.argv[2])
while True:
    number += 1
    vault.put("login", {"number": number, "filling": str(number) * 400})
    print(number, flush=True)
"""

COUNTER = """
import sys
from immure.vault import Vault
vault = Vault(sys.argv[1], bytes(range(32)))
for _ in range(25):
    with vault.lock("counter"):
        record = vault.get("counter") or {"count": 0}
        vault.put("counter", {"count": record["count"] + 1})
"""

HOLDER = """
import sys
from immure.vault import Vault
vault = Vault(sys.argv[1], bytes(range(32)))
with vault.lock("login"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path) -> str:
    return str(tmp_path / "state" / "vault")


@pytest.fixture
def vault(directory) -> Vault:
    return Vault(directory, KEY)


def rows(directory: str, statement: str, *values: object) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(directory + "/records.db", isolation_level=None)
    try:
        return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


def test_records_come_back_as_they_were_put(vault, directory) -> None:
    assert vault.get("one") is None
    vault.put("one", {"text": "é", "list": [1, None]})
    vault.put("two", {})
    vault.put("one", {"text": "new"})
    assert vault.get("one") == {"text": "new"}
    assert vault.names() == ("one", "two")
    vault.delete("one")
    vault.delete("never there")
    assert vault.names() == ("two",)
    assert Vault(directory, KEY).get("two") == {}


def test_only_the_user_can_read_the_files_and_none_holds_a_content(vault, directory) -> None:
    connection = sqlite3.connect(directory + "/records.db")
    try:
        connection.execute("SELECT count(*) FROM record").fetchall()  # keeps the -wal and -shm files in being
        vault.put("login", {"token": "fake-token-fake-token"})
        assert {"records.db", "records.db-wal", "records.db-shm"} <= set(os.listdir(directory))
        for name in os.listdir(directory):
            assert stat.S_IMODE(os.stat(f"{directory}/{name}").st_mode) == 0o600
            with open(f"{directory}/{name}", "rb") as file:
                assert b"fake-token" not in file.read()
    finally:
        connection.close()


def test_two_records_swapped_on_disk_are_both_refused(vault, directory) -> None:
    vault.put("one", {"token": "fake-first"})
    vault.put("two", {"token": "fake-second"})
    [(first,)] = rows(directory, "SELECT envelope FROM record WHERE name = 'one'")
    [(second,)] = rows(directory, "SELECT envelope FROM record WHERE name = 'two'")
    rows(directory, "UPDATE record SET envelope = ? WHERE name = 'one'", second)
    rows(directory, "UPDATE record SET envelope = ? WHERE name = 'two'", first)
    for name in "one", "two":
        with pytest.raises(HostError, match=f"record '{name}' is damaged or was tampered with") as caught:
            vault.get(name)
        assert caught.value.hint
        assert "fake-" not in caught.value.render()


@pytest.mark.parametrize("value", [b"", b"\x01" + b"x" * 60, "a text", 40, None])
def test_a_record_that_is_no_envelope_is_refused(vault, directory, value) -> None:
    vault.put("one", {})
    if value is None:
        rows(directory, "UPDATE record SET envelope = zeroblob(64)")
    else:
        rows(directory, "UPDATE record SET envelope = ?", value)
    with pytest.raises(HostError, match="'one'"):
        vault.get("one")


def test_a_wrong_key_opens_nothing(vault, directory) -> None:
    vault.put("one", {"token": "fake"})
    with pytest.raises(HostError) as caught:
        Vault(directory, bytes(32)).get("one")
    assert caught.value.code == "vault.record"


def test_a_file_that_is_no_database_is_refused(vault, directory) -> None:
    vault.put("one", {})
    with open(directory + "/records.db", "r+b") as file:
        file.write(b"not a database" * 100)
    with pytest.raises(HostError) as caught:
        Vault(directory, KEY).get("one")
    assert caught.value.code == "vault.file"


def test_a_file_that_others_may_read_is_refused(vault, directory) -> None:
    os.chmod(directory + "/records.db", 0o644)
    with pytest.raises(HostError, match="open to other users"):
        Vault(directory, KEY)


def test_a_vault_is_made_once_and_opened_later(directory) -> None:
    said: list[str] = []
    open_vault(directory, {}, said.append).put("one", {"number": 1})
    assert open_vault(directory, {}, said.append).get("one") == {"number": 1}
    assert len(said) == 1


def test_a_vault_without_its_key_is_not_made_anew(directory) -> None:
    open_vault(directory, {}, lambda text: None).put("one", {})
    os.unlink(directory + "/key")
    with pytest.raises(HostError) as caught:
        open_vault(directory, {}, lambda text: None)
    assert caught.value.code == "vault.no_key"


def test_threads_that_open_a_new_vault_at_once_agree_on_its_key(directory) -> None:
    with ThreadPoolExecutor(6) as pool:
        vaults = list(pool.map(lambda _: open_vault(directory, {}, lambda text: None), range(6)))
    vaults[0].put("one", {"number": 1})
    assert [vault.get("one") for vault in vaults] == [{"number": 1}] * 6


def test_a_writer_killed_at_any_moment_leaves_the_old_record_or_the_new(vault, directory) -> None:
    number = 0
    for lines in (1, 2, 3, 5, 1, 8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, directory, str(number)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        for _ in range(lines):
            number = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        told = writer.stdout.read().split(b"\n")
        writer.stdout.close()
        writer.wait()
        number = max([number, *(int(line) for line in told if line)])
        record = Vault(directory, KEY).get("login")
        assert record is not None
        assert record["number"] in (number, number + 1)  # what was reported is there; one more may be
        assert record["filling"] == str(record["number"]) * 400
        number = record["number"]


def test_a_write_ahead_log_that_was_torn_gives_the_record_before_it(vault, directory) -> None:
    keeper = sqlite3.connect(directory + "/records.db")
    try:
        keeper.execute("SELECT count(*) FROM record").fetchall()  # the last connection to close would empty the log
        vault.put("one", {"number": 1})
        before = os.path.getsize(directory + "/records.db-wal")
        vault.put("one", {"number": 2})
        files = {}
        for name in "records.db", "records.db-wal":
            with open(f"{directory}/{name}", "rb") as file:
                files[name] = file.read()
    finally:
        keeper.close()
    grown = len(files["records.db-wal"])
    assert grown > before
    for length in range(before, grown, max(1, (grown - before) // 16)):
        copy = f"{directory}/copy{length}"
        Vault(copy, KEY)
        for name, content in files.items():
            with open(f"{copy}/{name}", "wb") as file:
                file.write(content[:length] if name.endswith("-wal") else content)
        assert Vault(copy, KEY).get("one") == {"number": 1}


def test_processes_take_turns_under_the_lock(vault, directory) -> None:
    counters = [subprocess.Popen([sys.executable, "-c", COUNTER, directory]) for _ in range(3)]
    assert [counter.wait() for counter in counters] == [0, 0, 0]
    assert vault.get("counter") == {"count": 75}


def test_threads_take_turns_under_the_lock(vault) -> None:
    inside = []

    def count(_: int) -> None:
        with vault.lock("counter"):
            inside.append(threading.get_ident())
            assert len(inside) == 1
            inside.clear()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(40)))


def test_a_holder_keeps_others_out_of_its_record_only_and_only_while_it_lives(vault, directory) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with vault.lock("another", patience=0):
        pass
    with pytest.raises(HostError, match="has been holding") as caught, vault.lock("login", patience=0.03):
        pass
    assert caught.value.code == "vault.busy"
    holder.kill()
    holder.communicate()
    with vault.lock("login", patience=5):
        pass
