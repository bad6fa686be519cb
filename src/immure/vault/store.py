"""The records of a vault, in one SQLite file: a name and an envelope each.

A write is one statement in WAL mode with synchronous=FULL: when it returns, the record is on disk, and kill -9 or a power cut at any
moment leaves the old record or the new one, never a mixture (sqlite.org/atomiccommit.html, sqlite.org/wal.html). Each call opens the
file for itself, so threads and processes share a vault without sharing a connection.

The file knows which key its records are sealed under, by a mark. A process that finds another mark than that of its key asks for the
key again, in the same transaction in which it reads or writes: so the key may be replaced while a broker runs.

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
from immure.vault.key import FindKeyring, Keyring, find_keyring, next_key, open_key, promote_next
from immure.vault.lock import PATIENCE, holding
from immure.vault.watch import Watch

Record = dict[str, Any]

_FILE: Final = "records.db"
_BUSY: Final = 10.0
"""Seconds to wait while another process writes; a write takes milliseconds."""
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS record (name TEXT PRIMARY KEY, envelope BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS seal (one INTEGER PRIMARY KEY CHECK (one = 1), mark TEXT NOT NULL)",
)


def open_vault(directory: str, environment: Mapping[str, str], say: Callable[[str], None]) -> "Vault":
    """The vault in `directory`, made if there is none; `say` gets a sentence if its key must be a file. Raises HostError."""
    make_private(directory)

    def find() -> Keyring | None:
        return find_keyring(environment)

    def key() -> bytes:
        with holding(directory, "key"):
            return settled_key(directory, find, say)

    return Vault(directory, key(), key)


def settled_key(directory: str, find: FindKeyring, say: Callable[[str], None]) -> bytes:
    """The key under which the records are, after ending a replacement that was interrupted; made if there is no vault. Raises HostError.

    The caller holds the lock of the key.
    """
    fresh = not os.path.exists(os.path.join(directory, _FILE))
    key = open_key(directory, find, say, fresh=fresh)
    if fresh or (mark := Vault(directory, key).mark) == envelope.mark(key):
        return key
    following = next_key(directory, find)
    if following is None or envelope.mark(following) != mark:
        return key  # a wrong one, which the first record tells
    promote_next(directory, following, find)
    return following


class Vault:
    """Encrypted records by name. All methods may be called from any thread."""

    __slots__ = ("_directory", "_key", "_path", "_reopen")

    def __init__(self, directory: str, key: bytes, reopen: Callable[[], bytes] | None = None) -> None:
        """`reopen` gives the key anew, if it was replaced."""
        make_private(directory)
        self._directory = directory
        self._key = key
        self._reopen = reopen
        self._path = os.path.join(directory, _FILE)
        _create(self._path)
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            for statement in _SCHEMA:
                connection.execute(statement)
            if not _mark(connection):
                connection.execute("INSERT OR IGNORE INTO seal VALUES (1, ?)", (envelope.mark(key),))

    def __repr__(self) -> str:
        return f"Vault({self._directory!r})"

    @property
    def mark(self) -> str:
        """That of the key under which the records are sealed."""
        with self._connection() as connection:
            return _mark(connection)

    def get(self, name: str) -> Record | None:
        with self._transaction("DEFERRED") as (connection, key):
            row = connection.execute("SELECT envelope FROM record WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        content = json.loads(self._unsealed(key, name, row[0]))
        if not isinstance(content, dict):
            raise Fault(f"the vault's record {name!r} is not an object", code="vault.content")
        return content

    def put(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a record, new or in place of the old; it is on disk when this returns."""
        with self._transaction("IMMEDIATE") as (connection, key):
            if _mark(connection) != envelope.mark(key):
                raise HostError(
                    "the key of the vault is not the one that its records are sealed under",
                    code="vault.key",
                    hint=f"put the right key back into {self._directory}, or remove that directory and sign in again",
                )
            sealed = envelope.seal(key, name, json.dumps(record).encode(), os.urandom(envelope.NONCE_SIZE))
            connection.execute(
                "INSERT INTO record VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET envelope = excluded.envelope", (name, sealed)
            )

    def reseal(self, key: bytes) -> int:
        """Seal every record under another key, all or none, and leave no trace of the old envelopes. Returns how many there are."""
        with self._transaction("IMMEDIATE", "PRAGMA secure_delete=ON") as (connection, present):
            rows = connection.execute("SELECT name, envelope FROM record").fetchall()
            for name, sealed in rows:
                content = self._unsealed(present, name, sealed)
                connection.execute(
                    "UPDATE record SET envelope = ? WHERE name = ?",
                    (envelope.seal(key, name, content, os.urandom(envelope.NONCE_SIZE)), name),
                )
            connection.execute("UPDATE seal SET mark = ?", (envelope.mark(key),))
        self._key = key
        with self._connection() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(rows)

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

    def watch(self) -> Watch:
        return Watch(self._path)

    def _unsealed(self, key: bytes, name: str, sealed: object) -> bytes:
        try:
            return envelope.unseal(key, name, sealed if isinstance(sealed, bytes) else b"")
        except envelope.EnvelopeError as error:
            raise HostError(
                f"the vault's record {name!r} is damaged or was tampered with: it {error}",
                code="vault.record",
                hint=f"if the key was replaced, put the right one back; else remove {self._directory} and sign in again",
            ) from None

    @contextmanager
    def _transaction(self, kind: str, *before: str) -> Iterator[tuple[sqlite3.Connection, bytes]]:
        """A transaction, and the key that is right in it as far as this process can know."""
        with self._connection() as connection:
            for statement in before:
                connection.execute(statement)
            connection.execute(f"BEGIN {kind}")
            try:
                if self._reopen is not None and _mark(connection) != envelope.mark(self._key):
                    # Another process has replaced the key, and holds its lock until the new one can be read.
                    connection.execute("ROLLBACK")
                    self._key = self._reopen()
                    connection.execute(f"BEGIN {kind}")
                yield connection, self._key
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

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


def _mark(connection: sqlite3.Connection) -> str:
    row = connection.execute("SELECT mark FROM seal").fetchone()
    return str(row[0]) if row is not None else ""


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
