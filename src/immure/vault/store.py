"""The records of a vault, in one SQLite file: a name and an envelope each.

A write is one statement in WAL mode with synchronous=FULL: when it returns, the record is on disk, and kill -9 or a power cut at any
moment leaves the old record or the new one, never a mixture (sqlite.org/atomiccommit.html, sqlite.org/wal.html). Each call opens the
file for itself, so threads and processes share a vault without sharing a connection.

A record is a JSON object; what its fields mean is its owner's business. Its name is stored in the clear and is no secret.

*Trust:* whoever can write the file. *Fails:* HostError that names the record and never its content.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from immure.errors import Fault, HostError
from immure.vault import envelope
from immure.vault.directory import make_private, require_private
from immure.vault.key import find_keyring, open_key
from immure.vault.lock import PATIENCE, holding

Record = dict[str, Any]

_FILE: Final = "records.db"
_BUSY: Final = 10.0
"""Seconds to wait while another process writes; a write takes milliseconds."""
_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS record (name TEXT PRIMARY KEY, envelope BLOB NOT NULL) WITHOUT ROWID"


def open_vault(directory: str, environment: Mapping[str, str], say: Callable[[str], None]) -> "Vault":
    """The vault in `directory`, made if there is none; `say` gets a sentence if its key must be a file. Raises HostError."""
    make_private(directory)
    with holding(directory, "key"):
        fresh = not os.path.exists(os.path.join(directory, _FILE))
        return Vault(directory, open_key(directory, lambda: find_keyring(environment), say, fresh=fresh))


class Vault:
    """Encrypted records by name. All methods may be called from any thread."""

    __slots__ = ("_directory", "_key", "_path")

    def __init__(self, directory: str, key: bytes) -> None:
        make_private(directory)
        self._directory = directory
        self._key = key
        self._path = os.path.join(directory, _FILE)
        _create(self._path)
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(_SCHEMA)

    def __repr__(self) -> str:
        return f"Vault({self._directory!r})"

    def get(self, name: str) -> Record | None:
        with self._connection() as connection:
            row = connection.execute("SELECT envelope FROM record WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        try:
            content = json.loads(envelope.unseal(self._key, name, row[0] if isinstance(row[0], bytes) else b""))
        except envelope.EnvelopeError as error:
            raise HostError(
                f"the vault's record {name!r} is damaged or was tampered with: it {error}",
                code="vault.record",
                hint=f"if the key was replaced, put the right one back; else remove {self._directory} and sign in again",
            ) from None
        if not isinstance(content, dict):
            raise Fault(f"the vault's record {name!r} is not an object", code="vault.content")
        return content

    def put(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a record, new or in place of the old; it is on disk when this returns."""
        sealed = envelope.seal(self._key, name, json.dumps(record).encode(), os.urandom(envelope.NONCE_SIZE))
        with self._connection() as connection:
            connection.execute(
                "INSERT INTO record VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET envelope = excluded.envelope", (name, sealed)
            )

    def delete(self, name: str) -> None:
        """Remove a record; one that is not there is no error."""
        with self._connection() as connection:
            connection.execute("DELETE FROM record WHERE name = ?", (name,))

    def names(self) -> tuple[str, ...]:
        with self._connection() as connection:
            return tuple(row[0] for row in connection.execute("SELECT name FROM record ORDER BY name"))

    def lock(self, name: str, patience: float = PATIENCE) -> AbstractContextManager[None]:
        """Hold the lock of a record, against every thread and process of this user. Not re-entrant."""
        return holding(self._directory, "record " + name, patience)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous=FULL")
                yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise HostError(
                f"the vault's file {self._path} cannot be used: {error}",
                code="vault.file",
                hint=f"check free space and permissions of {self._directory}",
            ) from None


def _create(path: str) -> None:
    """Make the file private before SQLite sees it, which would create it by the umask; its -wal and -shm files take its mode."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise HostError(f"cannot open the vault's file {path}: {error.strerror}", code="vault.file", hint=f"ls -l {path}") from None
    try:
        require_private(path, os.fstat(fd))
    finally:
        os.close(fd)
