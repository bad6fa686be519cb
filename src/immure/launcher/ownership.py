"""Running for root: the sandbox gets a user id of its own, and mounts on which the workspace seems to belong to that id.

Why: the kernel guards /proc/sys by user id, not by capability, so a sandbox whose processes are root outside could open
/proc/sys/kernel/core_pattern for writing although it holds no capability. With an id-mapped mount (mount_setattr(2)) files stay root's
on disk and are the agent's inside, and no process of the sandbox is root anywhere.

The mounts are made detached, by the launcher, which is root; the sandbox's process, which is not, puts them on a tmpfs over `STAGE` in
a mount namespace of its own, where bubblewrap finds them.
"""

import os
import stat
from collections.abc import Sequence

from immure.launcher import kernel

STAGE = "/tmp"  # noqa: S108  (of a private mount namespace)


SPARE_ID = 61184
"""Who sandboxes and gates are when root runs them: the first of the ids that systemd gives to dynamic users, and so nobody else's."""


STEP = "map the workspace for an unprivileged user"


def staged(index: int) -> str:
    """Where the `index`-th staged mount is found by bubblewrap."""
    return f"{STAGE}/{index}"


class Mapper:
    """Makes detached mounts on which the owner's files belong to `uid`."""

    def __init__(self, uid: int) -> None:
        self._uid = uid
        self._maps: dict[tuple[int, int], int] = {}

    def mounts(self, paths: Sequence[str]) -> list[int]:
        """A descriptor for each path; they are the caller's to close. Raises OSError naming the path."""
        made: list[int] = []
        try:
            for path in paths:
                made.append(self._mounted(path))
        except OSError:
            for mount in made:
                os.close(mount)
            raise
        return made

    def _mounted(self, path: str) -> int:
        """With the mounts below it, or, if one of them cannot be mapped, without them."""
        found = os.stat(path)
        owner = (found.st_uid, found.st_gid)
        if owner not in self._maps:
            self._maps[owner] = _identity_map(*owner, self._uid)
        for recursive in (True, False):
            mount = kernel.clone_mount(path, recursive=recursive)
            try:
                kernel.map_mount(mount, self._maps[owner], path, recursive=recursive)
            except OSError:
                os.close(mount)
                if not recursive:
                    raise
            else:
                return mount
        raise AssertionError


def _identity_map(file_uid: int, file_gid: int, uid: int) -> int:
    """A user namespace that maps the files' ids to `uid`, held by a descriptor only."""
    ready, maker_ready = os.pipe2(os.O_CLOEXEC)
    done, maker_done = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            kernel.unshare(kernel.CLONE_NEWUSER)
            os.write(maker_ready, b"x")
            os.read(done, 1)
        finally:
            os._exit(0)
    try:
        os.close(maker_ready)
        if not os.read(ready, 1):
            raise OSError("no user namespace for an id map")
        for name, file_id in (("uid_map", file_uid), ("gid_map", file_gid)):
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(f"{file_id} {uid} 1")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.write(maker_done, b"x")
        for fd in (ready, done, maker_done):
            os.close(fd)
        os.waitpid(pid, 0)


def attach(mounts: Sequence[int]) -> None:
    """Put each mount at its `staged` place, in the calling process's own mount namespace."""
    kernel.mount_tmpfs(STAGE)
    for index, mount in enumerate(mounts):
        target = staged(index)
        if stat.S_ISDIR(os.fstat(mount).st_mode):
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
        kernel.attach_mount(mount, target)


def become(uid: int) -> None:
    """Give up root for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    kernel.set_dumpable()
