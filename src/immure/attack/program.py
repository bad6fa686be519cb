"""The program that makes the attacks: inside the walls, and as the control outside of them.

It reads one line of JSON: where the targets are, which attacks and neighbours to try, and, outside, the directory of which each attack
gets a copy to work in. It writes one line of JSON for each, as it goes: its id, whether it got something, and what. Each runs in a child
of its own, so none finds itself in the namespaces of another, and one that hangs ends.
"""

import json
import os
import shutil
import signal

from immure.attack import suite  # noqa: F401 - which enters the attacks
from immure.attack.attack import ATTACKS, NEIGHBOURS, TARGETS, Program, outcome

PATIENCE = 30
"""Seconds for one attack."""
_BREAKING = ("workspace", "hidden")
"""Groups whose attacks, where nothing stops them, break what the next is directed at."""


def tried(program: Program, directory: str) -> tuple[bool, str]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        signal.alarm(PATIENCE)
        os.chdir(directory)
        for stream in range(3):  # what it prints is no answer
            os.dup2(os.open(os.devnull, os.O_RDWR), stream)
        os.write(writer, json.dumps(outcome(program)).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    os.set_blocking(reader, False)  # what an attack leaves behind may hold the other end
    try:
        has_worked, what = json.loads(os.read(reader, 65536))
    except (BlockingIOError, ValueError):
        return False, "DIED"
    finally:
        os.close(reader)
    return has_worked, what


def main(descriptor: int) -> None:
    with open(descriptor, closefd=False) as file:
        request = json.load(file)
    TARGETS.update(request["targets"])
    template = request["template"]
    programs = {name: NEIGHBOURS[name] for name in request["neighbours"]} | {name: ATTACKS[name].program for name in request["attacks"]}
    for number, (name, program) in enumerate(programs.items()):
        directory = os.getcwd()
        if template and name.partition("/")[0] in _BREAKING:
            directory = f"{template}-{number}"
            shutil.copytree(template, directory, symlinks=True)
        has_worked, what = tried(program, directory)
        print(json.dumps([name, has_worked, what]), flush=True)  # noqa: T201 - to whoever started it
