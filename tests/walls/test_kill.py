"""kill -9 of anything, at any moment: one clear error, nothing left of the sandbox, and the next command works.

Processes are found as a system administrator would find them, from the outside, by who is whose child.
"""

import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from near_side import PATIENCE, assert_one_error, begun, call, children, command_line, ended, line, processes

from immure.testing.household import Household

# What outlives its parent, its session and its terminal, if it can.
SURVIVORS = """
import os, subprocess, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        for fd in range(3):
            os.dup2(os.open("/dev/null", os.O_RDWR), fd)
        os.execvp("sleep", ["sleep", sys.argv[1]])
    os._exit(0)
subprocess.Popen(["sleep", sys.argv[1]], start_new_session=True)
subprocess.Popen(["nohup", "sh", "-c", "trap '' HUP TERM INT; while :; do sleep " + sys.argv[1] + "; done"], stderr=subprocess.DEVNULL)
subprocess.Popen(["unshare", "--user", "--map-root-user", "--pid", "--fork", "sleep", sys.argv[1]])
print("ready", flush=True)
sys.stdin.readline()
"""

Find = Callable[[Household], int]


def broker(home: Household) -> int:
    found = home.broker()
    assert found
    return found


def worker(home: Household, module: str) -> int:
    (found,) = [pid for pid in children(broker(home)) if module in command_line(pid)]
    return found


def launcher(home: Household) -> int:
    return worker(home, "immure.launcher")


def nursery(home: Household) -> int:
    return worker(home, "immure.gate.nursery")


def gate(home: Household) -> int:
    """The gate in use is the oldest: the others are made ahead."""
    return children(nursery(home))[0]


def monitor(home: Household) -> int:
    (found,) = [pid for pid in children(launcher(home)) if command_line(pid).startswith("bwrap")]
    return found


def init(home: Household) -> int:
    """Pid 1 of the inner namespace."""
    return children(monitor(home))[0]


# who is killed → the code of the error. Gates die with their nursery, and either may be noticed first.
VICTIMS: dict[str, tuple[Find, str]] = {
    "the broker": (broker, "broker.died"),
    "the launcher": (launcher, "launcher.died"),
    "the nursery": (nursery, "nursery.died|gate.died"),
    "the gate": (gate, "gate.died"),
    "bubblewrap": (monitor, "sandbox.killed"),
}


@pytest.fixture
def marker(request: pytest.FixtureRequest) -> Iterator[str]:
    """A number of seconds to sleep that no other process of the machine has in its command line."""
    made = f"600.{abs(hash(request.node.name)) % 10**9:09}{os.getpid()}"
    yield made
    for pid in processes(made):
        os.kill(pid, signal.SIGKILL)


def assert_gone(marker: str) -> None:
    """Every process with this mark ends by itself, soon: what is asked for is that it was killed, not that it had ended already."""
    for pid in processes(marker):
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ready, _, _ = select.select([handle], [], [], PATIENCE)
        os.close(handle)
        assert ready, f"{pid} is still there: {command_line(pid)}"
    assert processes(marker) == []


def assert_nothing_left(home: Household, marker: str) -> None:
    """After the next command, which must work, and which sweeps what nobody could clean."""
    assert_gone(marker)
    result = call(home, "run", "--", "echo", "works")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"works\n", b"")
    assert os.listdir(f"{home.immure_home}/state/sandboxes") == []
    assert os.listdir(home.workspace) == []
    assert home.workspace not in Path("/proc/self/mounts").read_text()


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_part_dies_under_a_running_sandbox(victim: str, home: Household, marker: str) -> None:
    find, code = VICTIMS[victim]
    with begun(home, "run", "--", "sh", "-c", f"echo ready; exec sleep {marker}") as program:
        assert line(program) == "ready"
        assert processes(marker), "the control: as long as it runs it is seen from here"
        os.kill(find(home), signal.SIGKILL)
        status, stderr = ended(program)
    assert_one_error(status, stderr, expected=125, code=code)
    assert_nothing_left(home, marker)


def test_the_gate_dies_while_it_watches(home: Household, marker: str) -> None:
    """A call that waits for it does not wait for ever."""
    script = f"echo ready; while :; do echo > /tmp/x; done; sleep {marker}"
    with begun(home, "run", "--log-denials", "--", "sh", "-c", script) as program:
        assert line(program) == "ready"
        os.kill(gate(home), signal.SIGKILL)
        status, stderr = ended(program)
    assert_one_error(status, stderr, expected=125, code="gate.died")
    assert_nothing_left(home, marker)


def test_the_inner_init_is_killed_with_all_that_it_holds(home: Household, marker: str) -> None:
    with begun(home, "run", "--", "sh", "-c", f"echo ready; exec sleep {marker}") as program:
        assert line(program) == "ready"
        os.kill(init(home), signal.SIGKILL)
        assert ended(program) == (128 + signal.SIGKILL, "")
    assert_nothing_left(home, marker)


