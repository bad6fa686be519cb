"""Who is calling? Answered while the caller stands still, in connect(2).

Every connect inside the sandbox is reported by seccomp and waits until we let it continue (seccomp_unotify(2)). In that moment the
process exists, its socket can be fetched, its program file can be opened, its parents can be followed; afterwards any of it may be gone.
What was learned is kept under the socket's cookie, a number the kernel never gives twice, and picked up when the connection is accepted.

Almost always all is known at once. A program that a rule names and that has changed must be read, and the words of an interpreter lie in
memory that its process can keep from us; then that caller alone is held longer, and the loop goes on.

Rules: the caller is always let go, whatever happens here, and nothing here waits for anybody (see `immure.gate.process`). What is
learned counts only if the kernel takes our answer in the end, else the process id may have changed hands.

*Trust:* the kernel's word on pids, sockets and files. A thread that shares no descriptors with its process can hide its socket, and
processes of one user inside can act for each other: this is attribution, not confinement. *Fails:* no entry, which is an unknown caller.
"""

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from math import inf
from typing import Final, Protocol

from immure.gate import process
from immure.gate.ancestry import Ancestry
from immure.gate.aside import Aside
from immure.gate.contents import Contents
from immure.gate.diag import Address, SocketDiag
from immure.gate.file_watch import FileWatch, RefusedFile
from immure.gate.loop import HANG_UP, READ, Loop
from immure.gate.script import is_interpreter, script_of
from immure.model import Binary, Caller, Process

MAX_WAITING: Final = 4096
"""Callers kept between connect and accept; the oldest is dropped first."""
MAX_HELD: Final = 256
"""Callers held until something is read. Of one above that, what would have to be read stays unknown."""
MAX_SCRIPTS: Final = 1024
PATIENCE: Final = 1.0
"""Seconds for an interpreter's words: there is nothing to decide by them."""
_READERS: Final = 2

# linux/seccomp.h: the ioctl numbers hold the sizes of struct seccomp_notif (80) and seccomp_notif_resp (24).
_RECEIVE: Final = 0xC0502100
_RESPOND: Final = 0xC0182101
_CONTINUE: Final = 1
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")

_SYS_CONNECT: Final = 42
_PIDFD_GETFD: Final = 438
_SO_COOKIE: Final = 57
_INTERNET: Final = (int(socket.AF_INET), int(socket.AF_INET6))

_libc = ctypes.CDLL(None, use_errno=True)


class CallerSource(Protocol):
    """Where a gate learns who opened a connection."""

    def name(self, binaries: Iterable[Binary]) -> None:
        """The programs that rules and credentials speak of from now on."""

    def caller_of(self, family: int, client: Address, destination: Address) -> Caller | None: ...


class Notice:
    """One connect that waits for us: its number, the cookie of its socket, and what is known of who made it.

    `line` is the caller's own process and after it its ancestors, `missing` how much of all that is still being read.
    """

    __slots__ = ("cookie", "due", "line", "missing", "number", "script")

    def __init__(self, number: int, cookie: bytes) -> None:
        self.number = number
        self.cookie = cookie
        self.line: list[Process] = []
        self.script = ""
        self.missing = 0
        self.due = inf

    @property
    def caller(self) -> Caller:
        own, *ancestors = self.line
        return Caller(own.binary, own.pid, self.script, tuple(ancestors))


