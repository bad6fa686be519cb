"""Who opens a connection: the program behind a socket, as the kernel showed it at connect(2), and what it was started by."""

from dataclasses import dataclass, field

Stamp = tuple[int, ...]
"""Size, mtime and ctime (in nanoseconds) of a file: as long as they stay, so does its content (see `immure.digest`)."""


@dataclass(frozen=True, slots=True)
class Binary:
    """A program file. `path` is for people; `device` and `inode` say which file it is, `digest` (SHA-256 in hex) what is in it.

    Inside, an agent can mount any file over any path of a namespace of its own, so a path alone proves nothing. Of a binary that a rule
    names, `digest` is what is trusted, empty for any content; of one that was found, it is what is in it, empty if that is not known.
    `stamp` is that of the file when the digest was taken, empty if it could not be relied on.
    """

    path: str
    device: int
    inode: int
    digest: str = ""
    stamp: Stamp = field(default=(), compare=False)

    def same_file(self, trusted: "Binary") -> bool:
        """Whether this is the file that is trusted, with the content that is trusted: by its digest, or untouched since that was taken."""
        return self.is_at(trusted) and (trusted.digest in ("", self.digest) or (trusted.stamp != () and trusted.stamp == self.stamp))

    def is_at(self, other: "Binary") -> bool:
        """Whether both are one file, whatever is in it."""
        return (self.device, self.inode) == (other.device, other.inode)

    def resembles(self, other: "Binary") -> bool:
        """Whether both are one file or have one path: what a change leaves of a program, and all that a pretender can have of it."""
        return self.is_at(other) or self.path == other.path


@dataclass(frozen=True, slots=True)
class Process:
    """A process by its pid on the host, and the program that it runs."""

    binary: Binary
    pid: int


@dataclass(frozen=True, slots=True)
class Caller(Process):
    """The process that called connect(2).

    `script` is what an interpreter runs, by the process's own account: it proves nothing. `ancestors` are its parent, the parent of
    that, and so on, up to the first program of the sandbox.
    """

    script: str = ""
    ancestors: tuple[Process, ...] = ()

    def __str__(self) -> str:
        """For sentences: the program, and the script that it says it runs."""
        return f"{self.binary.path} (which says it runs {self.script!r})" if self.script else self.binary.path
