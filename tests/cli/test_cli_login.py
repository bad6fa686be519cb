"""`immure login` and `immure logout` by their words, where nobody upstream is needed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import keyring
import pytest
from click.testing import CliRunner, Result
from keyring.backend import KeyringBackend

from immure.agents.codex.host_keyring import SERVICE, entry
from immure.cli.application import immure
from immure.errors import ImmureError

Run = Callable[..., Result]
TOKENS = {"id_token": "e30.e30.c2ln", "access_token": "fake-at-0000", "refresh_token": "fake-rt-0000", "account_id": "acct-0000"}
DOCUMENT = {"auth_mode": "chatgpt", "tokens": TOKENS, "last_refresh": "2099-01-01T00:00:00Z"}


class Desktop(KeyringBackend):
    """A keyring in memory."""

    priority = 5.0

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password


@pytest.fixture
def desktop() -> Iterator[Desktop]:
    before = keyring.get_keyring()
    found = Desktop()
    keyring.set_keyring(found)
    yield found
    keyring.set_keyring(before)


@pytest.fixture
def codex_home(tmp_path: Path) -> Path:
    home = tmp_path / ".codex"
    home.mkdir()
    return home


@pytest.fixture
def run(tmp_path: Path, codex_home: Path) -> Run:
    def invoke(*words: str, text: str = "", **more: str) -> Result:
        environment = {"IMMURE_HOME": str(tmp_path / "immure"), "CODEX_HOME": str(codex_home), "XDG_RUNTIME_DIR": None}
        return CliRunner().invoke(immure, words, env={**environment, "DBUS_SESSION_BUS_ADDRESS": None, **more}, input=text)

    return invoke


def failure(result: Result) -> ImmureError:
    assert isinstance(result.exception, ImmureError), result.output
    return result.exception


def states(run: Run) -> list[tuple[str, bool]]:
    return [(state["login"], state["used"]) for state in json.loads(run("login", "status", "--json").stdout)]


def test_without_a_login_the_ways_to_one_are_named_and_nothing_is_made(run, tmp_path) -> None:
    assert "`immure login codex`" in run("login", "status").stdout
    assert states(run) == []
    assert not (tmp_path / "immure").exists()
    assert run("logout").stderr.endswith("no codex login is in the vault\n")


@pytest.mark.parametrize("way", ["--with-api-key", "--with-access-token"])
@pytest.mark.parametrize("text", ["", "short", "fake key 0000"])
def test_what_is_no_secret_is_refused(run, way, text) -> None:
    error = failure(run("login", "codex", way, text=text))
    assert error.code == "login.malformed"
    assert "fake" not in error.render()


def test_a_token_of_another_kind_is_refused_with_the_way_there_is(run) -> None:
    error = failure(run("login", "codex", "--with-access-token", text="fake-header.fake-payload.fake-signature"))
    assert error.code == "login.malformed"
    assert "this is not an agent identity" in error.what
    assert "'at-'" in error.hint
    assert "fake" not in error.render()


def test_a_key_beside_a_subscription_is_kept_and_said_not_to_be_used(run, codex_home) -> None:
    (codex_home / "auth.json").write_text(json.dumps(DOCUMENT))
    first = run("login", "codex", "--with-api-key", text="fake-key-0000\n")
    assert "`immure codex` uses the Codex login of" in first.stderr
    assert states(run) == [("codex API key", False)]
    imported = run("login", "codex", "--import")
    assert imported.exit_code == 0, imported.output
    assert states(run) == [("codex API key", False), (f"codex {codex_home}", True)]
    assert "fake" not in run("login", "status").output
    assert "its use is billed" in run("login", "status").output


def test_a_key_alone_is_used_and_said_to_be_billed(run) -> None:
    result = run("login", "codex", "--with-api-key", text="fake-key-0000\n")
    assert result.stderr.endswith("Signed in: the Codex API key of `immure login`.\nIts use is billed.\n")
    assert states(run) == [("codex API key", True)]


def test_a_login_in_the_keyring_is_copied_and_becomes_our_own(run, codex_home, desktop) -> None:
    desktop.held[SERVICE, entry(str(codex_home))] = json.dumps(DOCUMENT)
    result = run("login", "codex", "--import", PYTHON_KEYRING_BACKEND="chosen")
    assert result.exit_code == 0, result.output
    assert "has to sign in again once immure has renewed" in result.stderr
    shown = json.loads(run("login", "status", "--json", PYTHON_KEYRING_BACKEND="chosen").stdout)
    assert [(state["login"], state["source"]) for state in shown] == [("codex subscription", "immure")]
    assert list(codex_home.iterdir()) == []


def test_without_file_and_keyring_there_is_nothing_to_import(run) -> None:
    error = failure(run("login", "codex", "--import"))
    assert (error.code, "no keyring answers here" in error.what) == ("login.missing", True)


def test_a_login_of_the_hosts_own_codex_is_forgotten_and_its_file_left(run, codex_home) -> None:
    (codex_home / "auth.json").write_text(json.dumps(DOCUMENT))
    run("login", "codex", "--import")
    result = run("logout", "codex")
    assert (result.exit_code, states(run)) == (0, [])
    assert "`codex logout` ends it there" in result.stderr
    assert json.loads((codex_home / "auth.json").read_text()) == DOCUMENT
