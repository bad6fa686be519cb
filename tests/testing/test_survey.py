"""Positive controls: a secret planted in each kind of place is found there, and a clean sandbox is clean."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from immure.testing.leak import Needles
from immure.testing.process import sandbox_processes
from immure.testing.survey import Survey

SECRET = "fake-at-7Qm2Zx9LkP0sTvB4nR8cYw1dHj5GfE3aUi6o"
READY = "print('ready', flush=True); sys.stdin.read()"
# The secret never stands in the program's own text: it is put together from a reversed copy.
MADE = f"import sys, mmap, os; made = {SECRET[::-1]!r}[::-1].encode(); "
OWN_PIDS = ["unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child", "--mount-proc", "--mount"]


@pytest.fixture
def survey() -> Survey:
    return Survey(needles=Needles({"token": SECRET}))


@contextmanager
def running(
    code: str, *, arguments: tuple[str, ...] = (), wrapper: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """A program that runs `code` and waits; the pid of its outermost process."""
    command = [*wrapper, sys.executable, "-S", "-E", "-c", "import sys; " + code + READY, *arguments]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PATH": os.defpath, **(environment or {})})
    assert program.stdin
    assert program.stdout
    try:
        assert program.stdout.readline() == b"ready\n"
        yield program.pid
    finally:
        program.stdin.close()
        program.stdout.close()
        program.wait()


# (name, code, arguments, environment, where it must be found)
PLANTED = [
    ("environment", "", (), {"TOKEN": SECRET}, ["/environ at ", "memory of"]),
    ("command line", "", (SECRET,), {}, ["/cmdline at", "memory of"]),
    ("heap", MADE, (), {}, ["44 characters of token in memory of"]),
    ("piece on the heap", MADE + "made = made[9:25] + b'!'; ", (), {}, ["16 characters of token in memory of"]),
    ("private mapping", MADE + "room = mmap.mmap(-1, 4096); room.write(made); ", (), {}, ["at 0"]),
    (
        "end of a large mapping",
        MADE + f"room = mmap.mmap(-1, 9 << 20); room[-{len(SECRET)}:] = made; ",
        (),
        {},
        [f"at {(9 << 20) - len(SECRET)}"],
    ),
    (
        "mapped anonymous file",
        MADE + "fd = os.memfd_create('m'); os.write(fd, made.ljust(4096)); room = mmap.mmap(fd, 4096, prot=mmap.PROT_READ); room[0]; ",
        (),
        {},
        ["memfd:m"],
    ),
]


@pytest.mark.parametrize(("code", "arguments", "environment", "places"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED])
def test_a_secret_in_a_process_is_found(
    survey: Survey, code: str, arguments: tuple[str, ...], environment: dict[str, str], places: list[str]
) -> None:
    with running(code, arguments=arguments, environment=environment) as pid:
        survey.process(pid)
    found = "\n".join(map(str, survey.leaks))
    assert [place for place in places if place not in found] == []
    assert survey.unreadable == []


def test_a_clean_process_is_clean_and_was_looked_at(survey: Survey) -> None:
    with running("") as pid:
        survey.process(pid)
    assert (survey.leaks, survey.unreadable) == ([], [])
    assert survey.places["environment"] == survey.places["command line"] == 1
    assert survey.places["memory"] > 10
    assert survey.size > 1 << 20


def test_the_program_text_of_many_processes_is_read_once(survey: Survey) -> None:
    with running("") as one, running("") as other:
        survey.process(one)
        first = survey.size
        survey.process(other)
    assert survey.size - first < first


def test_a_process_that_is_gone_is_no_error(survey: Survey) -> None:
    program = subprocess.Popen(["true"])
    program.wait()
    survey.process(program.pid)
    assert (survey.leaks, survey.unreadable) == ([], [])


@contextmanager
def ordinary_user() -> Iterator[int]:
    """Root may read all, so root looks with the eyes of nobody; the effective user id."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield os.geteuid()
    finally:
        os.seteuid(user)


def test_what_cannot_be_read_is_reported(survey: Survey) -> None:
    with tempfile.TemporaryDirectory() as top, running("") as pid:
        file, folder = os.path.join(top, "file"), os.path.join(top, "folder")
        os.close(os.open(file, os.O_CREAT, 0))
        os.mkdir(folder, 0)
        stranger = 1 if os.geteuid() else pid
        for path in (top, file, folder):
            os.chown(path, 65534 if stranger == pid else -1, -1)
        with ordinary_user():
            survey.tree(top)
            survey.process(stranger)
    assert (survey.leaks, survey.closed) == ([], [])
    assert {one.partition(": ")[0] for one in survey.unreadable} == {file, folder, f"memory of {stranger}"}


