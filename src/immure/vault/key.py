"""The key of a vault: 32 random bytes, in the desktop's keyring where there is one, else in a file of mode 0600.

Where the key went is decided once, when the vault is made, and written down (`key.keyring`): a later session without a desktop must
say that it cannot reach the key, never quietly make a second one under which no record opens.

When the key is replaced, the next one stands beside it (`key.next`) until every record is sealed under it and it takes its place; which
of the two is right in between, the records know (`store`).

Rules: the `keyring` library is imported only when a keyring can exist, because the import alone takes longer than a sandbox. A backend
that is less than a real key store (priority below 1: the null, failing and plain-text ones) does not count as a keyring.

*Trust:* the key file is read only if nobody else could have written it. *Fails:* HostError; no key is ever replaced.
"""

import base64
import binascii
import os
import threading
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from immure.errors import HostError
from immure.vault.directory import require_private, sync
from immure.vault.envelope import KEY_SIZE

_FILE: Final = "key"
_NEXT: Final = "key.next"
_IN_KEYRING: Final = "key.keyring"
_SERVICE: Final = "immure vault"
PATIENCE: Final = 60.0
"""Seconds that a keyring may take to answer: it may be asking the user for a password, or nobody may ever answer the prompt."""


class Keyring(Protocol):
    """The calls of a `keyring` backend that we make; each may raise anything."""

    def get_password(self, service: str, username: str) -> str | None: ...
    def set_password(self, service: str, username: str, password: str) -> None: ...
    def delete_password(self, service: str, username: str) -> None: ...


FindKeyring = Callable[[], Keyring | None]


def find_keyring(environment: Mapping[str, str]) -> Keyring | None:
    """The desktop's keyring, or None where there is no session bus and no backend was chosen by PYTHON_KEYRING_BACKEND."""
    bus = environment.get("DBUS_SESSION_BUS_ADDRESS") or _bus_socket(environment.get("XDG_RUNTIME_DIR", ""))
    if not bus and not environment.get("PYTHON_KEYRING_BACKEND"):
        return None
    import keyring

    backend = keyring.get_keyring()
    return backend if backend.priority >= 1 else None


def open_key(directory: str, find: FindKeyring, say: Callable[[str], None], *, fresh: bool, patience: float = PATIENCE) -> bytes:
    """The key of the vault in `directory`, made now if the vault is `fresh`. Raises HostError.

    The directory is private already, and the caller holds the lock under which its key is made. `find` is called only if the key is
    not a file.
    """
    key = _read_file(os.path.join(directory, _FILE))
    if key is not None:
        return key
    entry = _keyring_entry(directory)
    if entry is not None:
        key = _ask(find(), entry, patience)
        if key is None:
            raise HostError(
                "the key of the vault is in your desktop's keyring, and the keyring does not give it",
                code="vault.keyring",
                hint=f"unlock the keyring and run immure from the desktop session (entry: {_SERVICE}, {entry})",
            )
        return key
    if not fresh:
        raise HostError(
            f"the key of the vault in {directory} is gone",
            code="vault.no_key",
            hint=f"restore {directory}/{_FILE} from a backup, or remove the directory and sign in again",
        )
    return _make(directory, find(), say, patience)


def is_in_keyring(directory: str) -> bool:
    """Whether the key of a vault went into the desktop's keyring."""
    return _keyring_entry(directory) is not None


def next_key(directory: str, find: FindKeyring, patience: float = PATIENCE) -> bytes | None:
    """The key that a replacement which was interrupted has left beside the present one, or None. Raises HostError."""
    entry = _keyring_entry(directory)
    return _read_file(os.path.join(directory, _NEXT)) if entry is None else _ask(find(), _next_entry(entry), patience)


def make_next(directory: str, find: FindKeyring, patience: float = PATIENCE) -> bytes:
    """A new key, kept beside the present one. Raises HostError if it could not be read back."""
    made = os.urandom(KEY_SIZE)
    entry = _keyring_entry(directory)
    if entry is None:
        _write(os.path.join(directory, _NEXT), made)
        return made
    kept = _ask(find(), _next_entry(entry), patience, otherwise=made)
    if kept is None:
        raise HostError("the desktop's keyring does not keep a new key", code="vault.keyring", hint="unlock the keyring and try again")
    return kept


