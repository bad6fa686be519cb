"""`immure vault` by its words: what it prints, what it refuses, and that a passphrase comes by file or descriptor."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from immure.cli.application import immure
from immure.errors import ImmureError, UsageError
from immure.vault import Vault, open_vault

PASSPHRASE = "correct horse battery"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def invoke(*words: str, home: str = "one", text: str = "") -> Result:
        environment = {"IMMURE_HOME": str(tmp_path / home), "XDG_RUNTIME_DIR": None, "DBUS_SESSION_BUS_ADDRESS": None}
        return CliRunner().invoke(immure, ["vault", *words], env=environment, input=text)

    return invoke


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    """One with two logins."""
    vault = open_vault(str(tmp_path / "one/state/vault"), {}, lambda text: None)
    vault.put("codex subscription", {"token": "fake-at-0000"})
    vault.put("codex API key", {"token": "fake-key-0000"})
    return vault


@pytest.fixture
def exported(tmp_path: Path, run: Run, vault: Vault) -> str:
    """Its export, by standard input's passphrase."""
    path = str(tmp_path / "backup")
    result = run("export", path, "--passphrase-file", "-", text=PASSPHRASE + "\n")
    assert result.exit_code == 0, result.output
    assert "2 records" in result.stderr
    return path


def failure(result: Result) -> ImmureError:
    assert isinstance(result.exception, ImmureError), result.output
    return result.exception


def test_a_vault_that_is_not_there_is_not_made_by_looking(run, tmp_path) -> None:
    assert "no vault yet" in run("status").stdout
    assert not (tmp_path / "one").exists()


def test_the_state_names_records_and_where_the_key_is_and_no_secret(run, vault, tmp_path) -> None:
    shown = json.loads(run("status", "--json").stdout)
    directory = str(tmp_path / "one/state/vault")
    assert shown == {"directory": directory, "key": f"{directory}/key", "records": ["codex API key", "codex subscription"], "damaged": []}
    assert "fake" not in run("status").output


def test_a_damaged_record_is_named_and_the_status_says_so(run, vault, tmp_path) -> None:
    os.unlink(tmp_path / "one/state/vault/key")
    with open(os.open(tmp_path / "one/state/vault/key", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(bytes(32))
    result = run("status")
    assert result.exit_code == 1
    assert "record: codex API key (damaged)" in result.stdout


def test_a_new_key_leaves_everything_readable(run, vault, tmp_path) -> None:
    before = (tmp_path / "one/state/vault/key").read_bytes()
    result = run("rotate-key")
    assert (result.exit_code, result.stderr) == (0, "The vault has a new key; records under it: 2.\n")
    assert (tmp_path / "one/state/vault/key").read_bytes() != before
    assert run("status").exit_code == 0


def test_an_export_is_private_and_never_written_over_a_file(run, exported) -> None:
    assert stat.S_IMODE(os.stat(exported).st_mode) == 0o600
    again = run("export", exported, "--passphrase-file", "-", text=PASSPHRASE)
    assert failure(again).code == "vault.export"


@pytest.mark.parametrize("text", ["short\n", "\n", ""])
def test_a_short_passphrase_is_refused(run, vault, tmp_path, text) -> None:
    result = run("export", str(tmp_path / "other"), "--passphrase-file", "-", text=text)
    assert failure(result).code == "vault.passphrase"
    assert not (tmp_path / "other").exists()


def test_without_a_terminal_the_passphrase_is_not_guessed(run, vault, tmp_path) -> None:
    assert isinstance(failure(run("export", str(tmp_path / "other"))), UsageError)


def test_an_export_opens_on_another_machine(run, exported, tmp_path) -> None:
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\nanother line\n")
    result = run("import", exported, "--passphrase-file", str(tmp_path / "passphrase"), home="two")
    assert result.exit_code == 0, result.output
    vault = open_vault(str(tmp_path / "two/state/vault"), {}, lambda text: None)
    assert vault.get("codex subscription") == {"token": "fake-at-0000"}
    assert vault.get("codex API key") == {"token": "fake-key-0000"}


def test_what_is_there_stays_unless_it_is_to_be_replaced(run, exported, vault) -> None:
    vault.put("codex subscription", {"token": "fake-at-0001"})
    kept = run("import", exported, "--passphrase-file", "-", text=PASSPHRASE)
    assert "codex subscription: there is one already" in kept.stderr
    assert vault.get("codex subscription") == {"token": "fake-at-0001"}
    run("import", exported, "--passphrase-file", "-", "--replace", text=PASSPHRASE)
    assert vault.get("codex subscription") == {"token": "fake-at-0000"}


def test_a_wrong_passphrase_changes_nothing(run, exported, tmp_path) -> None:
    result = run("import", exported, "--passphrase-file", "-", home="two", text="another passphrase")
    assert failure(result).code == "vault.import"
    assert not (tmp_path / "two").exists()
