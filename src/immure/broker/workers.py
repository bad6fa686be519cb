"""The two processes that the broker has others forked from: the launcher for sandboxes and the nursery for gates.

Both are started before the broker has opened the vault, by exec and with an empty environment, so that there is nothing secret in them
that a fork could inherit. Either of them ends when its channel closes; when one ends by itself, the broker ends too.
"""

import asyncio
import os
import select
import socket
import subprocess
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from immure import channel, interpreter
from immure.broker.line import Line, close_all
from immure.errors import Fault, HostError
from immure.model.limits import Limits
from immure.sandbox.limits import control_group, resource_limits
from immure.sandbox.refusal import refusal

_QUIET = 0.005
"""Seconds after which the next gate is made ahead: not while the sandbox of the last one is starting."""


_PATIENCE = 5.0
"""Seconds for a worker to end."""


def _start(module: str, *inherited: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = channel.pair()
    with theirs:
        command = interpreter.command(module, theirs.fileno())
        environment = {"PATH": os.defpath}
        passed = [theirs.fileno(), *inherited]
        process = subprocess.Popen(command, pass_fds=passed, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    return process, ours


def _end(process: subprocess.Popen[bytes]) -> None:
    """It ends when its channel is closed; one that does not, hangs."""
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Launcher:
    """Sandboxes by id: `prepare` awaits their descriptors, `exited` is a future of their exit status."""

    def __init__(self, lock: int, on_death: Callable[[], None]) -> None:
        self._process, ours = _start("immure.launcher.__main__", lock)
        self._line = Line(ours, self._on_message, self._died)
        self._on_death = on_death
        self._dead = False
        self._prepared: dict[str, asyncio.Future[list[int]]] = {}
        self._exited: dict[str, asyncio.Future[int]] = {}
        self._sockets: dict[str, list[asyncio.Future[socket.socket | None]]] = {}

    def prepare(self, identifier: str, *, watched: bool = False) -> asyncio.Future[list[int]]:
        """Make the namespaces. The result's descriptors belong to the caller; fails with ImmureError. If `watched`, what would change
        files is reported to the gate."""
        if self._dead:
            raise worker_died("launcher")
        loop = asyncio.get_running_loop()
        prepared = self._prepared[identifier] = loop.create_future()
        self._exited[identifier] = loop.create_future()
        self._line.send({"do": "prepare", "id": identifier, "watched": watched})
        return prepared

    def start(
        self,
        identifier: str,
        bubblewrap: str,
        options: list[str | int],
        command: list[str],
        data: Sequence[bytes],
        *,
        streams: Sequence[int],
        stage: Sequence[str],
        covers: Sequence[tuple[str, bool]],
        umask: int,
        limits: Limits,
    ) -> None:
        """Run bubblewrap in it, with `data` as what the numbers among its options stand for. `stage` are the paths that root maps,
        `covers` those that are mounted over themselves, and whether writable."""
        files = [channel.memory_file("file", content) for content in data]
        message: channel.Message = {"do": "start", "id": identifier, "program": bubblewrap, "options": options, "command": command}
        message |= {"covers": list(covers), "limits": resource_limits(limits), "group": control_group(limits)}
        self._line.send({**message, "data": len(files), "stage": list(stage), "umask": umask}, [*streams, *files])
        close_all(files)

    def exited(self, identifier: str) -> asyncio.Future[int]:
        return self._exited[identifier]

    def signal(self, identifier: str, number: int) -> None:
        self._line.send({"do": "signal", "id": identifier, "signal": number})

    def end(self, identifier: str) -> None:
        """Kill the sandbox, and with it everything inside."""
        self._line.send({"do": "end", "id": identifier})

    def open_socket(self, identifier: str) -> asyncio.Future[socket.socket | None]:
        """A TCP socket of the sandbox's network, non-blocking; None if the sandbox is gone."""
        made: asyncio.Future[socket.socket | None] = asyncio.get_running_loop().create_future()
        self._sockets.setdefault(identifier, []).append(made)
        self._line.send({"do": "socket", "id": identifier})
        return made

    def forget(self, identifier: str) -> None:
        self._prepared.pop(identifier, None)
        self._exited.pop(identifier, None)
        for made in self._sockets.pop(identifier, []):
            made.cancel()

    def close(self) -> None:
        self._line.close()
        _end(self._process)

    def _died(self) -> None:
        self._dead = True
        pending: list[asyncio.Future[Any]] = [*self._prepared.values(), *self._exited.values(), *chain(*self._sockets.values())]
        for waiting in pending:
            if not waiting.done():
                waiting.set_exception(worker_died("launcher"))
        self._on_death()

    def _on_message(self, message: channel.Message, descriptors: list[int]) -> None:
        identifier = message["id"]
        prepared, exited = self._prepared.get(identifier), self._exited.get(identifier)
        if message["did"] == "socket":
            descriptors = self._hand_over(identifier, descriptors)
        match message["did"]:
            case "prepared" if prepared is not None and not prepared.done():
                prepared.set_result(descriptors)
                return
            case "failed" if prepared is not None:
                failure = refusal(message["step"], message["error"])
                if not prepared.done():
                    prepared.set_exception(failure)
                elif exited is not None and not exited.done():
                    exited.set_exception(failure)
            case "exited":
                if prepared is not None and not prepared.done():
                    prepared.set_exception(_sandbox_died(message["status"]))
                if exited is None or exited.done():
                    pass  # it failed, which has been told
                elif message["killed"]:
                    exited.set_exception(_sandbox_died(message["status"]))
                else:
                    exited.set_result(message["status"])
        close_all(descriptors)

    def _hand_over(self, identifier: str, descriptors: list[int]) -> list[int]:
        """Answers come in the order of the requests; what nobody waits for any more is returned."""
        waiting = self._sockets.get(identifier)
        made = waiting.pop(0) if waiting else None
        if made is None or made.done():
            return descriptors
        if not descriptors:
            made.set_result(None)
            return []
        sock = socket.socket(fileno=descriptors[0])
        sock.setblocking(False)
        made.set_result(sock)
        return []


class Nursery:
    """Forks gates, one ahead. A gate speaks for itself on its own channel; what the nursery reports is only that one has died.

    For root, gates run under `uid`, which owns the user namespaces of the sandboxes: so they may ask the kernel who calls inside.
    """

    def __init__(self, uid: int | None, on_death: Callable[[], None]) -> None:
        self._uid = uid
        self._process, ours = _start("immure.gate.nursery")
        self._line = Line(ours, lambda _, descriptors: close_all(descriptors), on_death)
        self._forked = 0
        self._spare: socket.socket | None = None
        self._prepare()

    def gate(self) -> socket.socket:
        """Our end of the channel to a new gate."""
        ours = self._spare if self._spare is not None and _has_peer(self._spare) else self._fork()
        self._spare = None
        asyncio.get_running_loop().call_later(_QUIET, self._prepare)
        return ours

    def _prepare(self) -> None:
        if self._spare is None:
            self._spare = self._fork()

    def _fork(self) -> socket.socket:
        ours, theirs = channel.pair()
        self._forked += 1
        with theirs:
            self._line.send({"do": "fork", "id": str(self._forked), "uid": self._uid}, [theirs.fileno()])
        return ours

    def close(self) -> None:
        self._line.close()
        _end(self._process)


def process_of(pidfd: int) -> int:
    """The pid of the process behind a descriptor, -1 once it is gone (proc_pid_fdinfo(5))."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pid:"))


def _has_peer(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, 0)
    return not poll.poll(0)  # POLLHUP is always told


def _sandbox_died(status: int) -> HostError:
    return HostError(
        f"the first process of the sandbox was killed (status {status}), and the sandbox with it",
        code="sandbox.killed",
        hint="if that was nobody, the machine may have run out of memory: see dmesg",
    )


def worker_died(name: str) -> Fault:
    return Fault(
        f"the {name} died, and every sandbox with it",
        code=f"{name}.died",
        hint="run the command again; a new broker starts by itself. If it happens twice, please report it",
    )
