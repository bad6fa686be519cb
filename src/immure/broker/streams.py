"""The client's standard descriptors, which go inside as they are, but for a terminal: a descriptor is a right that no wall takes back.

A directory handed in would be the host's tree from there on (`openat(0, "..")` leaves any mount namespace), a disk its whole content.

*Trust:* whoever typed the command may have redirected anything. *Fails:* closed: what is not known to be harmless is refused.
"""

import asyncio
import os
import stat
import termios
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from immure.broker.line import Line
from immure.errors import UsageError

_PIECE = 4096
_HARMLESS_DEVICES = frozenset(os.makedev(1, minor) for minor in (3, 5, 7, 8, 9))
"""null, zero, full, random, urandom (the kernel's admin-guide/devices.txt); the same major number has the machine's memory."""


async def read_to_end(descriptor: int, most: int) -> bytes:
    """What a stream holds up to its end, but not much more than `most` bytes. It is left as it is, for others may hold it too."""
    loop = asyncio.get_running_loop()
    content = b""
    while len(content) <= most:
        readable = asyncio.Event()
        try:
            loop.add_reader(descriptor, readable.set)
        except PermissionError:
            readable.set()  # epoll does not take files and some devices: they never let one wait (epoll_ctl(2))
        try:
            await readable.wait()
            piece = os.read(descriptor, _PIECE)
        finally:
            loop.remove_reader(descriptor)
        if not piece:
            break
        content += piece
    return content


def poured(content: bytes) -> int:
    """The reading end of a pipe that holds this and ends. A pipe takes 64 KiB without anybody to read (pipe(7))."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        os.write(writer, content)
    finally:
        os.close(writer)
    return reader


def check_streams(descriptors: Iterable[int]) -> None:
    """Raises UsageError for anything but files, pipes, sockets and devices that hold nothing."""
    for descriptor in descriptors:
        status = os.fstat(descriptor)
        kind = stat.S_IFMT(status.st_mode)
        if kind in (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK) or (kind == stat.S_IFCHR and status.st_rdev in _HARMLESS_DEVICES):
            continue
        name = "directory" if kind == stat.S_IFDIR else "device"
        raise UsageError(
            f"a standard stream is a {name}, which would go through the wall",
            code="usage.stream",
            hint="redirect stdin, stdout and stderr from and to files or pipes",
        )


@contextmanager
def standard_streams(given: Sequence[int | None], size: tuple[int, int] | None, uid: int | None, client: Line) -> Iterator[list[int]]:
    """Descriptors 0, 1 and 2 of a program: those given, with a new terminal of `size` for what is None, its other end for the client.

    The terminal belongs to `uid`, if that is not us.
    """
    if size is None:
        yield [fd for fd in given if fd is not None]
        return
    master, slave = os.openpty()
    try:
        termios.tcsetwinsize(slave, size)
        if uid is not None:
            os.fchown(slave, uid, -1)
        client.send_word("terminal", master)
        yield [slave if fd is None else fd for fd in given]
    finally:
        os.close(master)
        os.close(slave)
