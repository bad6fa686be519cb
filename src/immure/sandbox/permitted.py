"""What permissions show of this host: mounts, what is closed within them, and what must be protected where it may be written.

"/" stands for the directories at the top of the host. Left out are those that belong to others or lead to their processes (homes of
other users, /run, /tmp), and those that are made for every sandbox (/proc, /dev, /etc).

Rules: the most specific entry decides; but what may only be read within what is denied stays denied, as Codex has it. Nothing that must
stay outside is shown: a directory that may be read is shown without it, one that may be written is refused.

*Trust:* paths are the user's, what lies there may be an agent's: a link is followed once, here, and what it led to is mounted.
*Fails:* closed: UsageError for what bubblewrap could not make.
"""

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from immure.errors import UsageError
from immure.model.permissions import Access, Permissions, above, stronger
from immure.sandbox.patterns import matches
from immure.sandbox.spec import AGENT_HOME, Mount
from immure.sandbox.system import System
from immure.sandbox.workspace import Protection, StandIn, check_mount, protection

IN_MEMORY: Final = ("/tmp", "/var/tmp")  # noqa: S108
"""The sandbox's own: an entry can open them for writing, and never shows the host's."""
_MADE: Final = ("/proc", "/dev", "/etc", "/run")
"""For every sandbox, whatever an entry says."""
_NOT_EVERYTHING: Final = frozenset({"proc", "sys", "dev", "etc", "run", "tmp", "home", "root"})
"""Names at the top of the host that "/" does not stand for."""
_BOUND: Final = "/proc/net/unix"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permitted:
    """Fields of a Spec, and the stand-ins that they need."""

    base: tuple[Mount, ...]
    system: tuple[Mount, ...]
    links: tuple[tuple[str, str], ...]
    mounts: tuple[Mount, ...]
    hidden: tuple[str, ...]
    closed: tuple[str, ...]
    emptied: tuple[str, ...]
    sealed: tuple[str, ...]
    protection: Protection


def permit(
    permissions: Permissions,
    host: System,
    *,
    own: Collection[str],
    secrets: Collection[str],
    lifted: Collection[str] = (),
    sockets: Collection[str] = (),
) -> Permitted:
    """Raises UsageError.

    `own` are directories that "/" stands for wherever they lie, `secrets` are what must stay outside. `lifted` names protected paths that
    may be written after all, `sockets` those that may be connected to.
    """
    view = _View(permissions, own)
    view.check(secrets)
    mounts = (*view.mounts(), *(Mount.same(_socket(path)) for path in sockets))
    targets = frozenset(mount.target for mount in mounts)
    shut = view.shut((*_covered(secrets), *matches(permissions.patterns, permissions.depth)), sockets, targets)
    directories = {path for path in shut if os.path.isdir(path)}
    emptied = {path for path in directories if any(target.startswith(path + "/") for target in targets)}
    memory = (*IN_MEMORY, "/run", AGENT_HOME, *(["/"] if view.everything == "read" else []))
    untouched = {*targets, *shut, *(path for path in IN_MEMORY if view.access.get(path) == "write")}
    return Permitted(
        base=tuple(_top(host, writable=view.everything == "write")) if view.everything else (),
        system=host.mounts if permissions.system else (),
        links=(*(host.links if permissions.system else ()), *view.links(host)),
        mounts=mounts,
        hidden=tuple(sorted(shut - directories)),
        closed=tuple(sorted(directories - emptied)),
        emptied=tuple(sorted(emptied)),
        sealed=tuple(path for path in memory if path not in untouched),
        protection=view.protection(lifted),
    )


