"""A terminal of one's own inside: keys, jobs, sizes and streams are as in any terminal, and the person's own is left as it was."""

import hashlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from near_side import PATIENCE, call, children, command_line, processes
from screen import Screen, screen

from immure.testing.household import Household, command

CTRL_C, CTRL_D, CTRL_Z, CTRL_BACKSLASH = b"\x03", b"\x04", b"\x1a", b"\x1c"
BASH = ("run", "--env", "PS1=$? > ", "--", "bash", "--norc", "--noprofile", "-i")


@pytest.fixture
def bash(home: Household) -> Iterator[Screen]:
    with screen(home, *BASH) as made:
        made.expect("0 > ")
        yield made


def test_it_is_a_terminal_of_its_own(home: Household) -> None:
    script = "tty; stty size; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three; : < /dev/tty && echo controlling"
    with screen(home, "run", "--", "sh", "-c", script) as terminal:
        for text in ("/dev/", "40 120", "all three", "controlling"):
            terminal.expect(text)
        assert terminal.status() == 0
    assert b"not a tty" not in terminal.seen


def test_an_interrupt_is_for_the_program_in_the_foreground(bash: Screen) -> None:
    bash.press(b"sh -c 'echo run\"\"ning; exec sleep 60'\n")
    bash.expect("running")
    bash.press(CTRL_C)
    bash.expect(f"{128 + signal.SIGINT} > ")
    bash.press(b"sh -c 'echo run\"\"ning; exec sleep 60'\n")
    bash.expect("running")
    bash.press(CTRL_BACKSLASH)
    bash.expect(f"{128 + signal.SIGQUIT} > ")
    bash.press(b"exit 5\n")
    assert bash.status() == 5


def test_jobs_are_stopped_and_go_on(bash: Screen) -> None:
    bash.press(b"sh -c 'echo run\"\"ning; read -r word; echo got $word'\n")
    bash.expect("running")
    bash.press(CTRL_Z)
    bash.expect("Stopped")
    bash.expect(f"{128 + signal.SIGTSTP} > ")
    bash.press(b"fg\n")
    bash.press(b"it\n")
    bash.expect("got it")
    bash.press(b"exit\n")
    assert bash.status() == 0


def test_the_end_of_input_ends_it(bash: Screen) -> None:
    bash.press(b"false\n")
    bash.expect("1 > ")
    bash.press(CTRL_D)
    assert bash.status() == 1


def test_the_terminal_is_put_back_after_a_program_left_it_raw(home: Household) -> None:
    with screen(home, "run", "--", "sh", "-c", "stty raw -echo; echo ready; read -r _; exit 3") as terminal:
        before = terminal.settings()
        terminal.expect("ready")
        assert terminal.settings() != before, "as long as it is relayed it is raw"
        terminal.press(b"\r\n")
        assert terminal.status() == 3
        assert terminal.settings() == before


def monitor(home: Household) -> int:
    broker = home.broker()
    assert broker
    workers = [pid for pid in children(broker) if "immure.launcher" in command_line(pid)]
    return next(pid for pid in children(workers[0]) if command_line(pid).startswith("bwrap"))


def broker(home: Household) -> int:
    found = home.broker()
    assert found
    return found


@pytest.mark.parametrize("victim", [monitor, broker])
def test_the_terminal_is_put_back_after_a_death(victim: Callable[[Household], int], home: Household) -> None:
    with screen(home, "run", "--", "sh", "-c", "stty raw -echo; echo ready; sleep 60") as terminal:
        before = terminal.settings()
        terminal.expect("ready")
        os.kill(victim(home), signal.SIGKILL)
        assert terminal.status() == 125
        terminal.expect("error: ")
        terminal.expect("hint: ")
        assert terminal.settings() == before
    assert call(home, "run", "--", "true").returncode == 0


def test_a_signal_puts_the_terminal_back_too(home: Household) -> None:
    with screen(home, "run", "--", "sh", "-c", "echo ready; sleep 60") as terminal:
        before = terminal.settings()
        terminal.expect("ready")
        terminal.program.send_signal(signal.SIGTERM)
        assert terminal.status() == 128 + signal.SIGTERM
        assert terminal.settings() == before


def test_a_terminal_that_goes_away_ends_the_program(home: Household) -> None:
    marker = f"600.{os.getpid()}1"
    with screen(home, "run", "--", "sh", "-c", f"echo ready; sleep {marker}") as terminal:
        terminal.expect("ready")
        assert processes(marker)
        terminal.hang_up()
        assert terminal.program.wait(PATIENCE) == 128 + signal.SIGHUP
    assert processes(marker) == []


# which of stdin, stdout, stderr is a terminal inside, by the shell's redirection outside
MIXED = [
    ("> out", [True, False, True]),
    ("< /dev/null", [False, True, True]),
    ("2> out", [True, True, False]),
    ("> out 2>&1", [True, False, False]),
    ("< /dev/null 2> out", [False, True, False]),
    ("< /dev/null > out", [False, False, True]),
    ("< /dev/null > out 2>&1", [False, False, False]),
]


@pytest.mark.parametrize(("redirection", "expected"), MIXED)
def test_what_is_redirected_is_no_terminal_and_the_rest_is(redirection: str, expected: list[bool], home: Household) -> None:
    script = ": > terminals; for fd in 0 1 2; do if [ -t $fd ]; then echo $fd >> terminals; fi; done; : < /dev/tty"
    with screen(home, f"{command()} run -- sh -c '{script}' {redirection}", shell=True) as terminal:
        before = terminal.settings()
        assert terminal.status() == (0 if any(expected) else 2), "there is a controlling terminal, if there is one at all"
        assert terminal.settings() == before
    found = (Path(home.workspace) / "terminals").read_text().split()
    assert [str(fd) in found for fd in range(3)] == expected


def test_keys_reach_a_program_whose_output_goes_into_a_pipe(home: Household) -> None:
    with screen(home, "run", "--", "sh", "-c", "read -r word; echo got $word", stdout=subprocess.PIPE) as terminal:
        terminal.press(b"this\n")
        assert terminal.status() == 0
        assert terminal.program.stdout
        with terminal.program.stdout as output:
            assert output.read() == b"got this\n"


def test_output_that_is_piped_and_input_that_is_typed_meet_in_one_pipeline(home: Household) -> None:
    with screen(home, f"{command()} run -- sh -c 'echo from inside' | tr a-z A-Z", shell=True) as terminal:
        terminal.expect("FROM INSIDE")
        assert terminal.status() == 0


def test_a_large_paste_arrives_whole(home: Household) -> None:
    pasted = b"".join(b"%06d %s\n" % (number, b"x" * 90) for number in range(2000))
    with screen(home, "run", "--", "sh", "-c", "stty -echo; echo ready; head -n 2000 | sha256sum") as terminal:
        terminal.expect("ready")
        terminal.press(pasted)
        terminal.expect(hashlib.sha256(pasted).hexdigest())
        assert terminal.status() == 0


def test_a_flood_arrives_whole_and_its_end_is_not_cut_off(home: Household) -> None:
    with screen(home, "run", "--", "seq", "100000") as terminal:
        assert terminal.status() == 0
    assert terminal.seen == b"".join(b"%d\r\n" % number for number in range(1, 100001))


def test_a_flood_can_be_interrupted(bash: Screen) -> None:
    bash.press(b"yes\n")
    bash.expect("y\r\ny\r\n")
    bash.press(CTRL_C)
    bash.expect(f"{128 + signal.SIGINT} > ")
    bash.press(b"exit 0\n")
    assert bash.status() == 0
