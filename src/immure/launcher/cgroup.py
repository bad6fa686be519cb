"""Control groups, version 2, where this user may make them: one below a group that was delegated to us, for each sandbox that needs it.

Who may: a user session of systemd owns the groups of its applications; root owns all; a container has one of its own if it is writable.
A group that controls what is below it may have no processes of its own (the rule of no internal processes), so the place is the nearest
group upwards without any, or our own, after its processes were moved to a leaf beside the sandboxes.

Reference: cgroups(7); Documentation/admin-guide/cgroup-v2.rst, "Delegation". Nothing is ever decided by version: each step is tried.

*Fails:* OSError that says what was found. A limit is never left out in silence.
"""

import os
from collections.abc import Iterable, Iterator

_OURS = "immure-"
_LEAF = "immure-outside"
_ROUNDS = 3
"""How often our own group is emptied: its processes may fork meanwhile."""


def place(controllers: Iterable[str], hierarchy: tuple[str, str] | None = None) -> str:
    """A group below which groups with these controllers can be made, the controllers on. Raises OSError.

    `hierarchy` is where the groups are, and our own among them, if it is not this process's.
    """
    wanted = sorted(set(controllers))
    mount, own = hierarchy or _hierarchy()
    available = _read(f"{mount}/cgroup.controllers").split()
    if missing := [name for name in wanted if name not in available]:
        raise OSError(f"cgroup v2 at {mount} has no controller {' and '.join(missing)}")
    for group in _upwards(mount, own):
        # The root of the whole hierarchy, which has no cgroup.type, is the one group that may have processes beside its children.
        is_root = not os.path.exists(f"{group}/cgroup.type")
        if _is_ours(group) and (is_root or not _read(f"{group}/cgroup.procs")) and _switch_on(group, wanted):
            return group
    if _is_ours(own) and set(wanted) <= set(_read(f"{own}/cgroup.controllers").split()):
        _empty(own)
        if _switch_on(own, wanted):
            return own
    raise OSError(f"no cgroup from {own} upwards is delegated to this user with {' and '.join(wanted)}")


class Group:
    """The group of one sandbox. Raises OSError."""

    def __init__(self, where: str, identifier: str) -> None:
        _sweep(where)
        self.path = f"{where}/{_OURS}{os.getpid()}-{identifier}"
        os.mkdir(self.path)

    def limit(self, files: dict[str, str]) -> None:
        for name, value in files.items():
            # A kernel without swap accounting has no such file, and swaps for nobody in particular.
            if name != "memory.swap.max" or os.path.exists(f"{self.path}/{name}"):
                _write(f"{self.path}/{name}", value)

    def add(self, pid: int) -> None:
        """Put a process into it that has no children yet: those that it will have are born here."""
        _write(f"{self.path}/cgroup.procs", str(pid))

    def remove(self) -> None:
        """Once its last process has been waited for."""
        try:
            os.rmdir(self.path)
        except OSError:
            pass  # something of it is still dying in the kernel; whoever makes the next one removes it


def _hierarchy() -> tuple[str, str]:
    """Where cgroup v2 is mounted and our own group below it."""
    mount = next((line.split() for line in _read("/proc/self/mountinfo").splitlines() if " - cgroup2 " in line), None)
    path = next((line.removeprefix("0::") for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), None)
    if mount is None or path is None:
        raise OSError("this host has no cgroup v2")
    return mount[4], (mount[4] + path).rstrip("/")


def _upwards(mount: str, group: str) -> Iterator[str]:
    while True:
        yield group
        if group == mount or not group.startswith(mount):
            return
        group = os.path.dirname(group)


def _is_ours(group: str) -> bool:
    return all(os.access(path, os.W_OK) for path in (group, f"{group}/cgroup.procs", f"{group}/cgroup.subtree_control"))


def _switch_on(group: str, wanted: list[str]) -> bool:
    """Whether the controllers are on for what is below."""
    for name in wanted:
        if name not in _read(f"{group}/cgroup.subtree_control").split():
            try:
                _write(f"{group}/cgroup.subtree_control", f"+{name}")
            except OSError:
                return False
    return True


def _empty(group: str) -> None:
    """Move the processes of our own group, us among them, to a leaf below it."""
    leaf = f"{group}/{_LEAF}"
    os.makedirs(leaf, exist_ok=True)
    for _ in range(_ROUNDS):
        for pid in _read(f"{group}/cgroup.procs").split():
            try:
                _write(f"{leaf}/cgroup.procs", pid)
            except ProcessLookupError:
                pass


def _sweep(where: str) -> None:
    """Remove the groups of launchers that were killed."""
    for name in os.listdir(where):
        launcher = name.removeprefix(_OURS).partition("-")[0]
        if name.startswith(_OURS) and launcher.isdigit() and not os.path.exists(f"/proc/{launcher}"):
            try:
                os.rmdir(f"{where}/{name}")
            except OSError:
                pass  # its last processes are still dying


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def _write(path: str, value: str) -> None:
    with open(path, "w") as file:
        file.write(value)
