"""A change by another process is seen, whatever became of that process."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from immure.vault import Vault
from immure.vault.watch import Watch

KEY = bytes(range(32))
WRITER = """
import os, signal, sys
from immure.vault import Vault
vault = Vault(sys.argv[1], bytes(range(32)))
vault.delete("a") if sys.argv[2] == "delete" else vault.put("a", {"value": 1})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(str(tmp_path / "vault"), KEY)


@pytest.fixture
def watch(vault: Vault) -> Iterator[Watch]:
    made = vault.watch()
    assert made.changed(), "who has never looked does not know"
    assert not made.changed()
    yield made
    made.close()


def test_what_this_process_writes_is_seen_once(vault: Vault, watch: Watch) -> None:
    changes: list[Callable[[], None]] = [lambda: vault.put("a", {}), lambda: vault.put("a", {}), lambda: vault.delete("a")]
    for change in changes:
        change()
        assert watch.changed()
        assert not watch.changed()


@pytest.mark.parametrize("change", ["put", "delete"])
def test_a_process_that_was_killed_right_after_its_change_is_seen(vault: Vault, watch: Watch, tmp_path: Path, change: str) -> None:
    vault.put("a", {})
    watch.changed()
    assert subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / "vault"), change]).returncode == -9
    assert watch.changed()
    assert not watch.changed()


def test_reading_changes_nothing(vault: Vault, watch: Watch) -> None:
    assert vault.get("a") is None
    assert vault.names() == ()
    assert not watch.changed()


def test_another_vault_in_its_place_is_a_change(vault: Vault, watch: Watch, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "vault")
    assert watch.changed()
    assert watch.changed(), "as long as there is none, nothing is certain"
    Vault(str(tmp_path / "vault"), KEY).put("a", {})
    assert watch.changed()
    assert not watch.changed()


def test_it_keeps_nobody_from_replacing_the_key(vault: Vault, watch: Watch, tmp_path: Path) -> None:
    vault.put("a", {"value": 1})
    vault.reseal(bytes(32))
    assert watch.changed()
    assert os.stat(tmp_path / "vault" / "records.db-wal").st_size == 0
