"""The kernel, called directly: what attacks are made of."""

import ctypes
import errno
import json
import os
import subprocess
from collections.abc import Callable

from immure.attack.attack import Stopped

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE, MNT_DETACH = 1, 32, 4096, 8192, 0x4000, 1 << 18, 2
RENAME_EXCHANGE = 2
RENAMEAT2 = 316
AT_FDCWD = -100


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def syscall(number: int, *arguments: object) -> int:
    """By its number on x86-64. Raises OSError."""
    return checked(libc.syscall(ctypes.c_long(number), *[ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]))


def read(path: str) -> str:
    """That it can be read; never what stands there."""
    with open(path, "rb") as file:
        return f"{len(file.read(4096))} bytes"


def said(*words: str) -> str:
    """The last line that a program says. If it fails, raises OSError with the error that its complaint ends with."""
    result = subprocess.run(words, capture_output=True, text=True, timeout=20, env={**os.environ, "LC_ALL": "C"})
    if result.returncode:
        complaint = result.stderr.strip().rpartition(": ")[2]
        raise OSError(next((number for number in errno.errorcode if os.strerror(number) == complaint), 0), complaint)
    return (result.stdout.strip().splitlines() or [""])[-1]


def in_child(program: Callable[[], object]) -> object:
    """What it returns in a forked child, which may change namespaces without changing ours."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer: list[object] = ["returned", str(program())]
        except Stopped as stopped:
            answer = ["stopped", str(stopped)]
        except OSError as error:
            answer = ["failed", error.errno, str(error.strerror)]
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    kind, *answer = json.loads(data)
    if kind == "stopped":
        raise Stopped(answer[0])
    if kind == "failed":
        raise OSError(*answer)
    return answer[0]


def new_namespaces(flags: int) -> None:
    """Be root of a new user namespace with these others."""
    uid, gid = os.getuid(), os.getgid()
    checked(libc.unshare(CLONE_NEWUSER | flags))
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def with_namespaces(flags: int, program: Callable[[], object]) -> object:
    """What it returns as root of a user namespace of its own, with these others."""

    def run() -> object:
        new_namespaces(flags)
        return program()

    return in_child(run)


def with_root(program: Callable[[], object]) -> object:
    return with_namespaces(0, program)


def in_mount_namespace(program: Callable[[], object]) -> object:
    return with_namespaces(CLONE_NEWNS, program)


def mount(source: str, target: str, kind: str | None = None, flags: int = 0) -> None:
    encoded = [None if word is None else word.encode() for word in (source, target, kind)]
    checked(libc.mount(*encoded, ctypes.c_ulong(flags), None))


def opens_for_writing(path: str) -> str:
    """That it can be; nothing is written."""
    os.close(os.open(path, os.O_WRONLY))
    return "opened"
