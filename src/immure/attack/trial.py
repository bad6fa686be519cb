"""One run of the suite: inside a sandbox made with the user's own options, then the controls outside, then what it all came to.

The program goes in by standard input, as an archive of this package's modules, so nothing of ours has to be shown inside. The attacks
bring three options along: the decoy is the workspace, its hidden files are hidden, and the name `localhost` is allowed with the decoy's
port, because what the gate does with an allowed name can only be seen of one.
"""

import base64
import fcntl
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from immure import interpreter
from immure.attack import suite
from immure.attack.attack import ATTACKS, IF_THE_HOST_ALLOWS, OUTSIDE
from immure.attack.decoy import HIDE, Decoy
from immure.attack.verdict import Outcome, Result, Verdict, judge
from immure.errors import EXIT_LAUNCH, HostError

Told = Callable[[int, int], None]
"""Called with the number of attacks made so far, and of all."""

_START = """
import base64, os, sys
archive, request = sys.stdin.buffer.read().splitlines()
with open("/tmp/immure-attack.zip", "wb") as file:
    file.write(base64.b64decode(archive))
sys.path.insert(0, file.name)
memory = os.memfd_create("request")
os.write(memory, request)
os.lseek(memory, 0, os.SEEK_SET)
from immure.attack.program import main
main(memory)
"""
_NETWORK, _COVERS, _PIDS = "network namespace", "covers over protected and hidden paths", "pid namespace"
_COUNTED = ("tcp", "tcp6", "udp", "udp6", "path", "abstract", "datagram")


class NotStarted(Exception):
    """The sandbox was refused, and the reason said on standard error."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def run(decoy: Decoy, options: list[str], told: Told) -> list[Result]:
    """Raises NotStarted; HostError if the sandbox ended before its time."""
    attacks = suite.attacks()
    before = decoy.snapshot()
    inside = _inside(decoy, options, told)
    heard, changed, has_survivors = list(decoy.heard), decoy.snapshot() != before, _is_locked(decoy.targets["lock"])
    decoy.heard.clear()
    outside = _outside(decoy)
    results = [judge(attack, inside, outside) for attack in attacks]
    deaf = [name for name in _COUNTED if name in decoy.targets and name not in decoy.heard]
    return [
        *results,
        _evidence("nobody-was-heard", "Reach a listener of the host by any of these", _NETWORK, heard, deaf),
        _evidence("nothing-has-changed", "Change what is protected or hidden by any of these", _COVERS, ["changed"] * changed, []),
        _evidence("nothing-has-survived", "Live on when the sandbox has ended", _PIDS, ["a process"] * has_survivors, []),
    ]


def _evidence(name: str, title: str, stopped_by: str, found: list[str], deaf: list[str]) -> Result:
    """What the host itself saw, whatever the attacks said of themselves."""
    verdict: Verdict = "reached" if found else "unproven" if deaf else "stopped"
    control = f"outside nobody reached {', '.join(deaf)}" if deaf else "the host looked for itself"
    return Result(id=f"afterwards/{name}", title=title, stopped_by=stopped_by, verdict=verdict, found=" ".join(found), control=control)


# ---------------------------------------------------------------- the two sides


def _inside(decoy: Decoy, options: list[str], told: Told) -> dict[str, Outcome]:
    brought = [word for pattern in HIDE for word in ("--hide", pattern)]
    brought += ["--workspace", decoy.workspace, "--allow", f"localhost:{decoy.targets['tcp']}"]
    command = [
        os.path.join(os.path.dirname(sys.executable), "immure"),
        "run",
        *options,
        *brought,
        "--",
        "python3",
        "-I",
        "-B",
        "-c",
        _START,
    ]
    neighbours = sorted({one.control for one in ATTACKS.values()} - {OUTSIDE, IF_THE_HOST_ALLOWS})
    attacks = [one.id for one in suite.attacks()]
    targets = {**decoy.targets, "is_inside": True}
    request = {"targets": targets, "attacks": attacks, "neighbours": neighbours, "template": None}
    wanted = len(ATTACKS) + len(neighbours)
    found: dict[str, Outcome] = {}
    with _told(command, decoy.workspace, _archive() + _line(request)) as program:
        for name, outcome in _answers(program):
            found[name] = outcome
            told(len(found), wanted)
        status = program.wait()
    if not found:
        raise NotStarted(status or EXIT_LAUNCH)
    if len(found) < wanted:
        last = list(found)[-1]
        raise HostError(f"the sandbox ended after {last}, with status {status}", code="attack.ended", hint="immure logs")
    return found


def _outside(decoy: Decoy) -> dict[str, Outcome]:
    attacks = [one.id for one in suite.attacks() if one.stopped_by and one.control in (OUTSIDE, IF_THE_HOST_ALLOWS)]
    request = {"targets": {**decoy.targets, "is_inside": False}, "attacks": attacks, "neighbours": [], "template": decoy.control}
    with _told(interpreter.command("immure.attack.program", 0), decoy.control, _line(request)) as program:
        return dict(_answers(program))


@contextmanager
def _told(command: list[str], directory: str, data: bytes) -> Iterator[subprocess.Popen[bytes]]:
    with (
        tempfile.TemporaryFile() as said,  # not your terminal, which would be relayed
        subprocess.Popen(command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said) as program,
    ):
        try:
            assert program.stdin is not None
            try:
                program.stdin.write(data)
                program.stdin.close()
            except BrokenPipeError:
                pass  # it says on standard error why it does not read
            yield program
        finally:
            program.terminate()  # and wait: what is being attacked goes away next
            program.wait()
            said.seek(0)
            sys.stderr.write(said.read().decode(errors="replace"))


def _answers(program: subprocess.Popen[bytes]) -> Iterator[tuple[str, Outcome]]:
    assert program.stdout is not None
    for line in program.stdout:
        name, has_worked, what = json.loads(line)
        yield name, (bool(has_worked), str(what))


def _line(request: object) -> bytes:
    return json.dumps(request).encode() + b"\n"


def _archive() -> bytes:
    """The modules that the program imports, as one line."""
    here = os.path.dirname(__file__)
    modules = ("__init__", "attack", "system_calls", "suite", "program", *suite.GROUPS)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("immure/__init__.py", "")
        for module in modules:
            archive.write(f"{here}/{module}.py", f"immure/attack/{module}.py")
    return base64.b64encode(file.getvalue()) + b"\n"


def _is_locked(path: str) -> bool:
    """Does anybody live who holds this lock?"""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