class Identity:
    """The callers of one sandbox, by its seccomp notifications and its sock_diag socket. `first` is a pidfd of its first process."""

    def __init__(self, loop: Loop, notifications: int, diag: SocketDiag, first: int) -> None:
        self.deadline = inf
        self._loop = loop
        self._fd = notifications
        self._diag = diag
        self._ancestry = Ancestry(process.pid_of(first))
        self._contents = Contents(loop)
        self._words = Aside(loop, "words", _READERS)
        self._scripts: dict[process.Life, str] = {}
        self._held: dict[int, Notice] = {}
        self._files: FileWatch | None = None
        self._callers: dict[bytes, Caller] = {}
        loop.watch(notifications, READ, self)

    def name(self, binaries: Iterable[Binary]) -> None:
        self._contents.name(binaries)

    def watch_files(self, told: Callable[[RefusedFile], None]) -> None:
        """Have what would change files and is refused told; such calls are reported in a watched sandbox alone."""
        self._files = FileWatch(self._loop, self._let_go, told)

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
        number, thread, _, call, _, _, *arguments = _NOTIFICATION.unpack(notification)
        if call != _SYS_CONNECT:
            self._look_at_file(number, thread, call, tuple(arguments))
            return
        notice = None
        try:
            notice = self._look(number, thread, arguments[0] & 0xFFFFFFFF)
        except (OSError, ValueError):
            pass  # it was killed while we looked
        finally:
            if notice is None:
                self._let_go(number)
        if notice is not None and not notice.missing:
            self._finish(notice)

    def _look_at_file(self, number: int, thread: int, call: int, arguments: tuple[int, ...]) -> None:
        if self._files is None:
            self._let_go(number)
        else:
            self._files.look(number, thread, call, arguments)

    # Looking

    def _look(self, number: int, thread: int, fd: int) -> Notice | None:
        """What can be known at once of a caller, None if it concerns nobody; what must be read is begun to be read."""
        pid, pidfd = _process_of(thread)
        try:
            cookie = _cookie_of(pidfd, fd)
        finally:
            os.close(pidfd)
        if cookie is None:
            return None
        notice = Notice(number, cookie)
        life = process.life(pid)
        binary = process.program(thread)
        self._add(notice, Process(binary, pid), thread)
        for ancestor in self._ancestry.of(life):
            self._add(notice, ancestor, ancestor.pid)
        if is_interpreter(binary.path):
            self._find_script(notice, life)
        if notice.missing:
            self._held[number] = notice
        return notice

    def _add(self, notice: Notice, found: Process, thread: int) -> None:
        """Add a process to the line of a caller, its program read if it must be."""
        settled = self._contents.settled(found.binary)
        if settled is None and len(self._held) < MAX_HELD:
            self._contents.read(found.binary, process.program_file(thread), partial(self._has_read, notice, len(notice.line)))
            notice.missing += 1
        notice.line.append(Process(settled or found.binary, found.pid))

    def _has_read(self, notice: Notice, position: int, binary: Binary) -> None:
        notice.line[position] = replace(notice.line[position], binary=binary)
        self._has_come(notice)

    def _find_script(self, notice: Notice, life: process.Life) -> None:
        script = self._scripts.get(life)
        if script is not None:
            notice.script = script
        elif len(self._held) < MAX_HELD:
            notice.missing += 1
            notice.due = self._loop.now + PATIENCE
            if self.deadline == inf:
                self._loop.expect_within(PATIENCE, self)
            self._words.do(partial(process.words, life.pid), partial(self._has_words, notice, life))

    def _has_words(self, notice: Notice, life: process.Life, words: list[str] | None) -> None:
        if words is not None:
            notice.script = script_of(notice.line[0].binary.path, words)
            if len(self._scripts) >= MAX_SCRIPTS:
                del self._scripts[next(iter(self._scripts))]
            self._scripts[life] = notice.script
        if notice.due != inf:
            notice.due = inf
            self._has_come(notice)

    def _has_come(self, notice: Notice) -> None:
        notice.missing -= 1
        if not notice.missing:
            self._finish(notice)

    def expired(self) -> None:
        """Go on without the words of those that have kept them from us."""
        for notice in list(self._held.values()):
            if notice.due <= self._loop.now:
                notice.due = inf
                self._has_come(notice)
        due = min((notice.due for notice in self._held.values()), default=inf)
        if due != inf:
            self._loop.expect_within(due - self._loop.now, self)

    # Letting go

    def _finish(self, notice: Notice) -> None:
        """All is known: let the caller go, and keep what is known if it was still the one that stood there."""
        self._held.pop(notice.number, None)
        if not self._let_go(notice.number):
            return
        if len(self._callers) >= MAX_WAITING:
            del self._callers[next(iter(self._callers))]
        self._callers[notice.cookie] = notice.caller  # before its connection can be accepted, which is a later event

    def _let_go(self, number: int) -> bool:
        """Whether there was somebody: the kernel takes an answer only as long as the one who asked waits for it."""
        try:
            fcntl.ioctl(self._fd, _RESPOND, _RESPONSE.pack(number, 0, 0, _CONTINUE))
        except OSError:
            return False  # killed while we looked
        return True

    def abort(self) -> None:
        """One notification did harm: it was answered, and the next is served all the same."""


def _process_of(thread: int) -> tuple[int, int]:
    """The process of a thread that called, and a pidfd of it, which can be had only of a process."""
    try:
        return thread, os.pidfd_open(thread)
    except OSError:
        pid = process.leader(thread)
        return pid, os.pidfd_open(pid)


def _cookie_of(pidfd: int, fd: int) -> bytes | None:
    """The cookie of a TCP socket that the process holds as `fd`; None for any other kind of socket."""
    taken = _libc.syscall(_PIDFD_GETFD, ctypes.c_long(pidfd), ctypes.c_long(fd), ctypes.c_long(0))
    if taken < 0:
        return None
    held = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, taken)  # said and not asked for, which saves 10 µs; asked below
    try:
        if held.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) != socket.SOCK_STREAM:
            return None
        if held.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) not in _INTERNET:
            return None
        return held.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8)
    finally:
        held.close()
