"""The two processes that the broker has others forked from: the launcher for sandboxes and the nursery for gates.

Both are started before the broker has opened the vault, by exec and with an empty environment, so that there is nothing secret in them
that a fork could inherit. Either of them ends when its channel closes; when one ends by itself, the broker ends too.
"""

import asyncio
import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from immure import channel, interpreter
from immure.broker.line import Line, close_all
from immure.errors import Fault


def _start(module: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = channel.pair()
    with theirs:
        command = interpreter.command(module, theirs.fileno())
        environment = {"PATH": os.defpath}
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    return process, ours


class Launcher:
    """Sandboxes by id: `prepare` awaits their descriptors, `exited` is a future of their exit status."""

    def __init__(self, on_death: Callable[[], None]) -> None:
        self._process, ours = _start("immure.launcher.__main__")
        self._line = Line(ours, self._on_message, self._died)
        self._on_death = on_death
        self._prepared: dict[str, asyncio.Future[list[int]]] = {}
        self._exited: dict[str, asyncio.Future[int]] = {}

    def prepare(
        self, identifier: str, *, streams: Sequence[int | None], terminal: Sequence[int] | None, stage: Sequence[str], uid: int | None
    ) -> asyncio.Future[list[int]]:
        """Make the namespaces. The result's descriptors belong to the caller; fails with PrepareError."""
        loop = asyncio.get_running_loop()
        prepared = self._prepared[identifier] = loop.create_future()
        self._exited[identifier] = loop.create_future()
        message = {
            "do": "prepare",
            "id": identifier,
            "streams": [fd is not None for fd in streams],
            "terminal": terminal,
            "stage": list(stage),
            "uid": uid,
        }
        self._line.send(message, [fd for fd in streams if fd is not None])
        return prepared

    def start(self, identifier: str, program: str, options: list[str | int], command: list[str], data: Sequence[bytes]) -> None:
        descriptors = [channel.memory_file("file", content) for content in data]
        message = {"do": "start", "id": identifier, "program": program, "options": options, "command": command}
        self._line.send(message, descriptors)
        close_all(descriptors)

    def exited(self, identifier: str) -> asyncio.Future[int]:
        return self._exited[identifier]

    def signal(self, identifier: str, number: int) -> None:
        self._line.send({"do": "signal", "id": identifier, "signal": number})

    def end(self, identifier: str) -> None:
        """Kill the sandbox, and with it everything inside."""
        self._line.send({"do": "end", "id": identifier})

    def forget(self, identifier: str) -> None:
        self._prepared.pop(identifier, None)
        self._exited.pop(identifier, None)

    def close(self) -> None:
        self._line.close()
        self._process.wait()

    def _died(self) -> None:
        pending: list[asyncio.Future[Any]] = [*self._prepared.values(), *self._exited.values()]
        for waiting in pending:
            if not waiting.done():
                waiting.set_exception(worker_died("launcher"))
        self._on_death()

    def _on_message(self, message: channel.Message, descriptors: list[int]) -> None:
        identifier = message["id"]
        prepared, exited = self._prepared.get(identifier), self._exited.get(identifier)
        match message["did"]:
            case "prepared" if prepared is not None and not prepared.done():
                prepared.set_result(descriptors)
                return
            case "failed" if prepared is not None:
                failure = PrepareError(message["step"], message["error"], message["errno"])
                if not prepared.done():
                    prepared.set_exception(failure)
                elif exited is not None and not exited.done():
                    exited.set_exception(failure)
            case "exited":
                if prepared is not None and not prepared.done():
                    prepared.set_exception(PrepareError("fork", "it ended at once", None))
                if exited is not None and not exited.done():
                    exited.set_result(message["status"])
        close_all(descriptors)


class PrepareError(Exception):
    """A step of making a sandbox failed in the launcher's child."""

    def __init__(self, step: str, error: str, errno: int | None) -> None:
        super().__init__(f"{step}: {error}")
        self.step = step
        self.error = error
        self.errno = errno


class Nursery:
    """Forks gates. A gate speaks for itself on its own channel; what the nursery reports is only that one has died."""

    def __init__(self, on_death: Callable[[], None]) -> None:
        self._process, ours = _start("immure.gate.nursery")
        self._line = Line(ours, lambda _, descriptors: close_all(descriptors), on_death)

    def fork(self, identifier: str, uid: int | None) -> socket.socket:
        """Our end of the channel to a new gate."""
        ours, theirs = channel.pair()
        with theirs:
            self._line.send({"do": "fork", "id": identifier, "uid": uid}, [theirs.fileno()])
        return ours

    def close(self) -> None:
        self._line.close()
        self._process.wait()


def worker_died(name: str) -> Fault:
    return Fault(
        f"the {name} died, and every sandbox with it",
        code=f"{name}.died",
        hint="run the command again; a new broker starts by itself. If it happens twice, please report it",
    )
