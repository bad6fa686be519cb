"""The user's directories inside: which may be shown at all, and which paths within a workspace an agent must not write.

*Trust:* a workspace's content is the agent's; its path is the user's. *Fails:* closed: a directory that would show the vault, a login,
the settings or the broker's socket is refused, whichever way it is spelt.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from immure.errors import HostError, UsageError
from immure.sandbox.spec import Mount

PROTECTED = {
    ".git/hooks": "git runs them on the host at your next commit",
    ".git/config": "core.fsmonitor, core.sshCommand, filters and aliases run programs on the host",
    ".git/config.worktree": "the same, where extensions.worktreeConfig is on",
    ".git/commondir": "names the directory whose config and hooks git takes instead (gitrepository-layout(5))",
    ".codex": "configures the Codex that you run on the host: MCP servers, rules, trust",
    ".agents": "skills and instructions that agents on the host follow",
}
"""Paths below a workspace that are read-only inside, with the reason."""

_STAND_INS = {".git/hooks": None, ".git/config.worktree": b"", ".git/commondir": b".\n", ".codex": None, ".agents": None}
"""These must not be created from inside either. What is missing is made for as long as a sandbox runs, since a mount needs a place:
a directory (None), or a file that says to git what its absence says."""


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
class Protection:
    """`mounts` cover the protected paths; those of `needed` that do not exist must be made before (`MountPoints`)."""

    mounts: tuple[Mount, ...]
    needed: tuple[str, ...]


def protection(workspace: str) -> Protection:
    """How to protect the paths of `PROTECTED` in a writable workspace (a real path)."""
    mounts = []
    git = f"{workspace}/.git"
    _refuse_link(git)
    is_repository = os.path.isdir(git)
    if is_repository:
        # A mount point cannot be renamed: without this, .git could be moved away with its protected paths, and made anew.
        mounts.append(Mount.same(git, writable=True))
    elif os.path.isfile(git):
        mounts.append(Mount.same(git))  # a worktree's pointer to its repository
    needed = []
    for name in PROTECTED:
        path = f"{workspace}/{name}"
        if name.startswith(".git/") and not is_repository:
            continue
        _refuse_link(path)
        if name in _STAND_INS:
            needed.append(path)
        elif not os.path.exists(path):
            continue
        mounts.append(Mount.same(path))
    return Protection(mounts=tuple(mounts), needed=tuple(needed))


def _refuse_link(path: str) -> None:
    if os.path.islink(path):
        raise UsageError(
            f"{path} is a symbolic link, which could be pointed elsewhere from inside",
            code="workspace.protected-link",
            hint=f"replace it by what it points to: {os.path.realpath(path)}",
        )


class MountPoints:
    """What had to be made in workspaces as mount points; each is removed when its last sandbox has ended.

    Removing one earlier would silently take the protection from the other sandbox: the kernel detaches mounts of other namespaces
    from a removed directory. What was there before is nobody's to remove.
    """

    def __init__(self) -> None:
        self._users: dict[str, int] = {}

    def missing(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Those that a sandbox has to claim: they do not exist, or only because another sandbox claims them."""
        return tuple(path for path in paths if path in self._users or not os.path.lexists(path))

    def claim(self, paths: Iterable[str]) -> None:
        """Make what is missing: all of it, or HostError and nothing."""
        claimed: list[str] = []
        for path in paths:
            try:
                _make(path)
            except FileExistsError:
                pass
            except OSError as error:
                self.release(claimed)
                raise HostError(
                    f"cannot protect {path}: {error.strerror}", code="workspace.not-writable", hint="use a workspace that you may write"
                ) from error
            self._users[path] = self._users.get(path, 0) + 1
            claimed.append(path)

    def release(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._users[path] -= 1
            if not self._users[path]:
                del self._users[path]
                _remove(path)

    @staticmethod
    def forget(paths: Iterable[str]) -> None:
        """Remove what a broker that was killed had claimed; it may have been killed while it wrote the list."""
        for path in paths:
            if path.endswith(tuple(_STAND_INS)):
                _remove(path)


def _stand_in(path: str) -> bytes | None:
    return next(content for name, content in _STAND_INS.items() if path.endswith(f"/{name}"))


def _make(path: str) -> None:
    content = _stand_in(path)
    if content is None:
        os.mkdir(path, 0o755)
        return
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb") as file:
        file.write(content)


def _remove(path: str) -> None:
    """Unless it is gone, or somebody has put something there and it is theirs now."""
    content = _stand_in(path)
    try:
        if content is None:
            os.rmdir(path)
            return
        with open(path, "rb") as file:
            unchanged = file.read() == content
        if unchanged:
            os.unlink(path)
    except OSError:
        pass
