"""The mount tree itself: taking off, moving and doubling what covers a path."""

import os

from immure.attack.attack import attack
from immure.attack.system_calls import (
    MNT_DETACH,
    MS_BIND,
    MS_MOVE,
    MS_PRIVATE,
    MS_REC,
    MS_REMOUNT,
    checked,
    in_mount_namespace,
    libc,
    mount,
    syscall,
)
from immure.attack.workspace import plant

READ_ONLY = "read-only mount of the system"
LOCKED = "mounts that a nested user namespace cannot undo"
DENIED = "EACCES EPERM"


def make_and_remove(path: str) -> str:
    """That a file can be made; it is empty, and gone at once."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    os.unlink(path)
    return "made"


@attack(LOCKED, DENIED, control="make_a_mount")
def remount_the_hooks_writable() -> object:
    def change() -> object:
        mount("none", f"{os.getcwd()}/.git/hooks", None, MS_REMOUNT | MS_BIND)
        return plant(".git/hooks/pre-push")

    return in_mount_namespace(change)


@attack(LOCKED, "EINVAL", control="make_a_mount")
def unmount_the_hooks() -> object:
    def change() -> object:
        checked(libc.umount2(f"{os.getcwd()}/.git/hooks".encode(), MNT_DETACH))
        return plant(".git/hooks/pre-push")

    return in_mount_namespace(change)


@attack(LOCKED, "EINVAL", control="make_a_mount")
def move_the_mount_of_the_hooks() -> object:
    def change() -> object:
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        os.makedirs("/tmp/aside", exist_ok=True)
        mount(f"{os.getcwd()}/.git/hooks", "/tmp/aside", None, MS_MOVE)
        return plant(".git/hooks/pre-push")

    return in_mount_namespace(change)


@attack(LOCKED, "EINVAL", control="make_a_mount")
def bind_the_workspace_without_its_mounts() -> object:
    def change() -> object:
        os.makedirs("/tmp/bare", exist_ok=True)
        mount(os.getcwd(), "/tmp/bare", None, MS_BIND)
        return plant("/tmp/bare/.git/hooks/pre-push")

    return in_mount_namespace(change)


@attack(LOCKED, "EINVAL", control="make_a_mount")
def bind_the_workspace_with_its_mounts_and_take_them_off() -> object:
    def change() -> object:
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        os.makedirs("/tmp/whole", exist_ok=True)
        mount(os.getcwd(), "/tmp/whole", None, MS_BIND | MS_REC)
        for name in (".git/hooks", ".git"):
            checked(libc.umount2(f"/tmp/whole/{name}".encode(), MNT_DETACH))
        return plant("/tmp/whole/.git/hooks/pre-push")

    return in_mount_namespace(change)


@attack(LOCKED, "EINVAL", control="make_a_mount")
def clone_the_tree_without_its_mounts() -> object:
    def change() -> object:
        tree = syscall(428, -100, os.getcwd().encode(), 1)
        return plant(f"/proc/self/fd/{tree}/.git/hooks/pre-push")

    return in_mount_namespace(change)


@attack(READ_ONLY, "EROFS", control="make_a_mount")
def write_to_the_system() -> object:
    return make_and_remove("/usr/bin/immure-was-here")


@attack(LOCKED, DENIED, control="make_a_mount")
def remount_the_system_writable() -> object:
    def change() -> object:
        mount("none", "/usr", None, MS_REMOUNT | MS_BIND)
        return make_and_remove("/usr/bin/immure-was-here")

    return in_mount_namespace(change)
