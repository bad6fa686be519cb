"""The gate's end of its channel to the broker: what it is told, what it asks (docs/architecture.md, Messages).

*Trust:* the broker. *Fails:* when the channel closes, or says something that makes no sense, the gate ends: without a broker there is
nobody to tell it that a rule or a secret has changed.
"""

import os
import socket
import ssl
from math import inf
from typing import Any, Final

from immure import channel
from immure.gate.arrival import Reception
from immure.gate.brief import Brief
from immure.gate.certificate import Authority
from immure.gate.diag import SocketDiag
from immure.gate.grants import Grants, VirtualEndpoint
from immure.gate.identity import CallerSource, Identity
from immure.gate.loop import READ, Loop
from immure.gate.names import Names, NameServer
from immure.gate.resolver import Resolver
from immure.gate.sandbox import Answerable, Sandbox
from immure.gate.trail import Trail
from immure.gate.upstream import Pool

MAX_CALLS: Final = 64
"""Calls that wait for the broker at one time."""


class Control:
    """Serves the channel, and with it the life of the gate."""

    def __init__(self, loop: Loop, broker: socket.socket, authority: Authority, trust: ssl.SSLContext) -> None:
        broker.setblocking(False)
        self.deadline = inf
        self._loop = loop
        self._channel = broker
        self._authority = authority
        self._trust = trust
        self._sandbox: Sandbox | None = None
        self._calls: dict[int, Answerable] = {}
        self._last_call = 0
        loop.watch(broker.fileno(), READ, self)
        channel.send(broker, {"did": "ready", "ca": authority.pem})

    def ready(self, _: int) -> None:
        try:
            received = channel.receive(self._channel)
        except BlockingIOError:
            return
        except OSError:  # reset: it went away with something of ours unread
            received = None
        if received is None:
            self._loop.stop()
            return
        message, descriptors = received
        match message["do"], self._sandbox:
            case "serve", None:
                self._sandbox = self._serve(*descriptors)
                channel.send(self._channel, {"did": "serving"})
            case "grants", Sandbox() as sandbox:
                sandbox.grant(Grants.decode(_content(descriptors[0])))
                channel.send(self._channel, {"did": "granted"})
            case "answer", Sandbox():
                self._answered(message)
            case _:
                raise ValueError("a message out of turn")

    def _serve(self, brief_file: int, audit: int, tcp4: int, tcp6: int, dns: int, diag: int, notify: int, first: int) -> Sandbox:
        brief = Brief.decode(_content(brief_file))
        callers = Identity(self._loop, notify, SocketDiag(socket.socket(fileno=diag)), first)
        listeners = [socket.socket(fileno=tcp4), socket.socket(fileno=tcp6)]
        sandbox = self.open(brief, audit, listeners, socket.socket(fileno=dns), callers)
        callers.watch_files(sandbox.record_refused_file)
        return sandbox

    def open(self, brief: Brief, audit: int, listeners: list[socket.socket], name_server: socket.socket, callers: CallerSource) -> Sandbox:
        """Begin to serve the given sockets."""
        names = Names(brief.pool)
        sandbox = Sandbox(
            brief,
            loop=self._loop,
            authority=self._authority,
            names=names,
            callers=callers,
            pool=Pool(self._loop, Resolver(self._loop), brief.upstreams, self._trust),
            trail=Trail(self._loop, audit),
            broker=self,
        )
        NameServer(self._loop, name_server, names)
        Reception(sandbox, listeners)
        return sandbox

    # Calls

    def call(self, endpoint: VirtualEndpoint, body: str, waiting: Answerable) -> None:
        if len(self._calls) >= MAX_CALLS:
            waiting.unanswered("too many requests wait for the broker")
            return
        self._last_call += 1
        message: dict[str, Any] = {
            "did": "call",
            "call": self._last_call,
            "credential": endpoint.credential,
            "method": endpoint.method,
            "host": endpoint.host,
            "path": endpoint.path,
            "body": body,
        }
        try:
            channel.send(self._channel, message)
        except (OSError, ValueError):  # its buffer is full, or the message too long once it is JSON
            waiting.unanswered("the broker cannot be asked")
            return
        self._calls[self._last_call] = waiting

    def forget(self, waiting: Answerable) -> None:
        self._calls = {number: other for number, other in self._calls.items() if other is not waiting}

    def _answered(self, message: dict[str, Any]) -> None:
        waiting = self._calls.pop(message["call"], None)
        if waiting is not None:
            waiting.answered_by_broker(message["status"], [(name, value) for name, value in message["headers"]], message["body"])

    def expired(self) -> None:
        """It has no deadline."""

    def abort(self) -> None:
        self._loop.stop()


def _content(fd: int) -> bytes:
    """All of a memory file, which is closed."""
    with open(fd, "rb") as file:
        file.seek(0, os.SEEK_SET)
        return file.read()


def serve(broker: socket.socket, trust: ssl.SSLContext) -> None:
    """Be a gate until the broker is gone. Raises SystemExit if the audit trail is gone first."""
    loop = Loop()
    Control(loop, broker, Authority(os.urandom(4).hex()), trust)
    loop.run()
