"""Where the key of a vault comes from, and what is refused."""

import base64
import os
import stat
import subprocess
import sys
import threading

import pytest

from immure.errors import HostError
from immure.vault.directory import make_private, require_private
from immure.vault.key import find_keyring, open_key


class Desktop:
    """A keyring that works, in memory."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password


class Locked(Desktop):
    def get_password(self, service: str, username: str) -> str | None:
        raise RuntimeError("the collection is locked")


class Forgetful(Desktop):
    def set_password(self, service: str, username: str, password: str) -> None:
        pass


class Prompting(Desktop):
    """Waits for a password that nobody types."""

    def __init__(self, given_up: threading.Event) -> None:
        super().__init__()
        self.given_up = given_up

    def get_password(self, service: str, username: str) -> str | None:
        self.given_up.wait()
        return None


@pytest.fixture
def directory(tmp_path) -> str:
    path = str(tmp_path / "vault")
    make_private(path)
    return path


@pytest.fixture
def said() -> list[str]:
    return []


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_without_a_keyring_the_key_is_a_private_file_and_that_is_said(directory, said) -> None:
    key = open_key(directory, lambda: None, said.append, fresh=True)
    assert len(key) == 32
    assert mode(directory) == 0o700
    assert mode(directory + "/key") == 0o600
    assert said == [f"No desktop keyring answers here: the key of the vault is the file {directory}/key (mode 0600)."]
    assert open_key(directory, lambda: None, said.append, fresh=False) == key
    assert len(said) == 1
    assert sorted(os.listdir(directory)) == ["key"]


def test_a_key_file_is_used_without_asking_any_keyring(directory, said) -> None:
    key = open_key(directory, lambda: None, said.append, fresh=True)
    asked = []
    assert open_key(directory, lambda: asked.append(1), said.append, fresh=False) == key
    assert not asked


def test_with_a_keyring_no_key_lies_on_disk(directory, said) -> None:
    desktop = Desktop()
    key = open_key(directory, lambda: desktop, said.append, fresh=True)
    assert list(desktop.held.values()) == [base64.b64encode(key).decode()]
    assert open_key(directory, lambda: desktop, said.append, fresh=False) == key
    assert not said
    for name in os.listdir(directory):
        with open(f"{directory}/{name}", "rb") as file:
            assert key not in file.read()


def test_a_making_that_was_interrupted_goes_on_with_the_key_the_keyring_has(directory, said) -> None:
    desktop = Desktop()
    key = open_key(directory, lambda: desktop, said.append, fresh=True)
    os.unlink(directory + "/key.keyring")
    assert open_key(directory, lambda: desktop, said.append, fresh=True) == key


@pytest.mark.parametrize("backend", [Locked(), Forgetful()])
def test_a_keyring_that_does_not_keep_the_key_is_not_trusted_with_it(directory, said, backend) -> None:
    open_key(directory, lambda: backend, said.append, fresh=True)
    assert sorted(os.listdir(directory)) == ["key"]
    assert len(said) == 1


def test_a_prompt_that_nobody_answers_does_not_stop_the_broker(directory, said) -> None:
    given_up = threading.Event()
    try:
        open_key(directory, lambda: Prompting(given_up), said.append, fresh=True, patience=0.05)
        assert os.path.exists(directory + "/key")
    finally:
        given_up.set()


@pytest.mark.parametrize("later", [None, Desktop(), Locked()])
def test_a_key_in_the_keyring_is_never_replaced_by_a_second_one(directory, said, later) -> None:
    open_key(directory, Desktop, said.append, fresh=True)
    with pytest.raises(HostError) as caught:
        open_key(directory, lambda: later, said.append, fresh=False)
    assert caught.value.code == "vault.keyring"
    assert "unlock the keyring" in caught.value.hint
    assert os.listdir(directory) == ["key.keyring"]


def test_a_lost_key_is_an_error_and_not_a_new_key(directory, said) -> None:
    with pytest.raises(HostError) as caught:
        open_key(directory, lambda: None, said.append, fresh=False)
    assert caught.value.code == "vault.no_key"
    assert os.listdir(directory) == []


@pytest.mark.parametrize("wide", [0o640, 0o604, 0o620, 0o777])
def test_a_key_file_that_others_may_open_is_refused(directory, said, wide) -> None:
    open_key(directory, lambda: None, said.append, fresh=True)
    os.chmod(directory + "/key", wide)
    with pytest.raises(HostError) as caught:
        open_key(directory, lambda: None, said.append, fresh=False)
    assert caught.value.code == "vault.permissions"
    assert f"chmod 600 {directory}/key" in caught.value.hint


def test_a_file_of_somebody_else_is_refused() -> None:
    with pytest.raises(HostError, match=f"belongs to user {os.geteuid() + 1}"):
        require_private("key", os.stat_result((stat.S_IFREG | 0o600, 1, 1, 1, os.geteuid() + 1, 0, 32, 0, 0, 0)))


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_key_of_the_wrong_size_is_refused(directory, said, content) -> None:
    with open(os.open(directory + "/key", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(content)
    with pytest.raises(HostError, match="does not hold a key"):
        open_key(directory, lambda: None, said.append, fresh=False)


def test_a_key_behind_a_symbolic_link_is_refused(directory, said, tmp_path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"k" * 32)
    os.symlink(tmp_path / "elsewhere", directory + "/key")
    with pytest.raises(HostError) as caught:
        open_key(directory, lambda: None, said.append, fresh=False)
    assert caught.value.code == "vault.key"


@pytest.mark.parametrize("wide", [0o755, 0o710, 0o770])
def test_a_directory_that_others_may_enter_is_refused(directory, wide) -> None:
    os.chmod(directory, wide)
    with pytest.raises(HostError) as caught:
        make_private(directory)
    assert caught.value.code == "vault.permissions"
    assert f"chmod 700 {directory}" in caught.value.hint


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_directory_that_is_none_is_refused(tmp_path, kind) -> None:
    path = tmp_path / "vault"
    path.touch() if kind == "file" else path.symlink_to(tmp_path)
    with pytest.raises(HostError, match="is not a directory"):
        make_private(str(path))


def test_without_a_session_bus_the_keyring_library_is_not_even_imported() -> None:
    program = "import sys; from immure.vault.key import find_keyring; print(find_keyring({}), 'keyring' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "None False\n"


def test_a_backend_that_keeps_nothing_is_no_keyring(monkeypatch) -> None:
    import keyring
    from keyring.backends import fail, null

    before = keyring.get_keyring()
    try:
        for backend in fail.Keyring(), null.Keyring():
            keyring.set_keyring(backend)
            assert find_keyring({"PYTHON_KEYRING_BACKEND": "chosen"}) is None
    finally:
        keyring.set_keyring(before)


def test_the_socket_of_a_session_bus_is_enough_to_ask(tmp_path) -> None:
    import keyring
    from keyring.backend import KeyringBackend

    class Working(KeyringBackend):
        priority = 5

        def get_password(self, service, username):
            return None

        def set_password(self, service, username, password):
            pass

    (tmp_path / "bus").touch()
    before = keyring.get_keyring()
    try:
        keyring.set_keyring(Working())
        assert isinstance(find_keyring({"XDG_RUNTIME_DIR": str(tmp_path)}), Working)
        assert find_keyring({"XDG_RUNTIME_DIR": str(tmp_path / "none")}) is None
    finally:
        keyring.set_keyring(before)
