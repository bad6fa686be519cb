"""The walls, by building them: a sandbox from the launcher's own code, in which nothing but a trial program runs.

Rules: single-threaded, because the launcher's fork is not for a process with threads. Nobody answers the sandbox's connections, and
the trial programs open none.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from typing import Final

from immure import channel
from immure.doctor.check import Check
from immure.errors import EXIT_LAUNCH, HostError
from immure.launcher import kernel, ownership, wall
from immure.model import Limits
from immure.sandbox import environment, system
from immure.sandbox.limits import resource_limits
from immure.sandbox.refusal import refusal
from immure.sandbox.spec import AGENT_HOME, Spec
from immure.sandbox.spec import bubblewrap as options_of

_STEPS: Final = {
    "user-namespaces": (wall.USERS, "user, pid and network namespaces can be made"),
    "network": (wall.NETWORK, "every connection can be redirected (AnyIP routes and nft TPROXY)"),
    "seccomp": (wall.SECCOMP, "connect(2) can be reported to the gate (seccomp notification)"),
}
"""Check → the step of the launcher that it is about, in the order in which they are taken, and what its success means."""
_NESTED: Final = "bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev true".split()


class _Failed(Exception):
    def __init__(self, step: str, error: str) -> None:
        super().__init__(error)
        self.step = step
        self.error = error


def checks() -> Iterator[Check]:
    """From the kernel upwards; what a failure makes impossible is not tried."""
    if kernel.machine() not in kernel.SUPPORTED_MACHINES:
        fix = f"use {' or '.join(kernel.SUPPORTED_MACHINES)}"
        yield Check(id="machine", status="failed", detail=f"this is {kernel.machine()}", fix=fix)
        return
    yield Check(id="machine", status="ok", detail=f"{kernel.machine()}, Linux {os.uname().release}")
    try:
        bubblewrap = system.bubblewrap()
    except HostError as error:
        yield Check.of("bubblewrap", error)
        bubblewrap = ""
    try:
        status, said = _run(bubblewrap, ["true"])
    except _Failed as failure:
        yield from _up_to(failure)
        return
    yield from (Check(id=name, status="ok", detail=meaning) for name, (_, meaning) in _STEPS.items())
    if not bubblewrap:
        return
    if status != 0:
        fix = "install bubblewrap 0.5 or newer; what it says is in the detail"
        yield Check(id="bubblewrap", status="failed", detail=f"{bubblewrap} cannot build the sandbox: {said or status}", fix=fix)
        return
    yield Check(id="bubblewrap", status="ok", detail=f"{bubblewrap} builds the sandbox")
    try:
        status, said = _run(bubblewrap, _NESTED)
    except _Failed as failure:
        status, said = EXIT_LAUNCH, failure.error  # the first sandbox may have taken the last namespace that is allowed
    if status == 0:
        yield Check(id="nested", status="ok", detail="an agent's own sandbox, such as Codex's, works inside")
    else:
        fix = "as root: sysctl -w user.max_user_namespaces=15000; or run Codex with --sandbox danger-full-access, inside these walls"
        yield Check(id="nested", status="failed", detail=f"an agent's own sandbox does not work inside: {said or status}", fix=fix)


def _up_to(failure: _Failed) -> Iterator[Check]:
    for name, (step, meaning) in _STEPS.items():
        if step == failure.step:
            yield Check.of(name, refusal(failure.step, failure.error))
            return
        yield Check(id=name, status="ok", detail=meaning)
    yield Check.of("sandbox", refusal(failure.step, failure.error))


def _run(bubblewrap: str, command: Sequence[str]) -> tuple[int, str]:
    """The exit status of a command in a sandbox of its own, and the last line that it says. Without bubblewrap nothing is run."""
    ours, theirs = channel.pair()
    with ours:
        with theirs:
            try:
                pid = wall.fork(theirs, ownership.SPARE_ID if os.geteuid() == 0 else None)
            except OSError as error:
                raise _Failed(wall.USERS, str(error)) from None
        received = channel.receive(ours)
        message, descriptors = received or ({"did": "failed", "step": "isolate", "error": "it died at once"}, [])
        files: list[int] = []
        try:
            if message["did"] == "failed":
                raise _Failed(message["step"], message["error"])
            if bubblewrap:
                files = _start(ours, bubblewrap, command)
                failed = channel.receive(ours)  # nothing, if it has become bubblewrap
                if failed is not None:
                    raise _Failed(failed[0]["step"], failed[0]["error"])
        finally:
            ours.close()
            _, status = os.waitpid(pid, 0)
            said = _last_line(files[0]) if files else ""
            for descriptor in (*descriptors, *files):
                os.close(descriptor)
    return os.waitstatus_to_exitcode(status), said


def _start(line: socket.socket, bubblewrap: str, command: Sequence[str]) -> list[int]:
    """Returns the descriptors that were made, what the program says being the first."""
    host = system.inspect()
    spec = Spec(
        command=tuple(command),
        environment=environment({}, ca_bundle=host.bundles[0]),
        directory=AGENT_HOME,
        terminal=False,
        system=host.mounts,
        links=host.links,
        files=host.files(""),
    )
    options, words, data = options_of(spec)
    said, nowhere = channel.memory_file("said", b""), os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    files = [channel.memory_file("file", content) for content in data]
    message = {"do": "start", "program": bubblewrap, "options": options, "command": words, "data": len(files), "umask": 0o022}
    channel.send(line, {**message, "covers": [], "limits": resource_limits(Limits())}, [nowhere, nowhere, said, *files])
    return [said, nowhere, *files]


def _last_line(file: int) -> str:
    lines = os.pread(file, 4096, 0).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
