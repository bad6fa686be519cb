"""Who opens a connection: the program behind a socket, as the kernel showed it at connect(2)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Binary:
    """A program file. `path` is for people; `device` and `inode` say which file it is.

    Inside, an agent can mount any file over any path of a namespace of its own, so a path alone proves nothing: two binaries are the
    same only if device and inode agree.
    """

    path: str
    device: int
    inode: int

    def same_file(self, other: "Binary") -> bool:
        return (self.device, self.inode) == (other.device, other.inode)


@dataclass(frozen=True, slots=True)
class Caller:
    """The process that called connect(2): its program and its pid on the host."""

    binary: Binary
    pid: int
