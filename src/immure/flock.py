"""flock(2) with a time limit: the kernel's has none, and a signal does not interrupt it in a thread."""

import fcntl
import time
from typing import Final

_STEP: Final = 0.01
"""Seconds between two tries."""


def acquire(descriptor: int, patience: float) -> None:
    """Take the exclusive lock of an open file, for as long as it stays open. Raises TimeoutError after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not _try(descriptor):
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_STEP)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
