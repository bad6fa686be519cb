"""A sandbox as a value, and its translation into bubblewrap options. [pure]

Rules: what is not named here is absent inside. Nothing of the host is writable but what a `Mount` says. Later mounts cover earlier
ones, so the order is: the base, private directories, system, made files, the user's directories and what is emptied, of these what is
deeper after what it lies in, and at last what is hidden. Protected paths come with the directory that they lie in: they are mounted
before (launcher/covers.py).
"""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

AGENT_HOME = "/home/agent"
AGENT_ID = 1000
"""User and group id inside. Not 0: some agents refuse to run as root, and what looks like root invites mistakes."""
HOSTNAME = "immure"

_ETC = "/etc"
_LEAD_BY_OUTPUT = """
for fd in 1 2; do
    [ ! -t $fd ] || exec setsid --ctty sh -c 'exec <&3 3<&-; exec "$@"' sh "$@" 3<&0 <&$fd
done
"""
"""setsid(1) looks for the terminal at stdin, so what is there steps aside for that moment."""

_PRIVATE = ((_ETC, "0755"), ("/tmp", "1777"), ("/var/tmp", "1777"), ("/run", "0755"), (AGENT_HOME, "0700"))  # noqa: S108
"""Directories in memory, with their modes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A host path shown inside at `target`, read-only unless `writable`."""

    source: str
    target: str
    writable: bool = False

    @classmethod
    def same(cls, path: str, *, writable: bool = False) -> "Mount":
        """Shown at its own path."""
        return cls(source=path, target=path, writable=writable)


@dataclass(frozen=True, slots=True)
class _Empty:
    target: str


def _depth(entry: Mount | _Empty) -> int:
    return entry.target.count("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """All that bubblewrap is told.

    `base` is shown before all else; `system` are read-only mounts of the operating system, `links` symbolic links (target, path),
    `files` read-only files by path: those of /etc are all that it holds, the others cover what is mounted there. `mounts` are the user's
    directories, `protected` mounts that lie within one of these, which are made first and come along with it; `hidden` are files,
    `closed` directories within them that cannot be read. Of `emptied` directories only those of `mounts` that lie in them are seen, and
    `sealed` are directories in memory that cannot be written. `program` is a seccomp program that the command wears above our own.
    `terminal`: whether there is one among the standard streams, `is_typed`: whether stdin is it.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    terminal: bool
    is_typed: bool = True
    base: tuple[Mount, ...] = ()
    system: tuple[Mount, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    protected: tuple[Mount, ...] = ()
    hidden: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    emptied: tuple[str, ...] = ()
    sealed: tuple[str, ...] = ()
    program: bytes = b""

    @property
    def shown(self) -> tuple[Mount, ...]:
        """The mounts of the user's directories in the order in which they are made."""
        return tuple(sorted(self.mounts, key=_depth))

    def covers(self, staged: Callable[[int], str] | None = None) -> list[tuple[str, bool]]:
        """What is mounted over itself before bubblewrap runs, parents first, and whether it stays writable."""
        return [(_found(self, mount.source, staged), mount.writable) for mount in self.protected]

    def host_path(self, inside: str) -> str | None:
        """The host path behind an absolute path inside, or None where there is none: the mount that covers it last decides."""
        for target, path in self.links:
            if inside == path or inside.startswith(path + "/"):
                inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), target) + inside[len(path) :])
        for mount in (*reversed(self.shown), *reversed(self.system), *reversed(self.base)):
            if inside == mount.target or inside.startswith(mount.target + "/"):
                return mount.source + inside[len(mount.target) :]
        return None


def bubblewrap(spec: Spec, staged: Callable[[int], str] | None = None) -> tuple[list[str | int], list[str], list[bytes]]:
    """Options, command and data of a bubblewrap run. A number among the options is an index into the data.

    With `staged`, the source of `mounts[i]` is found at `staged(i)` instead of at its own path.
    """
    data = [spec.files[path] for path in spec.files]
    options: list[str | int] = ["--unshare-user", "--uid", str(AGENT_ID), "--gid", str(AGENT_ID)]
    options += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", HOSTNAME, "--die-with-parent"]
    if not spec.terminal:
        options += ["--new-session"]
    for mount in spec.base:
        options += ["--bind" if mount.writable else "--ro-bind", mount.source, mount.target]
    options += ["--proc", "/proc", "--dev", "/dev"]
    for path, mode in _PRIVATE:
        options += ["--perms", mode, "--tmpfs", path]
    for mount in spec.system:
        options += ["--ro-bind", mount.source, mount.target]
    for target, path in spec.links:
        options += ["--symlink", target, path]
    for index, path in enumerate(spec.files):
        # A mount costs bubblewrap a reading of the whole mount table, a file next to nothing.
        options += ["--perms", "0444", "--file" if posixpath.dirname(path) == _ETC else "--ro-bind-data", index, path]
    options += ["--remount-ro", _ETC]
    entries: list[Mount | _Empty] = [*spec.mounts, *map(_Empty, spec.emptied)]
    for entry in sorted(entries, key=_depth):
        if isinstance(entry, Mount):
            options += ["--bind" if entry.writable else "--ro-bind", _found(spec, entry.source, staged), entry.target]
        else:
            options += ["--perms", "0111", "--tmpfs", entry.target]
    for path in spec.hidden:
        options += ["--ro-bind", "/dev/null", path]  # no device there, since --ro-bind mounts with nodev: it is empty, and open(2) fails
    for path in spec.closed:
        options += ["--perms", "0000", "--tmpfs", path, "--remount-ro", path]
    for path in (*spec.emptied, *spec.sealed):
        options += ["--remount-ro", path]
    if spec.program:
        options += ["--seccomp", len(data)]
        data.append(spec.program)
    options += ["--chdir", spec.directory]
    for name, value in spec.environment.items():
        options += ["--setenv", name, value]
    return options, [*_session(spec), *spec.command], data


def _found(spec: Spec, source: str, staged: Callable[[int], str] | None) -> str:
    sources = {mount.source: staged(index) for index, mount in enumerate(spec.mounts)} if staged else {}
    for root in sorted(sources, key=len, reverse=True):
        if source == root or source.startswith(root + "/"):
            return sources[root] + source[len(root) :]
    return source


def _session(spec: Spec) -> list[str]:
    """What goes before the command so that it leads the session of its terminal; bubblewrap itself stays out of the reach of its keys."""
    if not spec.terminal:
        return []
    return ["setsid", "--ctty"] if spec.is_typed else ["sh", "-c", _LEAD_BY_OUTPUT, "sh"]