class _View:
    """Permissions as they come out on this host: `access` by the real path of what is there, `everything` for what has no entry."""

    def __init__(self, permissions: Permissions, own: Collection[str]) -> None:
        self._permissions = permissions
        self._entries = {**dict(_carved(permissions)), **permissions.access}
        self.everything = permissions.access.get("/")
        self.access: dict[str, Access] = {}
        for path, access in self._entries.items():
            real = os.path.realpath(path)
            if path != "/" and os.path.exists(real) and real not in _MADE:
                self.access[real] = stronger(access, self.access.get(real))
        self._named = frozenset(self.access)
        if self.everything == "write":
            self.access |= {path: "write" for path in IN_MEMORY if path not in self.access}
        if self.everything is not None:
            for path in map(os.path.realpath, own):
                if os.path.isdir(path) and path != "/" and path not in self.access and self._mounted_with(path) is None:
                    self.access[path] = self.everything
        for path in sorted(self.access, key=lambda path: path.count("/")):
            if self.access[path] == "read" and self.nearest(path) == "deny":
                self.access[path] = "deny"

    def nearest(self, path: str) -> Access | None:
        """The access of what a path lies in."""
        return next((self.access[directory] for directory in above(path) if directory in self.access), None)

    def _mounted_with(self, path: str) -> Access | None:
        """The access of what it lies in, if it comes along with that."""
        directory = next((directory for directory in above(path) if directory in self.access), None)
        return None if directory is None or directory in IN_MEMORY else self.access[directory]

    def shows(self, path: str) -> bool:
        """Whether the host's file there would be seen, if it were not closed."""
        for directory in above(path):
            if directory in self.access:
                return directory not in IN_MEMORY and self.access[directory] != "deny"
        return self.everything is not None and path.split("/")[1] not in _NOT_EVERYTHING and not path.startswith("/var/tmp/")  # noqa: S108

    def mounts(self) -> Iterator[Mount]:
        for path, access in self.access.items():
            if access == "deny" or path in IN_MEMORY or self._mounted_with(path) == access:
                continue
            if access == "write" and not os.path.isdir(path):
                raise UsageError(
                    f"{path} is no directory: a single file cannot be given to write",
                    code="codex.permissions",
                    hint=f"give the directory that it lies in: {os.path.dirname(path)}",
                )
            yield Mount.same(path, writable=access == "write")

    def shut(self, paths: Iterable[str], sockets: Iterable[str], targets: Collection[str]) -> set[str]:
        """What is closed: what is denied, these paths, and sockets of the host that are not named. Of what lies in a closed directory
        only what comes along with a mount within it needs closing too."""
        denied = (path for path, access in self.access.items() if access == "deny" and self.nearest(path) != "deny")
        named = {os.path.realpath(path) for path in sockets}
        closed = {path for path in (*denied, *paths, *(path for path in _listening() if path not in named)) if self.shows(path)}
        closed.update(path for path in IN_MEMORY if self.access.get(path) == "deny")
        return {path for path in closed if next((lies for lies in above(path) if lies in targets or lies in closed), None) not in closed}

    def check(self, secrets: Collection[str]) -> None:
        """Raises UsageError for an entry that would show what must stay outside."""
        for path in self._named - set(IN_MEMORY):
            if self.access[path] == "write":
                check_mount(path, secrets)
            elif self.access[path] == "read":
                check_mount(path, [secret for secret in secrets if not os.path.realpath(secret).startswith(path + "/")])

    def links(self, host: System) -> Iterator[tuple[str, str]]:
        """Symbolic links of the host that are not in what is shown."""
        made = {path for _, path in host.links} if self._permissions.system else set()
        if self.everything is not None:
            paths: Iterable[str] = ("/" + name for name in os.listdir("/") if name not in _NOT_EVERYTHING)
            yield from ((os.readlink(path), path) for path in paths if os.path.islink(path) and path not in made)
            return
        for path in self._permissions.access:
            if os.path.islink(path) and path not in made and self.nearest(path) is None and os.path.realpath(path) in self.access:
                yield os.path.realpath(path), path

    def protection(self, lifted: Collection[str]) -> Protection:
        """Of each directory that may be written; none where everything may."""
        if self.everything == "write":
            return Protection(mounts=(), needed=())
        mounts: dict[str, Mount] = {}
        needed: dict[str, StandIn] = {}
        for root in (path for path, access in self.access.items() if access == "write" and path not in IN_MEMORY):
            kept = [path for path, access in self.access.items() if access != "write" and path.startswith(root + "/")]
            one = protection(root, lifted=lifted, read_only=kept, complete=self._mounted_with(root) != "write")
            mounts.update((mount.target, mount) for mount in one.mounts)
            needed.update((stand_in.path, stand_in) for stand_in in one.needed)
        for path in self._missing():
            mounts.setdefault(path, Mount.same(path))
            needed.setdefault(path, StandIn(path=path, content=None))
        return Protection(mounts=tuple(sorted(mounts.values(), key=lambda mount: mount.target.split("/"))), needed=tuple(needed.values()))

    def _missing(self) -> Iterator[str]:
        """What may not be written and is not there, where it could be made: of each path the first directory that is missing."""
        for path, access in self._entries.items():
            real = os.path.realpath(path)
            if access == "write" or os.path.exists(real):
                continue
            while not os.path.exists(os.path.dirname(real)):
                real = os.path.dirname(real)
            if self._mounted_with(real) == "write":
                yield real


def _carved(permissions: Permissions) -> Iterator[tuple[str, Access]]:
    """The entries of protected names. In memory there is nothing to protect, and a protected directory has none of its own."""
    for path, access in permissions.access.items():
        if access == "write" and path not in ("/", *IN_MEMORY) and os.path.basename(path) not in permissions.protected:
            yield from ((f"{path}/{name}", "read") for name in permissions.protected)


def _top(host: System, *, writable: bool) -> Iterator[Mount]:
    """The directories at the top of the host that are not of the system."""
    system = {mount.target for mount in host.mounts}
    for name in sorted(os.listdir("/")):
        path = "/" + name
        if name not in _NOT_EVERYTHING and path not in system and os.path.isdir(path) and not os.path.islink(path):
            yield Mount.same(path, writable=writable)


def _covered(secrets: Iterable[str]) -> Iterator[str]:
    """What is closed so that a secret stays outside: where one is not there yet, the directory in which it would be made."""
    for secret in map(os.path.realpath, secrets):
        path = secret if os.path.exists(secret) else os.path.dirname(secret)
        if os.path.exists(path):
            yield path


def _listening() -> Iterator[str]:
    """The sockets that programs of this host serve by path: whoever sees one may connect to it."""
    with open(_BOUND, encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            path = line.rstrip("\n").partition(" /")[2]
            if path and os.path.exists(f"/{path}"):
                yield os.path.realpath(f"/{path}")


def _socket(path: str) -> str:
    real = os.path.realpath(path)
    if not os.path.exists(real):
        raise UsageError(f"--allow-unix-socket {path} does not exist", code="usage.socket", hint="start what serves it first")
    return real