def test_the_client_dies_and_the_sandbox_with_it(home: Household, marker: str) -> None:
    with begun(home, "run", "--", "sh", "-c", f"echo ready; exec sleep {marker}") as program:
        assert line(program) == "ready"
        program.kill()
        assert ended(program) == (-signal.SIGKILL, "")
    assert_nothing_left(home, marker)


@pytest.mark.parametrize("victim", ["the broker", "the launcher", "the nursery"])
def test_a_part_dies_at_rest_and_the_next_command_works(victim: str, home: Household, marker: str) -> None:
    assert call(home, "run", "--", "true").returncode == 0
    found = VICTIMS[victim][0](home)
    handle = os.pidfd_open(found)
    os.kill(found, signal.SIGKILL)
    select.select([handle], [], [], PATIENCE)
    os.close(handle)
    assert_nothing_left(home, marker)


def test_what_was_made_ahead_dies_and_the_next_command_works(home: Household, marker: str) -> None:
    assert call(home, "run", "--", "true").returncode == 0
    for parent in (launcher(home), nursery(home)):
        for pid in children(parent):
            os.kill(pid, signal.SIGKILL)
    assert_nothing_left(home, marker)


# At start-up there are only moments, not states: each victim is killed as soon as it is seen, then a little later, and so on.
MOMENTS = 3


def kill_at_start(home: Household, find: Callable[[], int | None], marker: str, moment: int) -> tuple[int, str]:
    with begun(home, "run", "--", "sleep", marker) as program:
        while program.poll() is None:
            victim = find()
            if victim is None:
                continue
            select.select([], [], [], moment * 0.004)
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                pass
            break
        return ended(program)


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_bubblewrap_dies_while_it_builds(moment: int, home: Household, marker: str) -> None:
    """Its child asks to die with it only when the tree is built: until then the pid namespace around both must do it."""
    assert call(home, "run", "--", "true").returncode == 0
    parent = launcher(home)

    def find() -> int | None:
        return next((pid for pid in children(parent) if marker in command_line(pid)), None)

    status, stderr = kill_at_start(home, find, marker, moment)
    assert_one_error(status, stderr, expected=125, code="sandbox.killed")
    assert_nothing_left(home, marker)


@pytest.mark.parametrize("moment", range(0, MOMENTS, 2))
@pytest.mark.parametrize("victim", ["the launcher", "the nursery", "the broker"])
def test_a_part_dies_while_a_sandbox_is_made(victim: str, moment: int, home: Household, marker: str) -> None:
    find, code = VICTIMS[victim]
    assert call(home, "run", "--", "true").returncode == 0
    found = find(home)
    sandboxes = f"{home.immure_home}/state/sandboxes"
    status, stderr = kill_at_start(home, lambda: found if os.listdir(sandboxes) else None, marker, moment)
    assert_one_error(status, stderr, expected=125, code=code)
    assert_nothing_left(home, marker)


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_the_client_dies_while_a_sandbox_is_made(moment: int, home: Household, marker: str) -> None:
    assert call(home, "run", "--", "true").returncode == 0
    sandboxes = f"{home.immure_home}/state/sandboxes"
    with begun(home, "run", "--", "sleep", marker) as program:
        while not os.listdir(sandboxes) and program.poll() is None:
            pass
        select.select([], [], [], moment * 0.004)
        program.kill()
        ended(program)
    assert_nothing_left(home, marker)


def test_nothing_survives_the_end(home: Household, marker: str) -> None:
    with begun(home, "run", "--", "python3", "-c", SURVIVORS, marker, stdin=subprocess.PIPE) as program:
        assert line(program) == "ready"
        assert len(processes(marker)) > 4, "the control: they all run"
        _, stderr = program.communicate(b"\n", timeout=PATIENCE)
        assert (program.returncode, stderr) == (0, b"")
    assert_nothing_left(home, marker)


def test_stop_ends_sandboxes_and_says_so(home: Household, marker: str) -> None:
    with begun(home, "run", "--", "sh", "-c", f"echo ready; exec sleep {marker}") as program:
        assert line(program) == "ready"
        assert call(home, "stop").returncode == 0
        assert_one_error(*ended(program), expected=125, code="broker.stopped")
    assert_nothing_left(home, marker)


def test_a_command_right_after_stop_works(home: Household, marker: str) -> None:
    for _ in range(3):
        assert_nothing_left(home, marker)
        assert call(home, "stop").returncode == 0


def test_commands_that_start_together_share_one_broker(home: Household, marker: str) -> None:
    call(home, "stop")
    programs = []
    for _ in range(4):
        context = begun(home, "run", "--", "sh", "-c", "echo works; read -r _", stdin=subprocess.PIPE)
        programs.append((context, context.__enter__()))
    try:
        assert [line(program) for _, program in programs] == ["works"] * 4
        assert len([pid for pid in children(launcher(home)) if command_line(pid).startswith("bwrap")]) == 4
    finally:
        for context, _ in programs:
            context.__exit__(None, None, None)
    assert_nothing_left(home, marker)
