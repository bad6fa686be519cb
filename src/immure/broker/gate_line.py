"""The broker's side of one gate: hands it the brief, tells it what is granted now, answers its calls."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from immure import channel
from immure.broker.line import Line, close_all
from immure.errors import Fault, ImmureError
from immure.gate.brief import Brief
from immure.gate.grants import Grants

Answer = tuple[int, Sequence[tuple[str, str]], bytes]
"""Status, headers and body."""


class GateLine:
    """`certificate` is a future of the session's CA (PEM); `answer` serves virtual endpoints; `on_death` is told when the gate is gone."""

    def __init__(
        self, sock: socket.socket, answer: Callable[[channel.Message], Awaitable[Answer]], on_death: Callable[[ImmureError], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self.certificate: asyncio.Future[str] = loop.create_future()
        self._answer = answer
        self._on_death = on_death
        self._line = Line(sock, self._on_message, self._died)
        self._granted: list[asyncio.Future[None]] = []
        self._calls: set[asyncio.Task[None]] = set()

    def serve(self, brief: Brief, trail: int, sockets: Sequence[int]) -> None:
        """Hand over what the gate needs; `trail` is the writing end of its audit pipe. The descriptors stay the caller's to close."""
        memory = channel.memory_file("brief", brief.encode())
        self._line.send({"do": "serve"}, [memory, trail, *sockets])
        os.close(memory)

    async def grant(self, grants: Grants) -> None:
        """Returns when the gate, which serves, goes by these grants."""
        granted = asyncio.get_running_loop().create_future()
        self._granted.append(granted)
        memory = channel.memory_file("grants", grants.encode())
        self._line.send({"do": "grants"}, [memory])
        os.close(memory)
        await granted

    def close(self) -> None:
        for call in self._calls:
            call.cancel()
        for waiting in self._granted:
            if not waiting.done():
                waiting.set_result(None)  # a gate that is gone grants nothing
        self._line.close()

    def _died(self) -> None:
        failure = Fault(
            "the gate of this sandbox died, and the sandbox was ended",
            code="gate.died",
            hint="run the command again; if it happens twice, please report it",
        )
        pending: list[asyncio.Future[Any]] = [self.certificate, *self._granted]
        for waiting in pending:
            if not waiting.done():
                waiting.set_exception(failure)
        self._on_death(failure)

    def _on_message(self, message: channel.Message, descriptors: list[int]) -> None:
        close_all(descriptors)
        match message["did"]:
            case "ready":
                self.certificate.set_result(message["ca"])
            case "granted":
                waiting = self._granted.pop(0)
                if not waiting.done():  # whoever waited may have lost patience
                    waiting.set_result(None)
            case "call":
                task = asyncio.get_running_loop().create_task(self._serve_call(message))
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)

    async def _serve_call(self, message: channel.Message) -> None:
        try:
            status, headers, body = await self._answer(message)
        except ImmureError as error:
            status, headers, body = 503, (), error.what.encode()
        self._line.send(
            {"do": "answer", "call": message["call"], "status": status, "headers": [list(pair) for pair in headers], "body": body.decode()}
        )
