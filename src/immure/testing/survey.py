"""Go through the places where a running sandbox could hold a secret: files, environments, command lines, memory, output.

Rules: what could not be read is reported and never counted as clean; a process or file that vanished meanwhile is not reported.
Seen from outside, by root or by the user whose sandbox it is, who may read more than anyone inside: a file of somebody else that is
closed to that user is closed to the sandbox too, and only noted.

Not a proof of absence: it sees one moment, and plain text only (see `leak`).
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from immure.testing.leak import WINDOW, Leak, Needles
from immure.testing.process import mappings, read_memory, sandbox_processes

_CHUNK = 4 * 1024 * 1024
_KERNEL_FILES = frozenset({"bpf", "cgroup", "cgroup2", "debugfs", "devpts", "mqueue", "proc", "securityfs", "sysfs", "tracefs"})
"""File systems that hold the kernel's words rather than anyone's files; what matters of procfs is read by name."""


@dataclass(slots=True, kw_only=True)
class Survey:
    """One search for `needles`: call the methods for the places to search, then read the results."""

    needles: Needles
    since: float = 0
    """Files last changed before this time (seconds since the epoch, by st_ctime) are passed over: a secret made later is not in them."""
    leaks: list[Leak] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    """Files and directories of other users that we may not read."""
    places: Counter[str] = field(default_factory=Counter)
    """How many places of each kind were searched: text, file, name, environment, command line, memory."""
    size: int = 0
    """Bytes searched."""
    _seen: set[tuple[object, ...]] = field(default_factory=set, repr=False)

    def sandbox(self, pid: int, *, skip: Iterable[str] = ()) -> None:
        """Search every process of the sandbox that `pid` belongs to, and every file system as these processes see it.

        `skip`: directories, as named inside, that are left out.
        """
        found = sandbox_processes(pid)
        for one in found:
            self.process(one)
        views: set[tuple[str, str]] = set()
        for one in found:
            try:
                view = (os.readlink(f"/proc/{one}/ns/mnt"), os.readlink(f"/proc/{one}/root"))
            except OSError as error:
                self._missed(error)
                continue
            if view not in views:
                views.add(view)
                self.root(one, skip=skip)

    def text(self, data: bytes, place: str) -> None:
        """Search bytes at hand, such as what a terminal showed."""
        self._search(iter([(0, data)]), place, "text")

    def tree(self, top: str, *, skip: Iterable[str] = ()) -> None:
        """Search all below a directory: regular files, the names of everything, targets of symbolic links. `skip`: not to be entered."""
        skipped = frozenset(skip)

        def not_entered(error: OSError) -> None:
            missed = self._missed if error.filename == top else self._entry_missed
            missed(error, error.filename)

        for directory, folders, files in os.walk(top, onerror=not_entered):
            self._search(iter([(0, "\n".join(folders + files).encode(errors="surrogateescape"))]), f"names in {directory}", "name")
            for path in (os.path.join(directory, name) for name in folders + files):
                self._file(path)
            folders[:] = [name for name in folders if os.path.join(directory, name) not in skipped]

    def root(self, pid: int, *, skip: Iterable[str] = ()) -> None:
        """Search the file system that one process sees, but for the kernel's own (procfs and the like) and the directories in `skip`."""
        try:
            with open(f"/proc/{pid}/mountinfo") as mounts:
                fields = [line.split() for line in mounts]
        except OSError as error:
            self._missed(error)
            return
        root = f"/proc/{pid}/root"
        # Field 5 is the mount point; the type follows the separator (proc(5)).
        kernel = [line[4] for line in fields if line[line.index("-") + 1] in _KERNEL_FILES]
        self.tree(root + "/", skip=[root + path for path in (*kernel, *skip)])

    def process(self, pid: int) -> None:
        """Search one process: its environment, command line and readable memory."""
        for kind, name in (("environment", "environ"), ("command line", "cmdline")):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    data = file.read()
            except PermissionError:
                continue  # Undumpable, so closed to all but root (proc(5)). It is part of the stack, which is read below or reported.
            except OSError as error:
                self._missed(error, f"/proc/{pid}/{name}")
                continue
            self._search(iter([(0, data)]), f"/proc/{pid}/{name}", kind)
        try:
            for one in mappings(pid):
                view = (one.device, one.inode, one.offset, one.end - one.start)
                if one.changed or view not in self._seen:
                    place = f"memory of {pid} ({one.name}) at {one.start:#x}"
                    self._search(((at - one.start, data) for at, data in read_memory(pid, one.start, one.end)), place, "memory")
                    if not one.changed:
                        self._seen.add(view)
        except OSError as error:
            self._missed(error, f"memory of {pid}")

    def _file(self, path: str) -> None:
        try:
            found = os.lstat(path)
            if stat.S_ISLNK(found.st_mode):
                self._search(iter([(0, os.fsencode(os.readlink(path)))]), path, "name")
            if not stat.S_ISREG(found.st_mode) or found.st_ctime < self.since or (found.st_dev, found.st_ino) in self._seen:
                return
            self._seen.add((found.st_dev, found.st_ino))
            # O_NONBLOCK: a FIFO that took the file's place meanwhile would block the open for ever.
            with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0) as file:
                self._search(((file.tell() - len(data), data) for data in iter(lambda: file.read(_CHUNK), b"")), path, "file")
        except OSError as error:
            self._entry_missed(error, path)

    def _search(self, pieces: Iterator[tuple[int, bytes]], place: str, kind: str) -> None:
        """Search pieces with the offset of each; adjacent ones are joined by the window that could lie across."""
        self.places[kind] += 1
        tail, end = b"", 0
        for offset, piece in pieces:
            self.size += len(piece)
            data = tail + piece if offset == end else piece
            self.leaks += self.needles.search(data, place, base=offset + len(piece) - len(data))
            tail, end = data[1 - WINDOW :], offset + len(piece)

    def _missed(self, error: OSError, place: str = "") -> None:
        if error.errno not in (errno.ENOENT, errno.ESRCH):
            self.unreadable.append(f"{place or error.filename}: {error.strerror}")

    def _entry_missed(self, error: OSError, path: str) -> None:
        try:
            closed = error.errno == errno.EACCES and os.lstat(path).st_uid != os.geteuid()
        except OSError as gone:
            error, closed = gone, False
        if closed:
            self.closed.append(path)
        else:
            self._missed(error, path)
