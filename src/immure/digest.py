"""What is in a program file: its SHA-256, and the stamp under which it may be believed without reading the file again.

A stamp holds the ctime, which the kernel sets to the present at every change of a file's content, mode or links, and which no call sets
to anything else (utimensat(2) sets atime and mtime). So the same file with the same stamp has the same content, but for a change
within the same tick of the file system's clock: a file that changed just before it was read has no stamp.

*Trust:* the file may be anybody's to write, also while it is read. *Fails:* OSError: it cannot be read, changed meanwhile, or is larger
than any program.
"""

import errno
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from immure.model import Binary
from immure.model.caller import Stamp

SETTLED: Final = 2_000_000_000
"""Nanoseconds: the coarsest clock of a file system that holds programs (FAT: 2 s; ext4 with small inodes: 1 s)."""
LARGEST: Final = 4 << 30
"""Bytes. Codex has a fourteenth of it; a sparse file can be made to take hours."""
_CHUNK: Final = 256 * 1024


def stamp_of(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def measured(path: str, descriptor: int, clock: Callable[[], int] = time.time_ns) -> Binary:
    """The binary that is open at `descriptor`, with its digest. Takes 0.7 s for each gigabyte; other threads run on meanwhile."""
    before = os.fstat(descriptor)
    is_settled = clock() - before.st_ctime_ns > SETTLED
    if before.st_size > LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    found = hashlib.sha256()
    buffer = bytearray(_CHUNK)
    position = 0
    while count := os.preadv(descriptor, [buffer], position):
        found.update(memoryview(buffer)[:count])
        position += count
        if position > before.st_size:
            break  # it grows as we read, perhaps for ever
    if stamp_of(os.fstat(descriptor)) != stamp_of(before) or position != before.st_size:
        raise OSError(errno.EBUSY, "it changed while it was read", path)
    binary = Binary(path, before.st_dev, before.st_ino, found.hexdigest())
    return replace(binary, stamp=stamp_of(before)) if is_settled else binary
