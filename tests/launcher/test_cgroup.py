"""Control groups of version 2: a tree of files for what is found where, and the kernel's own for what is done there."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from immure.launcher import cgroup

MOUNT = next(
    (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line and " rw," in line), ""
)
AVAILABLE = Path(MOUNT, "cgroup.controllers").read_text().split() if MOUNT else []
SOMEBODY = 58211
"""Nobody's id, whom a group is delegated to."""


class Tree:
    """Groups as files, which cannot do what the kernel does but show what is read and written."""

    def __init__(self, root: Path, controllers: str) -> None:
        self.root = root
        self.hierarchy = str(root), f"{root}/user/apps/shell"
        self.add("", controllers=controllers)
        (root / "cgroup.type").unlink()

    def add(self, path: str, *, controllers: str, on: str = "", processes: str = "") -> None:
        group = self.root / path
        group.mkdir(exist_ok=True)
        files = {"controllers": controllers, "subtree_control": on, "procs": processes, "type": "domain"}
        for name, content in files.items():
            (group / f"cgroup.{name}").write_text(content)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path, "cpu io memory pids")
    made.add("user", controllers="cpu memory pids", on="cpu memory")
    made.add("user/apps", controllers="cpu memory", on="memory")
    made.add("user/apps/shell", controllers="memory", processes="1\n")
    return made


def test_the_nearest_group_without_processes_that_has_the_controllers(tree: Tree) -> None:
    assert cgroup.place(["memory"], tree.hierarchy) == f"{tree.root}/user/apps"


def test_a_controller_that_is_off_is_switched_on(tree: Tree) -> None:
    assert cgroup.place(["cpu"], tree.hierarchy) == f"{tree.root}/user/apps"
    assert (tree.root / "user/apps/cgroup.subtree_control").read_text() == "+cpu"


def test_a_group_with_processes_is_passed_by(tree: Tree) -> None:
    (tree.root / "user/apps/cgroup.procs").write_text("2\n")
    assert cgroup.place(["memory"], tree.hierarchy) == f"{tree.root}/user"


def test_a_controller_that_there_is_not(tree: Tree) -> None:
    with pytest.raises(OSError, match="has no controller hugetlb"):
        cgroup.place(["memory", "hugetlb"], tree.hierarchy)


def test_the_groups_of_launchers_that_were_killed_are_removed(tmp_path: Path) -> None:
    for name in (f"immure-{os.getpid()}-living", "immure-99999999-dead", "immure-outside", "other"):
        (tmp_path / name).mkdir()
    group = cgroup.Group(str(tmp_path), "new")
    assert sorted(os.listdir(tmp_path)) == [f"immure-{os.getpid()}-living", f"immure-{os.getpid()}-new", "immure-outside", "other"]
    group.remove()
    assert not os.path.exists(group.path)


# ---------------------------------------------------------------- the kernel's


if os.getuid() == 0 and AVAILABLE:
    CONTROLLER = AVAILABLE[0]

    @pytest.fixture
    def delegated() -> Iterator[Path]:
        """A group that belongs to somebody, with a controller on above it, as a session of systemd has one."""
        root = Path(MOUNT, f"immure-test-{os.getpid()}")
        control = Path(MOUNT, "cgroup.subtree_control")
        was_on = CONTROLLER in control.read_text().split()
        control.write_text(f"+{CONTROLLER}")
        root.mkdir()
        try:
            for path in (root, *(root / name for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads"))):
                os.chown(path, SOMEBODY, SOMEBODY)
            yield root
        finally:
            for below, _, _ in os.walk(root, topdown=False):
                os.rmdir(below)
            if not was_on:
                control.write_text(f"-{CONTROLLER}")

    def test_an_ordinary_user_makes_groups_where_one_is_delegated(delegated: Path) -> None:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writer, "\n".join(_as_somebody(delegated)).encode())
            except BaseException as error:
                os.write(writer, repr(error).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader) as said:
            where, own, inside, killed, left = said.read().split("\n")
        os.waitpid(pid, 0)
        assert where == str(delegated)
        assert own == f"/{delegated.name}/immure-outside", "our own processes made room"
        assert inside.startswith(f"/{delegated.name}/immure-{pid}-")
        assert killed == str(int(signal.SIGKILL))
        assert left == "immure-outside"

    def _as_somebody(group: Path) -> list[str]:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        os.setgroups([])
        os.setresgid(SOMEBODY, SOMEBODY, SOMEBODY)
        os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
        where = cgroup.place([CONTROLLER])
        made = cgroup.Group(where, "sandbox")
        made.limit({"cgroup.max.descendants": "0"})
        child = os.fork()
        if child == 0:
            signal.pause()
        made.add(child)
        inside = Path(f"/proc/{child}/cgroup").read_text().rpartition("0::")[2].strip()
        Path(made.path, "cgroup.kill").write_text("1")
        _, status = os.waitpid(child, 0)
        made.remove()
        own = Path("/proc/self/cgroup").read_text().rpartition("0::")[2].strip()
        return [where, own, inside, str(os.WTERMSIG(status)), ",".join(one.name for one in group.iterdir() if one.is_dir())]

    def test_without_delegation_it_says_so(delegated: Path) -> None:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
                cgroup.place([CONTROLLER])
            except OSError as error:
                status = 0 if "is delegated to this user" in str(error) else 2
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
