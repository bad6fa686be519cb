"""Other processes as the kernel shows them to one who may look: who belongs to a sandbox, and what its memory holds.

Sources: proc(5), pid_namespaces(7), process_vm_readv(2).
"""

import ctypes
import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

_CHUNK = 4 * 1024 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) (\S+) (\d+) *(.*)\n")
_OF_THE_KERNEL = frozenset({"[vvar]", "[vvar_vclock]", "[vsyscall]"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """A readable range of addresses (one entry of /proc/PID/smaps).

    `changed`: it holds pages of the process's own. If not, all it can show is the file (`device`, `inode`) from `offset` on.
    """

    start: int
    end: int
    offset: int
    device: str
    inode: int
    name: str
    changed: bool


def sandbox_processes(pid: int) -> list[int]:
    """The process `pid`, its descendants, and all who share a pid namespace with one of these; nearest first.

    A process whose parent died stays within its pid namespace, so none escapes. The namespace of this process itself never counts:
    `pid` may be the outermost process of a sandbox, which still lives beside us.
    """
    parents: dict[int, int] = {}
    spaces: dict[int, str] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The name of the program, in parentheses, may itself hold spaces and parentheses.
                    parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
                spaces[int(name)] = os.readlink(f"/proc/{name}/ns/pid")
            except OSError:
                continue  # Ended meanwhile, or not ours to look at; then it counts by its parent alone.
    ours = os.readlink("/proc/self/ns/pid")
    found = [pid] if pid in parents else []
    for known in found:
        space = spaces.get(known, ours)
        members = {one for one, parent in parents.items() if parent == known}
        if space != ours:
            members |= {one for one, other in spaces.items() if other == space}
        found += sorted(members.difference(found))
    return found


def mappings(pid: int) -> Iterator[Mapping]:
    """The readable memory of a process. Raises OSError."""
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="surrogateescape") as file:
        head: re.Match[str] | None = None
        own = 0
        for line in file:
            if match := _MAPPING.fullmatch(line):
                head, own = match, 0
            elif line.startswith(("Anonymous:", "Swap:")):
                own += int(line.split()[1])
            elif line.startswith("VmFlags:") and head and head[3].startswith("r") and head[7] not in _OF_THE_KERNEL:
                start, end, offset = (int(head[group], 16) for group in (1, 2, 4))
                inode = int(head[6])
                if inode or own:  # What is neither a file's nor was ever touched reads as zeros, and may be reserved by the terabyte.
                    yield Mapping(
                        start=start, end=end, offset=offset, device=head[5], inode=inode, name=head[7] or "anonymous", changed=own > 0
                    )


class _Span(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.process_vm_readv.restype = ctypes.c_ssize_t
_libc.process_vm_readv.argtypes = (
    ctypes.c_int,
    ctypes.POINTER(_Span),
    ctypes.c_ulong,
    ctypes.POINTER(_Span),
    ctypes.c_ulong,
    ctypes.c_ulong,
)


def read_memory(pid: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The bytes of a range of addresses in pieces with the address of each; pages without content (EFAULT) are passed over.

    Not by /proc/PID/mem, which also opens what the process itself cannot read, and which an ordinary user may not open for a
    process that made itself undumpable. Raises OSError.
    """
    buffer = ctypes.create_string_buffer(min(_CHUNK, end - start))
    while start < end:
        wanted = min(len(buffer), end - start)
        here = _Span(ctypes.addressof(buffer), wanted)
        there = _Span(start, wanted)
        count = _libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
        if count > 0:
            yield start, buffer.raw[:count]
            start += count
        elif count == 0 or ctypes.get_errno() == errno.EFAULT:
            start += _PAGE - start % _PAGE
        else:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"/proc/{pid}")
