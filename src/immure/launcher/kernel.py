"""The system calls that Python's `os` does not offer, by ctypes. x86-64 numbers; other machines are refused at start."""

import ctypes
import os
import platform
import signal
import struct

SUPPORTED_MACHINES = ("x86_64",)

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

_SYS_CLONE = 56
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_MOUNT_SETATTR = 442

_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_AT_EMPTY_PATH = 0x1000
_AT_SYMLINK_NOFOLLOW = 0x100
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_IDMAP = 0x00100000
_MOUNT_ATTR_RDONLY = 1
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18
_MS_NOSUID = 2
_MS_NODEV = 4

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def machine() -> str:
    return platform.machine()


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(what: str, number: int, *arguments: object) -> int:
    """syscall(2). Integers are passed as C longs. Raises OSError naming `what`."""
    return _checked(_libc.syscall(number, *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)), what)


def fork(namespaces: int) -> int:
    """fork(2) whose child begins in new namespaces: clone(2) with these flags. Returns 0 in the child. Raises OSError.

    Only for a process without threads: what Python and the C library do about locks at a fork is not done.
    """
    return syscall("clone", _SYS_CLONE, namespaces | signal.SIGCHLD, 0, 0, 0, 0)


def unshare(flags: int) -> None:
    """unshare(2)"""
    _checked(_libc.unshare(flags), "unshare")


def enter(process: int, namespaces: int) -> None:
    """setns(2) by pidfd: from here on in these namespaces of that process (Linux 5.8)."""
    _checked(_libc.setns(process, namespaces), "setns")


def _prctl(option: int, value: int) -> None:
    _checked(_libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)), f"prctl {option}")


def die_with_parent(signal_number: int) -> None:
    """Be sent this signal when the thread that forked us ends (PR_SET_PDEATHSIG)."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def set_dumpable() -> None:
    """After a change of uid, or a fork by a process without, /proc/self belongs to root until this is set, and with it the id maps."""
    _prctl(_PR_SET_DUMPABLE, 1)


def hide_memory() -> None:
    """No core file, and no other program of the same user reads this process's memory (PR_SET_DUMPABLE)."""
    _prctl(_PR_SET_DUMPABLE, 0)


def no_new_privileges() -> None:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    result = _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _checked(result, f"mount {target}")


def make_mounts_private() -> None:
    """Nothing mounted from now on is seen outside this mount namespace."""
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)


def mount_tmpfs(target: str) -> None:
    _mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755")


def clone_mount(path: str, *, recursive: bool, follow: bool = True) -> int:
    """A detached copy of the mount at `path` (open_tree(2)), as a descriptor; unless `follow`, of a link itself."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (_AT_RECURSIVE if recursive else 0) | (0 if follow else _AT_SYMLINK_NOFOLLOW)
    return syscall(f"open_tree {path}", _SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)


def map_mount(mount: int, user_namespace: int, path: str, *, recursive: bool) -> None:
    """Show the files of a detached mount of `path` with the ids of a user namespace (mount_setattr(2), Linux 5.12)."""
    attributes = struct.pack("=QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, user_namespace)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    syscall(f"mount_setattr {path}", _SYS_MOUNT_SETATTR, mount, b"", flags, attributes, len(attributes))


def make_read_only(mount: int, path: str) -> None:
    """A detached mount of `path`, with what is mounted in it (mount_setattr(2), Linux 5.12)."""
    attributes = struct.pack("=QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    syscall(f"mount_setattr {path}", _SYS_MOUNT_SETATTR, mount, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, attributes, len(attributes))


def attach_mount(mount: int, target: str) -> None:
    """Put a detached mount at `target` (move_mount(2))."""
    syscall(f"move_mount {target}", _SYS_MOVE_MOUNT, mount, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)


def write_id_maps(inner: int, outer_uid: int, outer_gid: int, pid: str = "self") -> None:
    """Map one user and one group id (user_namespaces(7)): the only maps that an unprivileged process may write."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inner} {outer_uid} 1"),
        ("gid_map", f"{inner} {outer_gid} 1"),
    ):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(text)
