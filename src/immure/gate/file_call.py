"""System calls that would change files, as a watcher sees them: which paths, and what each needs. [pure]

Numbers are those of x86-64. What is not here is not watched: reading, since it would cost every open; changes of mode, owner and
attributes; and whatever is done through a descriptor, which was opened before.
"""

import posixpath
from dataclasses import dataclass
from enum import Enum
from typing import Final

_O_WRITE: Final = 0o3
_O_CREAT: Final = 0o100
_O_EXCL: Final = 0o200
_O_TRUNC: Final = 0o1000
_O_TMPFILE: Final = 0o20000000
CHANGING: Final = _O_WRITE | _O_CREAT | _O_TRUNC
"""Flags of open(2) that make it one of these calls."""
AT_FDCWD: Final = -100


class Need(Enum):
    """What must be so for a call to succeed."""

    FILE = "the file is there and may be written"
    FILE_OR_PLACE = "so, or it is not there and may be made"
    PLACE = "nothing is there, and it may be made"
    ENTRY = "it is there, and may be taken out of its directory"
    DIRECTORY = "it is a directory that may be written"


@dataclass(frozen=True, slots=True)
class Operand:
    """One path of a call: the positions of its arguments (None: no directory), and what it needs."""

    directory: int | None
    path: int
    need: Need


@dataclass(frozen=True, slots=True)
class Call:
    """`operation` is the word of the audit trail. `flags` is the position of flags of open(2), if it has any; `how` that of a struct
    open_how."""

    operation: str
    operands: tuple[Operand, ...]
    flags: int | None = None
    how: int | None = None


def _one(operation: str, need: Need, directory: int | None, path: int, flags: int | None = None) -> Call:
    return Call(operation, (Operand(directory, path, need),), flags)


CALLS: Final[dict[int, Call]] = {
    2: _one("write", Need.FILE, None, 0, 1),  # open
    257: _one("write", Need.FILE, 0, 1, 2),  # openat
    437: Call("write", (Operand(0, 1, Need.FILE),), how=2),  # openat2
    85: _one("write", Need.FILE_OR_PLACE, None, 0),  # creat
    76: _one("write", Need.FILE, None, 0),  # truncate
    83: _one("make", Need.PLACE, None, 0),  # mkdir
    258: _one("make", Need.PLACE, 0, 1),  # mkdirat
    133: _one("make", Need.PLACE, None, 0),  # mknod
    259: _one("make", Need.PLACE, 0, 1),  # mknodat
    86: _one("make", Need.PLACE, None, 1),  # link
    265: _one("make", Need.PLACE, 2, 3),  # linkat
    88: _one("make", Need.PLACE, None, 1),  # symlink
    266: _one("make", Need.PLACE, 1, 2),  # symlinkat
    84: _one("remove", Need.ENTRY, None, 0),  # rmdir
    87: _one("remove", Need.ENTRY, None, 0),  # unlink
    263: _one("remove", Need.ENTRY, 0, 1),  # unlinkat
    82: Call("rename", (Operand(None, 0, Need.ENTRY), Operand(None, 1, Need.FILE_OR_PLACE))),  # rename
    264: Call("rename", (Operand(0, 1, Need.ENTRY), Operand(2, 3, Need.FILE_OR_PLACE))),  # renameat
    316: Call("rename", (Operand(0, 1, Need.ENTRY), Operand(2, 3, Need.FILE_OR_PLACE))),  # renameat2
}


def need_of(flags: int) -> Need | None:
    """What an open with these flags needs, None if it changes nothing."""
    if not flags & CHANGING:
        return None
    if flags & _O_TMPFILE == _O_TMPFILE:
        return Need.DIRECTORY
    if flags & _O_CREAT:
        return Need.PLACE if flags & _O_EXCL else Need.FILE_OR_PLACE
    return Need.FILE


def absolute(directory: str, path: str) -> str:
    """The path as it is named from the root inside, without `.` and doubled slashes. `..` stays: what it means is the kernel's to say."""
    joined = posixpath.join(directory, path)
    return "/" + "/".join(name for name in joined.split("/") if name not in ("", "."))
