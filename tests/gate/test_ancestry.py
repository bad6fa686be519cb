"""By whom a process was started: real processes, and pids that have changed hands."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from immure.gate import process
from immure.gate.ancestry import Ancestry

PYTHON = os.path.realpath(sys.executable)
NEST = """
import os, subprocess, sys
print(os.getpid(), flush=True)
depth = int(sys.argv[1])
if depth:
    subprocess.run([sys.executable, "-c", os.environ["NEST"], str(depth - 1)])
else:
    sys.stdin.readline()
"""


@contextmanager
def nested(count: int) -> Iterator[list[int]]:
    """The pids of processes, each the parent of the next, the last of which waits."""
    words = [sys.executable, "-c", NEST, str(count - 1)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "NEST": NEST}) as first:
        assert first.stdout is not None
        try:
            yield [int(first.stdout.readline()) for _ in range(count)]
        finally:
            first.communicate(b"\n")


def pids(ancestry: Ancestry, life: process.Life) -> list[int]:
    found = list(ancestry.of(life))
    assert {ancestor.binary.path for ancestor in found} <= {PYTHON}
    return [ancestor.pid for ancestor in found]


def test_the_ancestors_end_below_the_first_two() -> None:
    with nested(5) as (first, _, third, fourth, last):
        ancestry = Ancestry(first)
        for _ in range(2):
            assert pids(ancestry, process.life(last)) == [fourth, third]
            assert pids(ancestry, process.life(third)) == []


def test_a_pid_that_is_anothers_now_is_no_parent() -> None:
    """The child says that it has another parent by now, as it does when its own has gone and somebody else has the number."""
    with nested(4) as (first, second, third, last), nested(1) as (other,):
        ancestry = Ancestry(first)
        stale = process.life(last)._replace(parent=other)
        assert pids(ancestry, stale) == []
        assert pids(ancestry, process.life(last)) == [third]
        assert pids(Ancestry(second), stale) == [], "whatever was seen before"


def test_a_parent_that_is_gone_is_none() -> None:
    with nested(3) as (first, _, last):
        with nested(1) as (gone,):
            pass
        assert pids(Ancestry(first), process.life(last)._replace(parent=gone)) == []


def test_a_life_is_of_one_program() -> None:
    """What was remembered of a process is not believed after an exec."""
    become = "import os, sys; print(flush=True); sys.stdin.readline(); os.execvp('sh', ['sh', '-c', 'echo; read line'])"
    with subprocess.Popen([sys.executable, "-c", become], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as changing:
        assert changing.stdin is not None
        assert changing.stdout is not None
        changing.stdout.readline()
        life, program = process.life(changing.pid), process.program(changing.pid)
        assert process.life(changing.pid) == life
        changing.stdin.write(b"\n")
        changing.stdin.flush()
        changing.stdout.readline()
        assert process.life(changing.pid) != life
        assert process.program(changing.pid) != program
        changing.communicate(b"\n")
