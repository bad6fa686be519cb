"""Programs trusted as they were when they were first used: the digest of each that a rule or a credential names, by its path.

A program is pinned by the first launch whose rules name it. From then on its content is what it was then, or nothing is started that
names it, until the user says that the change is meant (`immure trust update`). Nothing but that replaces a pin.

Digests that were taken are kept beside the pins, each under device, inode and stamp of its file (`immure.digest`), so that a program is
read once and not at each launch.

One SQLite file, private to the user. A change is one transaction, on disk when it returns: kill -9 at any moment leaves the old or the
new, and two launches that use a program first at the same time pin one content.

*Trust:* the user's own file; programs may be anybody's. *Fails:* UsageError for a program that has changed, HostError for the file.
"""

import os
import shlex
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from immure.digest import measured, stamp_of
from immure.errors import HostError, UsageError
from immure.model import Binary

_BUSY: Final = 10.0
"""Seconds to wait while another process writes; a write takes milliseconds."""
_REMEMBERED: Final = 1000
"""Digests kept; the oldest go first."""
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS pin (path BLOB PRIMARY KEY, digest TEXT NOT NULL, since INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS content (number INTEGER PRIMARY KEY, device, inode, size, mtime, ctime, digest, UNIQUE (device, inode))",
)

State = Literal["same", "changed", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What is trusted at a path; `since` in seconds since the epoch."""

    path: str
    digest: str
    since: int


class Trust:
    """The pins of one user. All methods may be called from any thread."""

    def __init__(self, path: str) -> None:
        self._path = path

    # What there is

    def pins(self) -> tuple[Pin, ...]:
        """All pins, by path."""
        with self._connection() as connection:
            rows = connection.execute("SELECT path, digest, since FROM pin ORDER BY path").fetchall()
        return tuple(Pin(path=os.fsdecode(path), digest=digest, since=since) for path, digest, since in rows)

    def state(self, pin: Pin) -> State:
        """How the file at a pinned path is now."""
        try:
            return "same" if self.measured(pin.path).digest == pin.digest else "changed"
        except OSError:
            return "unreadable"

    def measured(self, path: str) -> Binary:
        """The binary at a path with its digest, and its stamp if that can be relied on. Raises OSError."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # which waits for no writer, should it be a FIFO
        try:
            status = os.fstat(descriptor)
            stamp = stamp_of(status)
            known = status.st_dev, status.st_ino, *stamp
            with self._connection() as connection:
                row = connection.execute(
                    "SELECT digest FROM content WHERE device = ? AND inode = ? AND size = ? AND mtime = ? AND ctime = ?", known
                ).fetchone()
            if row is not None:
                return Binary(path, status.st_dev, status.st_ino, row[0], stamp)
            binary = measured(path, descriptor)
        finally:
            os.close(descriptor)
        if binary.stamp:
            with self._connection() as connection:
                row = binary.device, binary.inode, *binary.stamp, binary.digest
                connection.execute("INSERT OR REPLACE INTO content (device, inode, size, mtime, ctime, digest) VALUES (?,?,?,?,?,?)", row)
                connection.execute("DELETE FROM content WHERE number <= (SELECT max(number) FROM content) - ?", (_REMEMBERED,))
        return binary

    def readable(self, path: str) -> Binary:
        """As `measured`. Raises UsageError."""
        try:
            return self.measured(path)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be read, so what is in it cannot be trusted: {error.strerror}",
                code="trust.unreadable",
                hint=f"ls -l {shlex.quote(path)}",
            ) from None

    # What is used

    def settle(self, paths: Iterable[str], now: float) -> tuple[dict[str, Binary], tuple[Binary, ...]]:
        """The binaries at these paths, each with the digest under which it is trusted, and those of them that were pinned by this.

        Raises UsageError for all that are not what they were, and pins nothing then.
        """
        found = {path: self.readable(path) for path in dict.fromkeys(paths)}
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            pinned = {path: _pinned(connection, path) for path in found}
            changed = [path for path, digest in pinned.items() if digest not in ("", found[path].digest)]
            if changed:
                raise _changed(changed)
            new = tuple(found[path] for path, digest in pinned.items() if not digest)
            for binary in new:
                _pin(connection, binary, now)
            connection.execute("COMMIT")
        return found, new

    def current(self, paths: Iterable[str]) -> dict[str, Binary]:
        """The binaries at those of these paths at which there is what is pinned."""
        trusted = {pin.path: pin.digest for pin in self.pins()}
        current = {}
        for path in paths:
            try:
                binary = self.measured(path)
            except OSError:
                continue
            if trusted.get(path) == binary.digest:
                current[path] = binary
        return current

    # What the user changes

    def update(self, path: str, now: float) -> tuple[str, str]:
        """Trust a pinned program as it is now. Returns the digests, old and new. Raises UsageError: it has no pin, or cannot be read."""
        binary = self.readable(path)
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            before = _pinned(connection, path)
            if not before:
                raise _unknown(path)
            if before != binary.digest:
                _pin(connection, binary, now)
            connection.execute("COMMIT")
        return before, binary.digest

    def remove(self, path: str) -> None:
        """Forget a program: its next use is its first. Raises UsageError if it has no pin."""
        with self._connection() as connection:
            if not connection.execute("DELETE FROM pin WHERE path = ?", (os.fsencode(path),)).rowcount:
                raise _unknown(path)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one piece of work; what is not committed at its end has not happened."""
        try:
            os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
            # Before SQLite sees it, which would make it by the umask; its journal takes its mode.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            connection = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous=FULL")
                for statement in _SCHEMA:
                    connection.execute(statement)
                yield connection
            finally:
                connection.close()
        except (OSError, sqlite3.Error) as error:
            raise HostError(
                f"the file of trusted programs {self._path} cannot be used: {error}",
                code="trust.file",
                hint=f"check free space and permissions: ls -l {shlex.quote(self._path)}",
            ) from None


def _pinned(connection: sqlite3.Connection, path: str) -> str:
    row = connection.execute("SELECT digest FROM pin WHERE path = ?", (os.fsencode(path),)).fetchone()
    return str(row[0]) if row is not None else ""


def _pin(connection: sqlite3.Connection, binary: Binary, now: float) -> None:
    connection.execute("INSERT OR REPLACE INTO pin VALUES (?, ?, ?)", (os.fsencode(binary.path), binary.digest, int(now)))


def _changed(paths: list[str]) -> UsageError:
    what = ", ".join(paths)
    verb = "have" if len(paths) > 1 else "has"
    return UsageError(
        f"{what} {verb} changed since you first used it with immure, or last said that it is right",
        code="trust.changed",
        hint=f"if you have updated it: immure trust update {shlex.join(paths)}",
    )


def _unknown(path: str) -> UsageError:
    return UsageError(f"{path} is not among the trusted programs", code="trust.unknown", hint="immure trust list")