def test_what_is_closed_to_us_by_somebody_else_is_only_noted_unless_it_was_asked_for(survey: Survey) -> None:
    with ordinary_user():
        survey.tree("/etc")
        assert "/etc/shadow" in survey.closed
        assert survey.unreadable == []
        survey.tree("/proc/1/fd")
        assert survey.unreadable == ["/proc/1/fd: Permission denied"]


# (name, how to plant it below a directory)
FILES = {
    "file": lambda top: (top / "auth.json").write_text(SECRET),
    "hidden file in a folder": lambda top: ((top / ".a").mkdir(), (top / ".a" / ".b").write_text(f"x{SECRET[:20]}")),
    "name of a file": lambda top: (top / SECRET).touch(),
    "name of a directory": lambda top: (top / SECRET).mkdir(),
    "link": lambda top: (top / "link").symlink_to(SECRET),
    "across two reads": lambda top: (top / "big").write_bytes(bytes((4 << 20) - 20) + SECRET.encode()),
    "not text": lambda top: (top / "core").write_bytes(b"\xff\x00" + SECRET.encode() + b"\x00\xff"),
}


@pytest.mark.parametrize("plant", FILES.values(), ids=FILES)
def test_a_secret_in_a_tree_is_found(survey: Survey, tmp_path: Path, plant: object) -> None:
    assert callable(plant)
    plant(tmp_path)
    survey.tree(str(tmp_path))
    assert survey.leaks
    assert survey.unreadable == []


def test_a_tree_with_everything_but_the_secret_is_clean(survey: Survey, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(SECRET[:15])
    (tmp_path / "skipped").mkdir()
    (tmp_path / "skipped" / "file").write_text(SECRET)
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to(".")
    os.mkfifo(tmp_path / "fifo")
    survey.tree(str(tmp_path), skip=[str(tmp_path / "skipped")])
    assert (survey.leaks, survey.unreadable) == ([], [])


def test_a_file_that_was_last_changed_before_the_secret_was_made_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(SECRET)
    changed = (tmp_path / "file").stat().st_ctime
    for since, found in ((changed, 1), (changed + 1, 0)):
        survey = Survey(needles=Needles({"token": SECRET}), since=since)
        survey.tree(str(tmp_path))
        assert len(survey.leaks) == found


def test_output_is_searched(survey: Survey) -> None:
    survey.text(f"\x1b[32m{SECRET}\x1b[0m".encode(), "the terminal")
    (leak,) = survey.leaks
    assert (leak.place, leak.length) == ("the terminal", len(SECRET))


def test_a_sandbox_is_all_of_its_processes_and_what_they_see(tmp_path: Path) -> None:
    """An orphan in a pid namespace of its own, found from the outermost process, with a file that only it can see."""
    (tmp_path / "seen").mkdir()
    orphan = (
        MADE
        + "import subprocess; subprocess.run(['mount', '-t', 'tmpfs', 'none', sys.argv[1]], check=True); "
        + "open(sys.argv[1] + '/file', 'wb').write(made); child = os.fork(); os.close(1) if not child else None; "
        + "grandchild = 0 if child else os.fork(); child or grandchild or os.setsid(); child or not grandchild or os._exit(0); "
        + "child or os.read(0, 1); child or os._exit(0); del made; os.waitpid(child, 0); "
    )
    wrapper = (*OWN_PIDS, "--map-root-user") if os.geteuid() else tuple(OWN_PIDS)
    since = os.stat(tmp_path / "seen").st_ctime
    survey = Survey(needles=Needles({"token": SECRET}), since=since)
    with running(orphan, arguments=(str(tmp_path / "seen"),), wrapper=wrapper) as pid:
        members = sandbox_processes(pid)
        survey.sandbox(pid, skip=[f"/{name}" for name in os.listdir("/") if name != tmp_path.parts[1]])
    assert len(members) == 3
    assert members[0] == pid
    assert os.getpid() not in members
    assert any(leak.place.endswith("/seen/file") for leak in survey.leaks)
    assert any("memory" in leak.place for leak in survey.leaks)
    assert not (tmp_path / "seen" / "file").exists()


def test_a_process_that_made_itself_undumpable_is_still_read(survey: Survey) -> None:
    undumpable = MADE + "import ctypes; assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0; "
    with running(undumpable, wrapper=tuple(OWN_PIDS)) as pid:
        for one in sandbox_processes(pid):
            survey.process(one)
        os.kill(pid, signal.SIGCONT)
    assert any("memory" in leak.place for leak in survey.leaks)
