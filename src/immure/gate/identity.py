"""Who is calling? Answered while the caller stands still, in connect(2).

Every connect inside the sandbox is reported by seccomp and waits until we let it continue (seccomp_unotify(2)). In that moment the
process exists, its socket can be fetched, its program file can be opened; afterwards any of it may be gone. What was learned is kept
under the socket's cookie, a number the kernel never gives twice, and picked up when the connection is accepted.

Rules: the caller is always let go, whatever happens here, and nothing here waits for anybody: files are only looked at in a way that
asks no file system server (O_PATH, AT_STATX_DONT_SYNC), for the agent may run one. What is learned counts only if the notification is
still valid afterwards, else the process id may have changed hands.

*Trust:* the kernel's word on pids, sockets and files. A thread that shares no descriptors with its process can hide its socket, and
processes of one user inside can act for each other: this is attribution, not confinement. *Fails:* no entry, which is an unknown caller.
"""

import ctypes
import fcntl
import os
import socket
import struct
from math import inf
from typing import Final, Protocol

from immure.gate.diag import Address, SocketDiag
from immure.gate.loop import HANG_UP, READ, Loop
from immure.model import Binary, Caller

MAX_WAITING: Final = 4096
"""Callers kept between connect and accept; the oldest is dropped first."""

# linux/seccomp.h: the ioctl numbers hold the sizes of struct seccomp_notif (80) and seccomp_notif_resp (24).
_RECEIVE: Final = 0xC0502100
_RESPOND: Final = 0xC0182101
_STILL_VALID: Final = 0x40082102
_CONTINUE: Final = 1
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")

_PIDFD_GETFD: Final = 438
_SO_COOKIE: Final = 57

_AT_EMPTY_PATH: Final = 0x1000
_AT_STATX_DONT_SYNC: Final = 0x4000
_STATX_INO: Final = 0x100
_STATX_INODE_AT, _STATX_DEVICE_AT = 32, 136  # in struct statx (statx(2))

_libc = ctypes.CDLL(None, use_errno=True)


class CallerSource(Protocol):
    """Where a gate learns who opened a connection."""

    def caller_of(self, family: int, client: Address, destination: Address) -> Caller | None: ...


class Identity:
    """The callers of one sandbox, by its seccomp notifications and its sock_diag socket."""

    def __init__(self, loop: Loop, notifications: int, diag: SocketDiag) -> None:
        self.deadline = inf
        self._loop = loop
        self._fd = notifications
        self._diag = diag
        self._callers: dict[bytes, Caller] = {}
        loop.watch(notifications, READ, self)

    def caller_of(self, family: int, client: Address, destination: Address) -> Caller | None:
        """The caller behind an accepted connection; asked once for each."""
        cookie = self._diag.cookie(family, client, destination)
        return None if cookie is None else self._callers.pop(cookie, None)

    def ready(self, events: int) -> None:
        if events & HANG_UP and not events & READ:
            self._loop.forget(self._fd)  # nobody wears the filter any more
            return
        notification = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self._fd, _RECEIVE, notification)
        except OSError:
            return  # the caller was killed meanwhile
        number, thread, _, _, _, _, fd, *_ = _NOTIFICATION.unpack(notification)
        try:
            self._learn(number, thread, fd & 0xFFFFFFFF)
        finally:
            try:
                fcntl.ioctl(self._fd, _RESPOND, _RESPONSE.pack(number, 0, 0, _CONTINUE))
            except OSError:
                pass  # killed while we looked

    def _learn(self, number: int, thread: int, fd: int) -> None:
        try:
            process = _process_of(thread)
            cookie = _cookie_of(process, fd)
            if cookie is None:
                return
            caller = Caller(_binary(thread), process)
            fcntl.ioctl(self._fd, _STILL_VALID, struct.pack("=Q", number))
        except (OSError, ValueError):
            return
        if len(self._callers) >= MAX_WAITING:
            del self._callers[next(iter(self._callers))]
        self._callers[cookie] = caller

    def expired(self) -> None:
        """It has no deadline."""

    def abort(self) -> None:
        """One notification did harm: it was answered, and the next is served all the same."""


def _process_of(thread: int) -> int:
    """Notifications name the thread that called, and a pidfd can be had only of a process (before Linux 6.9)."""
    with open(f"/proc/{thread}/status", "rb", buffering=0) as file:
        status = file.read(4096)
    return int(status.partition(b"\nTgid:\t")[2].partition(b"\n")[0])


def _cookie_of(process: int, fd: int) -> bytes | None:
    """The cookie of a TCP socket that the process holds as `fd`; None for any other kind of socket."""
    pidfd = os.pidfd_open(process)
    try:
        taken = _libc.syscall(_PIDFD_GETFD, ctypes.c_long(pidfd), ctypes.c_long(fd), ctypes.c_long(0))
    finally:
        os.close(pidfd)
    if taken < 0:
        return None
    with socket.socket(fileno=taken) as held:
        if held.family not in (socket.AF_INET, socket.AF_INET6) or held.type != socket.SOCK_STREAM:
            return None
        return held.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8)


def _binary(process: int) -> Binary:
    """The program file of a process. `(deleted)` stays at the end of the path of one that has been replaced."""
    fd = os.open(f"/proc/{process}/exe", os.O_PATH | os.O_CLOEXEC)
    try:
        found = ctypes.create_string_buffer(256)
        if _libc.statx(fd, b"", _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, _STATX_INO, found) != 0:
            raise OSError(ctypes.get_errno(), "statx")
        major, minor = struct.unpack_from("=II", found, _STATX_DEVICE_AT)
        (inode,) = struct.unpack_from("=Q", found, _STATX_INODE_AT)
        return Binary(os.readlink(f"/proc/self/fd/{fd}"), os.makedev(major, minor), inode)
    finally:
        os.close(fd)