def promote_next(directory: str, key: bytes, find: FindKeyring, patience: float = PATIENCE) -> None:
    """Put the next key in the place of the present one, which is lost by that. May be repeated."""
    entry = _keyring_entry(directory)
    if entry is None:
        os.rename(os.path.join(directory, _NEXT), os.path.join(directory, _FILE))
        sync(directory)
    elif _ask(find(), entry, patience, replacement=key) == key:
        drop_next(directory, find, patience)


def drop_next(directory: str, find: FindKeyring, patience: float = PATIENCE) -> None:
    """Remove a next key under which nothing is sealed."""
    entry = _keyring_entry(directory)
    if entry is not None:
        _ask(find(), _next_entry(entry), patience, remove=True)
        return
    try:
        os.unlink(os.path.join(directory, _NEXT))
    except FileNotFoundError:
        pass


def _make(directory: str, keyring: Keyring | None, say: Callable[[str], None], patience: float) -> bytes:
    made = os.urandom(KEY_SIZE)
    entry = os.path.realpath(directory)
    # Kept only if it can be read back. An entry that is there already belongs to a vault whose making was interrupted: its key is ours.
    kept = _ask(keyring, entry, patience, otherwise=made)
    if kept is not None:
        _write(os.path.join(directory, _IN_KEYRING), entry.encode())
        return kept
    path = os.path.join(directory, _FILE)
    _write(path, made)
    say(f"No desktop keyring answers here: the key of the vault is the file {path} (mode 0600).")
    return made


def _ask(
    keyring: Keyring | None,
    entry: str,
    patience: float,
    *,
    otherwise: bytes | None = None,
    replacement: bytes | None = None,
    remove: bool = False,
) -> bytes | None:
    """The key that the keyring holds, or None; first `otherwise` is stored if it holds none, `replacement` in any case.

    A prompt that nobody answers must not stop the broker, so the question has a thread of its own that is left behind.
    """
    if keyring is None:
        return None
    answers: list[str | None] = []

    def ask() -> None:
        try:
            held = keyring.get_password(_SERVICE, entry)
            wanted = replacement or (otherwise if held is None else None)
            if wanted is not None:
                keyring.set_password(_SERVICE, entry, base64.b64encode(wanted).decode())
                held = keyring.get_password(_SERVICE, entry)
            elif remove and held is not None:
                keyring.delete_password(_SERVICE, entry)
                held = None
            answers.append(held)
        except Exception:  # backends raise the errors of their own libraries (D-Bus, KWallet), which share no base class
            answers.append(None)

    thread = threading.Thread(target=ask, name="keyring", daemon=True)
    thread.start()
    thread.join(patience)
    try:
        key = base64.b64decode((answers and answers[0]) or "", validate=True)
    except binascii.Error:
        return None
    return key if len(key) == KEY_SIZE else None


def _bus_socket(runtime: str) -> str:
    path = runtime + "/bus"
    return path if runtime and os.path.exists(path) else ""


def _keyring_entry(directory: str) -> str | None:
    """The name under which the keyring holds this vault's key, if that is where it went."""
    try:
        with open(os.path.join(directory, _IN_KEYRING), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _next_entry(entry: str) -> str:
    return entry + " (next)"


def _read_file(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"cannot read the key of the vault, {path}: {error.strerror}", code="vault.key", hint=f"ls -l {path}") from None
    try:
        require_private(path, os.fstat(fd))
        key = os.read(fd, KEY_SIZE + 1)
    finally:
        os.close(fd)
    if len(key) != KEY_SIZE:
        raise HostError(
            f"{path} does not hold a key of {KEY_SIZE} bytes",
            code="vault.key",
            hint="restore it from a backup, or remove the vault's directory and sign in again",
        )
    return key


def _write(path: str, content: bytes) -> None:
    """Put `content` at `path`, durably, whole or not at all (rename(2))."""
    draft = path + ".new"
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(draft, path)
        sync(os.path.dirname(path))
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}", code="vault.key", hint="check free space and permissions") from None
