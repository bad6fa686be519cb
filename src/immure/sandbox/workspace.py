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
    ".codex": "configures the Codex that you run on the host: MCP servers, rules, trust",
    ".agents": "skills and instructions that agents on the host follow",
}
"""Paths below a workspace that are read-only inside, with the reason."""

_SEALED_IF_MISSING = (".codex", ".agents")
"""These must not be created from inside either, so an empty read-only directory takes their place."""


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
    """`mounts` cover what exists; `sealed` are directories to cover with an empty one, which must exist as mount points."""

    mounts: tuple[Mount, ...]
    sealed: tuple[str, ...]


def protection(workspace: str) -> Protection:
    """How to protect the paths of `PROTECTED` in a writable workspace (a real path)."""
    mounts = []
    git = f"{workspace}/.git"
    if os.path.isdir(git) and not os.path.islink(git):
        # A mount point cannot be renamed: without this, .git could be moved away with its protected paths, and made anew.
        mounts.append(Mount.same(git, writable=True))
    elif os.path.isfile(git):
        mounts.append(Mount.same(git))  # a worktree's pointer to its repository
    sealed = []
    for name in PROTECTED:
        path = f"{workspace}/{name}"
        if os.path.islink(path):
            raise UsageError(
                f"{path} is a symbolic link, which could be pointed elsewhere from inside",
                code="workspace.protected-link",
                hint=f"replace it by what it points to: {os.path.realpath(path)}",
            )
        if os.path.exists(path):
            mounts.append(Mount.same(path))
        elif name in _SEALED_IF_MISSING:
            sealed.append(path)
    return Protection(mounts=tuple(mounts), sealed=tuple(sealed))


class MountPoints:
    """The empty directories that had to be made in workspaces as mount points; each is removed when its last sandbox has ended.

    Removing one earlier would silently take the protection from the other sandbox: the kernel detaches mounts of other namespaces
    from a removed directory.
    """

    def __init__(self) -> None:
        self._users: dict[str, int] = {}

    def claim(self, paths: Iterable[str]) -> None:
        for path in paths:
            try:
                os.mkdir(path, 0o755)
            except FileExistsError:
                pass
            except OSError as error:
                raise HostError(
                    f"cannot protect {path}: {error.strerror}", code="workspace.not-writable", hint="use a workspace that you may write"
                ) from error
            self._users[path] = self._users.get(path, 0) + 1

    def release(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._users[path] -= 1
            if not self._users[path]:
                del self._users[path]
                _remove(path)

    @staticmethod
    def forget(paths: Iterable[str]) -> None:
        """Remove what a broker that was killed had claimed."""
        for path in paths:
            _remove(path)


def _remove(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        pass  # it is gone, or somebody has put something there and it is theirs now
