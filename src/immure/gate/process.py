"""A process, looked at from outside through /proc: its program file, its parent, its words.

Pids are those of the pid namespace that we are in ourselves, as seccomp notifications give them too, however many namespaces the
process has around it: /proc is mounted for ours (pid_namespaces(7)).

Rules: nothing here waits for the process or for a file system that it serves, but `words`. Of files the
attributes are taken that are at hand (AT_STATX_DONT_SYNC), and descriptors that open nothing (O_PATH). `words` reads the process's
memory, whose lock it can hold for as long as it likes.

*Fails:* OSError or ValueError, when the process is gone.
"""

import ctypes
import os
import struct
from typing import Final, NamedTuple

from immure.model import Binary

_LONGEST_WORDS: Final = 4096
_AT_FDCWD: Final = -100
_AT_STATX_DONT_SYNC: Final = 0x4000
_STATX_BASIC_STATS: Final = 0x7FF
_STATX = struct.Struct("=32xQQ48xqI4xqI4x8xII")
"""struct statx (statx(2)): inode, size, ctime, mtime, device."""

_libc = ctypes.CDLL(None, use_errno=True)
_found = ctypes.create_string_buffer(256)


class Life(NamedTuple):
    """What tells a process from all others, its program before an exec from that after it, and by whom it was started.

    `arguments` is the address of its words on the stack, which differs after each exec (unless the process has asked for addresses that
    are not random, see personality(2)).
    """

    pid: int
    parent: int
    begun: int
    arguments: int


def leader(thread: int) -> int:
    """The process that a thread is of. A pidfd can be had only of a process."""
    status = _read(f"/proc/{thread}/status")
    return int(status.partition(b"\nTgid:\t")[2].partition(b"\n")[0])


def life(pid: int) -> Life:
    """From /proc/PID/stat (proc_pid_stat(5)), in which only the name, in parentheses, can hold anything."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b") ")[2].split()
    return Life(pid, int(fields[1]), int(fields[19]), int(fields[45]))


def program(pid: int) -> Binary:
    """The program file of a process, with its stamp. `(deleted)` stays at the end of the path of one that has been replaced.

    File and path are asked for one after the other: if the process may run another program meanwhile, they may be of two.
    """
    path = f"/proc/{pid}/exe"
    if _libc.statx(_AT_FDCWD, path.encode(), _AT_STATX_DONT_SYNC, _STATX_BASIC_STATS, _found) != 0:
        raise OSError(ctypes.get_errno(), "statx")
    inode, size, changed, changed_ns, written, written_ns, major, minor = _STATX.unpack_from(_found)
    stamp = size, written * 1_000_000_000 + written_ns, changed * 1_000_000_000 + changed_ns
    return Binary(os.readlink(path), os.makedev(major, minor), inode, stamp=stamp)


def program_file(pid: int) -> int:
    """A descriptor of the program file of a process, which it does not open; the caller's to close."""
    return os.open(f"/proc/{pid}/exe", os.O_PATH | os.O_CLOEXEC)


def words(pid: int) -> list[str]:
    """The arguments that the process was started with, as it has them now; the first 4 KiB. May wait for the process."""
    return [word.decode("utf-8", "surrogateescape") for word in _read(f"/proc/{pid}/cmdline").split(b"\0")[:-1]]


def pid_of(pidfd: int) -> int:
    """The pid behind a pidfd (proc_pid_fdinfo(5))."""
    return int(_read(f"/proc/self/fdinfo/{pidfd}").partition(b"\nPid:\t")[2].partition(b"\n")[0])


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _LONGEST_WORDS)
    finally:
        os.close(descriptor)
