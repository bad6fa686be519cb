"""Whether anything in a vault has changed, for whoever cannot be told: SQLite counts the commits of others.

One connection stays open, for the number that it is asked for (PRAGMA data_version) means something to that connection alone. It never
reads or writes a record, and keeps nobody from writing.
"""

import os
import sqlite3


class Watch:
    """Of the vault's file at `path`. One thread at a time may call."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._seen: tuple[int, int] | None = None

    def changed(self) -> bool:
        """Whether it may have changed since this was asked before: True the first time, and while the file cannot be read."""
        try:
            inode = os.stat(self._path).st_ino
            if self._seen is not None and inode != self._seen[0]:
                self.close()  # another vault lies there now
            if self._connection is None:
                self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except (OSError, sqlite3.Error):
            self.close()
            return True
        before, self._seen = self._seen, (inode, version)
        return self._seen != before

    def close(self) -> None:
        self._seen = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
