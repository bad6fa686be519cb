"""One at a time, across the threads and the processes of a user: a lock that dies with its holder.

It is flock(2) on a file of its own, opened anew by each holder: the kernel keeps such locks per open file description, so two threads
of one process exclude each other exactly as two processes do, and kill -9 releases it. The file stays; removing a lock file lets two
holders lock two different files of one name.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from immure import flock
from immure.errors import HostError

PATIENCE: Final = 120.0
"""Seconds to wait for a holder, which at worst waits for a slow upstream itself."""


@contextmanager
def holding(directory: str, name: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock `name` of a directory for the length of a `with`. Raises HostError if it is not free in time."""
    path = os.path.join(directory, hashlib.sha256(name.encode()).hexdigest()[:24] + ".lock")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise HostError(f"cannot open the lock {path}: {error.strerror}", code="vault.lock", hint=f"ls -l {path}") from None
    try:
        try:
            flock.acquire(fd, patience)
        except TimeoutError:
            raise HostError(
                f"another immure process has been holding {name} for {patience:.0f} seconds",
                code="vault.busy",
                hint=f"see which: fuser {path}",
            ) from None
        yield
    finally:
        os.close(fd)
