"""Would this be refused? A path looked at as a process of the sandbox sees it, without changing anything.

The answer comes from the rights and the mounts, as access(2) weighs them for our own user, which is that of the sandbox: who owns a file,
and whether the mount it lies on is read-only.

Rules: paths are resolved below the process's own root (openat2(2), RESOLVE_IN_ROOT), never below ours. *Trust:* the path is an agent's,
and may change while we look: this is for people to read, and decides nothing. *Fails:* OSError, when the process is gone.
"""

import ctypes
import errno
import os
import posixpath
import stat
import struct
from typing import Final

from immure.gate.file_call import AT_FDCWD, CALLS, Need, Operand, absolute, need_of

_LONGEST_PATH: Final = 4096
_PAGE: Final = 4096
_MOST_LINKS: Final = 40
"""As many as the kernel follows (path_resolution(7))."""
_SYS_OPENAT2: Final = 437
_RESOLVE_IN_ROOT: Final = 0x10
_READ_ONLY: Final = "it is read-only inside"
_NOT_PERMITTED: Final = "it is not permitted inside"
_NOT_SHOWN: Final = "its directory is not shown inside"
_COVERED: Final = "it is a mount inside"

_libc = ctypes.CDLL(None, use_errno=True)


class _Span(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def refusal(thread: int, number: int, arguments: tuple[int, ...]) -> tuple[str, str, str] | None:
    """Operation, path and reason, if the system call that a thread stands in would be refused. May wait for a file system."""
    call = CALLS[number]
    for operand in call.operands:
        need: Need | None = operand.need
        if call.flags is not None:
            need = need_of(arguments[call.flags])
        elif call.how is not None:
            need = need_of(_flags(thread, arguments[call.how]))
        if need is None:
            return None
        path = _path(thread, operand, arguments)
        root = os.open(f"/proc/{thread}/root", os.O_PATH | os.O_CLOEXEC)
        try:
            reason = _refused(root, path, need)
        finally:
            os.close(root)
        if reason:
            return call.operation, path, reason
    return None


def _refused(root: int, path: str, need: Need) -> str:
    """Why, or nothing."""
    try:
        found = _open(root, path, follow=need is not Need.ENTRY)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            return _NOT_PERMITTED
        if error.errno != errno.ENOENT or need not in (Need.PLACE, Need.FILE_OR_PLACE):
            return ""
        return _in_directory(root, _led_to(root, path) if need is Need.FILE_OR_PLACE else path)
    try:
        if need is Need.ENTRY:
            return _in_directory(root, path) or _of_entry(root, path, found)
        return "" if need is Need.PLACE else _not_writable(found)
    finally:
        os.close(found)


def _in_directory(root: int, path: str) -> str:
    """Why nothing can be made or removed beside a path."""
    above = posixpath.dirname(path)
    try:
        directory = _open(root, above)
    except FileNotFoundError:
        return _NOT_SHOWN if _is_outside(above) else ""
    except OSError as error:
        return _NOT_PERMITTED if error.errno in (errno.EACCES, errno.EPERM) else ""
    try:
        return _not_writable(directory)
    finally:
        os.close(directory)


def _led_to(root: int, path: str) -> str:
    """Where a file would be made: a symbolic link may lead to what is not there."""
    for _ in range(_MOST_LINKS):
        try:
            link = _open(root, path, follow=False)
        except FileNotFoundError:
            break
        try:
            path = absolute(posixpath.dirname(path), os.readlink("", dir_fd=link))
        finally:
            os.close(link)
    return path


def _is_outside(directory: str) -> bool:
    """Whether the host has it, as far as our own user can tell: what lies in a private directory may well be there."""
    try:
        os.stat(directory)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _of_entry(root: int, path: str, entry: int) -> str:
    """What is mounted cannot be moved or removed (rename(2), EBUSY)."""
    directory = _open(root, posixpath.dirname(path))
    try:
        return "" if _mount_of(directory) == _mount_of(entry) else _COVERED
    finally:
        os.close(directory)


def _not_writable(descriptor: int) -> str:
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind in (stat.S_IFREG, stat.S_IFDIR) and os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
        return _READ_ONLY
    return "" if os.access(f"/proc/self/fd/{descriptor}", os.W_OK) else _NOT_PERMITTED


def _open(root: int, path: str, *, follow: bool = True) -> int:
    """A descriptor that opens nothing, of a path as it is below a root."""
    flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    how = struct.pack("=QQQ", flags, 0, _RESOLVE_IN_ROOT)
    descriptor = _libc.syscall(_SYS_OPENAT2, ctypes.c_long(root), os.fsencode(path), how, ctypes.c_long(len(how)))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "openat2", path)
    return int(descriptor)


def _mount_of(descriptor: int) -> bytes:
    with open(f"/proc/self/fdinfo/{descriptor}", "rb", buffering=0) as file:
        return file.read(_PAGE).partition(b"mnt_id:\t")[2].partition(b"\n")[0]


def _path(thread: int, operand: Operand, arguments: tuple[int, ...]) -> str:
    """A path of a call from the root inside."""
    path = _text(thread, arguments[operand.path])
    if path.startswith("/"):
        return absolute("/", path)
    directory = AT_FDCWD if operand.directory is None else ctypes.c_int(arguments[operand.directory]).value
    link = f"/proc/{thread}/cwd" if directory == AT_FDCWD else f"/proc/{thread}/fd/{directory}"
    return absolute(os.readlink(link), path)


def _text(thread: int, address: int) -> str:
    """A path in the memory of a process. It may end just before a page that is not there."""
    text = b""
    while len(text) < _LONGEST_PATH:
        part = _memory(thread, address + len(text), _PAGE - (address + len(text)) % _PAGE)
        text += part
        if b"\0" in part:
            break
    return os.fsdecode(text.partition(b"\0")[0])


def _flags(thread: int, how: int) -> int:
    return int.from_bytes(_memory(thread, how, 8), "little")


def _memory(thread: int, address: int, length: int) -> bytes:
    """process_vm_readv(2)."""
    found = ctypes.create_string_buffer(length)
    ours, theirs = _Span(ctypes.addressof(found), length), _Span(address, length)
    read = _libc.process_vm_readv(ctypes.c_int(thread), ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
    if read <= 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")
    return found.raw[:read]
