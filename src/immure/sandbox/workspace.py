"""The user's directories inside: which may be shown at all, and how the protected paths within them are covered.

A covered path is a read-only mount, and so is nothing that could be renamed or removed. Its parents up to the workspace are mounts too,
writable ones, or a parent could be moved away with all that is mounted in it and made anew.

*Trust:* a workspace's content is the agent's; its path is the user's. *Fails:* closed: a directory that would show the vault, a login,
the settings or the broker's socket is refused, whichever way it is spelt; so is a protected path that is a symbolic link.
"""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from immure.errors import HostError, UsageError
from immure.sandbox import protected, repository
from immure.sandbox.protected import ProtectedPath
from immure.sandbox.spec import Mount


def real_directory(path: str, what: str) -> str:
    """The real path of an existing directory. Raises UsageError naming `what`."""
    real = os.path.realpath(path)
    if not os.path.isdir(real):
        problem = "is not a directory" if os.path.exists(real) else "does not exist"
        raise UsageError(f"{what} {path} {problem}", code="workspace.missing", hint=f"mkdir -p {path}, or name another")
    return real


def check_mount(path: str, hidden: Iterable[str]) -> None:
    """Refuse a mount that would show one of the `hidden` paths (or lies within one). `path` is a real path."""
    for secret in map(os.path.realpath, hidden):
        if path == secret or secret.startswith(path.rstrip("/") + "/") or path.startswith(secret + "/"):
            raise UsageError(
                f"{path} cannot be shown inside: it holds {secret}, which must stay outside",
                code="workspace.holds-secrets",
                hint="work in a directory of its own: cd to a project, or name one with -w",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """What is made where a protected path is missing: an empty directory, or a file with this `content`."""

    path: str
    content: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """`mounts` cover the protected paths, parents first; those of `needed` that do not exist must be made before (`MountPoints`)."""

    mounts: tuple[Mount, ...]
    needed: tuple[StandIn, ...]


def protection(workspace: str, *, lifted: Collection[str] = (), read_only: Collection[str] = (), complete: bool = True) -> Protection:
    """How to protect a writable directory (a real path), but for what the names of `lifted` lift.

    `read_only` are paths that are shown so anyway. Unless `complete`, what is missing of the working tree may be made: another directory
    that is shown is no project.
    """
    cover = _Cover(workspace, lifted, read_only, complete)
    for one in protected.WORKING_TREE:
        cover.path(one)
    git = f"{workspace}/.git"
    if repository.is_git_directory(workspace):
        cover.repository(workspace)
    elif repository.is_git_directory(git):
        cover.repository(git)
    else:
        cover.path(protected.REPOSITORY)
        if not os.path.isfile(f"{workspace}/HEAD"):
            cover.path(protected.BARE_REPOSITORY)
    if protected.NESTED not in lifted:
        for nested in repository.nested(workspace):
            if repository.is_git_directory(nested):
                cover.repository(nested)
            else:
                cover.found(nested, protected.NESTED)
    return cover.made()


class _Cover:
    """Collects what must be mounted, from the top down: what lies in a covered directory needs no cover of its own."""

    def __init__(self, root: str, lifted: Collection[str], read_only: Collection[str], complete: bool) -> None:
        self._root = root
        self._lifted = lifted
        self._read_only = read_only
        self._complete = complete
        self._covered: set[str] = set()
        self._parents: set[str] = set()
        self._stand_ins: dict[str, StandIn] = {}  # also for what exists: it may be the stand-in of another sandbox

    def path(self, one: ProtectedPath) -> None:
        self._add(f"{self._root}/{one.path}", one.name, one.stand_in, make=one.obeyed_when_made and self._complete)

    def found(self, path: str, name: str) -> None:
        """A path that is there."""
        self._add(path, name, None, make=False)

    def repository(self, git: str) -> None:
        """A git directory, those that lie in it, and what its configuration takes from the working tree."""
        for one in protected.GIT_DIRECTORY:
            for directory in (git, *repository.modules(git)):
                self._add(f"{directory}/{one.path}", one.name, one.stand_in, make=True)
            if one.path in ("config.worktree", "commondir"):  # all that git looks for in the directory of a linked working tree
                for directory in repository.linked(git):
                    self._add(f"{directory}/{one.path}", one.name, one.stand_in, make=True)
        hooks = repository.hooks_path(git, self._root)
        if hooks is not None:
            self._add(hooks, protected.HOOKS_PATH, None, make=True)
        for path in repository.included(git, self._root):
            self.found(path, protected.INCLUDED)

    def _add(self, path: str, name: str, stand_in: bytes | None, *, make: bool) -> None:
        parents = _parents(self._root, path)
        if name in self._lifted or self._covered.intersection(parents) or any(_is_in(path, shown) for shown in self._read_only):
            return
        if not make and not os.path.lexists(path):
            return
        for below in (*parents, path):
            _refuse_link(below, name)
            if make:
                self._stand_ins.setdefault(below, StandIn(path=below, content=stand_in if below == path else None))
        self._covered.add(path)
        self._parents.update(parents)

    def made(self) -> Protection:
        mounts = [Mount.same(path) for path in self._covered]
        mounts += [Mount.same(path, writable=True) for path in self._parents]
        return Protection(
            mounts=tuple(sorted(mounts, key=lambda mount: mount.target.split("/"))),
            needed=tuple(self._stand_ins[path] for path in sorted(self._stand_ins)),
        )


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")


def _parents(root: str, path: str) -> list[str]:
    """The directories between the two, the highest first."""
    names = path.removeprefix(root + "/").split("/")[:-1]
    return [f"{root}/{'/'.join(names[: end + 1])}" for end in range(len(names))]


def _refuse_link(path: str, name: str) -> None:
    if os.path.islink(path):
        raise UsageError(
            f"{path} is a symbolic link, which could be pointed elsewhere from inside",
            code="workspace.protected-link",
            hint=f"replace it by what it points to ({os.path.realpath(path)}), or leave it unprotected: --unprotect {name}",
        )


_DIRECTORY = b"/"
"""What stands for a directory in a list of stand-ins; no file's content."""


def written(stand_ins: Iterable[StandIn]) -> bytes:
    """A list of stand-ins, for `MountPoints.forget`."""
    parts = [part for one in stand_ins for part in (os.fsencode(one.path), _DIRECTORY if one.content is None else one.content)]
    return b"".join(part + b"\0" for part in parts)


class MountPoints:
    """What had to be made in workspaces as mount points; each is removed when its last sandbox has ended.

    Removing one earlier would silently take the protection from the other sandbox: the kernel detaches mounts of other namespaces
    from a removed directory. What was there before is nobody's to remove.
    """

    def __init__(self) -> None:
        self._users: dict[str, int] = {}

    def missing(self, needed: Iterable[StandIn]) -> tuple[StandIn, ...]:
        """Those that a sandbox has to claim: they do not exist, or only because another sandbox claims them."""
        return tuple(one for one in needed if one.path in self._users or not os.path.lexists(one.path))

    def claim(self, stand_ins: Iterable[StandIn]) -> None:
        """Make what is missing: all of it, or HostError and nothing."""
        claimed: list[StandIn] = []
        for one in stand_ins:
            try:
                _make(one)
            except FileExistsError:
                pass
            except OSError as error:
                self.release(claimed)
                raise HostError(
                    f"cannot protect {one.path}: {error.strerror}",
                    code="workspace.not-writable",
                    hint="use a workspace that you may write",
                ) from error
            self._users[one.path] = self._users.get(one.path, 0) + 1
            claimed.append(one)

    def release(self, stand_ins: Iterable[StandIn]) -> None:
        for one in reversed(list(stand_ins)):
            self._users[one.path] -= 1
            if not self._users[one.path]:
                del self._users[one.path]
                _remove(one)

    @staticmethod
    def forget(listed: bytes) -> None:
        """Remove what a broker that was killed had claimed; it may have been killed while it wrote the list."""
        *parts, _ = listed.split(b"\0")
        for path, content in reversed(list(zip(parts[::2], parts[1::2], strict=False))):
            _remove(StandIn(path=os.fsdecode(path), content=None if content == _DIRECTORY else content))


def _make(one: StandIn) -> None:
    if one.content is None:
        os.mkdir(one.path, 0o755)
        return
    with open(os.open(one.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb") as file:
        file.write(one.content)


def _remove(one: StandIn) -> None:
    """Unless it is gone, or somebody has put something there and it is theirs now."""
    try:
        if one.content is None:
            os.rmdir(one.path)
            return
        with open(os.open(one.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            unchanged = file.read(len(one.content) + 1) == one.content
        if unchanged:
            os.unlink(one.path)
    except OSError:
        pass
