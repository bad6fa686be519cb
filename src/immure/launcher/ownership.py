"""Running for root: the sandbox gets a user id of its own, and mounts on which the workspace seems to belong to that id.

Why: the kernel guards /proc/sys by user id, not by capability, so a sandbox whose processes are root outside could open
/proc/sys/kernel/core_pattern for writing although it holds no capability. With an id-mapped mount (mount_setattr(2)) files stay root's
on disk and are the agent's inside, and no process of the sandbox is root anywhere.

The staged mounts lie on a tmpfs over `STAGE` in a private mount namespace; every source is taken before it is covered.
"""

import os

from immure.launcher import kernel

STAGE = "/tmp"  # noqa: S108  (of a private mount namespace)


def staged(index: int) -> str:
    """Where the `index`-th staged path is found by bubblewrap."""
    return f"{STAGE}/{index}"


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
        os.read(ready, 1)
        for name, file_id in (("uid_map", file_uid), ("gid_map", file_gid)):
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(f"{file_id} {uid} 1")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.write(maker_done, b"x")
        os.waitpid(pid, 0)
        for fd in (ready, maker_ready, done, maker_done):
            os.close(fd)


def _mapped(path: str, user_namespace: int) -> int:
    """A detached id-mapped copy of the mount at `path`: with the mounts below it, or, if one of them cannot be mapped, without them."""
    for recursive in (True, False):
        mount = kernel.clone_mount(path, recursive=recursive)
        try:
            kernel.map_mount(mount, user_namespace, recursive=recursive)
        except OSError:
            os.close(mount)
            if not recursive:
                raise
        else:
            return mount
    raise AssertionError


def stage(paths: list[str], uid: int) -> None:
    """Move the calling process into a mount namespace where `staged(i)` shows `paths[i]` with its owner mapped to `uid`."""
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.make_mounts_private()
    maps: dict[tuple[int, int], int] = {}
    mounts = []
    for path in paths:
        found = os.stat(path)
        owner = (found.st_uid, found.st_gid)
        if owner not in maps:
            maps[owner] = _identity_map(*owner, uid)
        mounts.append((_mapped(path, maps[owner]), os.path.isdir(path)))
    kernel.mount_tmpfs(STAGE)
    for index, (mount, is_directory) in enumerate(mounts):
        target = staged(index)
        if is_directory:
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
        kernel.attach_mount(mount, target)
        os.close(mount)
    for namespace in maps.values():
        os.close(namespace)


def become(uid: int) -> None:
    """Give up root for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    kernel.set_dumpable()
