"""The broker's front door: a Unix socket that only its user can open, one task for each client."""

import asyncio
import os
import socket
import struct

from immure import channel
from immure.broker.house import House
from immure.broker.line import Line, close_all
from immure.broker.plan import Request
from immure.broker.session import Session
from immure.errors import EXIT_LAUNCH, ImmureError
from immure.paths import Paths
from immure.version import __version__

_IDLE = 15 * 60.0
"""Seconds without a sandbox after which the broker ends."""
_BACKLOG = 128


class Service:
    """Serves until it is told to stop, has been idle for long, or a worker has died."""

    def __init__(self, paths: Paths) -> None:
        self._loop = asyncio.get_running_loop()
        self._paths = paths
        self._ended = asyncio.Event()
        self._listener = _listen(paths)
        self._house = House(paths, self._ended.set)
        self._visits: set[asyncio.Task[None]] = set()
        self._idle = self._loop.call_later(_IDLE, self._ended.set)
        self._loop.add_reader(self._listener, self._accept)

    async def run(self) -> None:
        """Returns when the service has ended and every sandbox with it."""
        await self._ended.wait()
        self._loop.remove_reader(self._listener)
        os.unlink(self._paths.socket)
        self._listener.close()
        for session in self._house.sessions.values():
            session.lost(None)
        if self._visits:
            await asyncio.wait(self._visits)
        self._house.close()

    def stop(self) -> None:
        self._ended.set()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        _, uid, _ = struct.unpack("=iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != os.geteuid():
            client.close()
            return
        visit = self._loop.create_task(Visit(self, self._house, client).serve())
        self._visits.add(visit)
        visit.add_done_callback(self._left)

    def _left(self, visit: asyncio.Task[None]) -> None:
        self._visits.discard(visit)
        self._idle.cancel()
        if not self._visits:
            self._idle = self._loop.call_later(_IDLE, self._ended.set)


class Visit:
    """One client, from its request to the last word it is told."""

    def __init__(self, service: Service, house: House, sock: socket.socket) -> None:
        self._service = service
        self._house = house
        self._session: Session | None = None
        self._request: asyncio.Future[tuple[channel.Message, list[int]] | None] = asyncio.get_running_loop().create_future()
        self._line = Line(sock, self._on_message, self._on_close)

    async def serve(self) -> None:
        received = await self._request
        if received is None:
            return
        message, descriptors = received
        try:
            self._line.send_word(await self._obey(message, descriptors))
        except ImmureError as error:
            self._line.send_word(f"say {error.render()}")
            self._line.send_word(f"exit {error.status}")
        except Exception as error:
            self._line.send_word(f"say error: immure has a bug: {type(error).__name__} [fault]\nhint: please report it\n")
            self._line.send_word(f"exit {EXIT_LAUNCH}")
            raise
        finally:
            close_all(descriptors)
            self._line.close()

    async def _obey(self, message: channel.Message, descriptors: list[int]) -> str:
        if message["version"] != __version__ and not self._house.sessions:
            self._service.stop()
            return "again"
        if message["do"] == "stop":
            self._service.stop()
            return "exit 0"
        if message["version"] != __version__:
            text = f"error: a broker of version {__version__} still has sandboxes, this is version {message['version']} [broker.version]\n"
            self._line.send_word(f"say {text}hint: end them first, or all at once: immure stop\n")
            return f"exit {EXIT_LAUNCH}"
        given = iter(descriptors)
        streams = [next(given) if is_given else None for is_given in message["streams"]]
        self._session = Session(self._house, self._line, Request.read(message), streams)
        self._house.sessions[self._session.identifier] = self._session
        try:
            return f"exit {await self._session.run()}"
        finally:
            del self._house.sessions[self._session.identifier]

    def _on_message(self, message: channel.Message, descriptors: list[int]) -> None:
        if not self._request.done():
            self._request.set_result((message, descriptors))
            return
        close_all(descriptors)
        if message.get("do") == "signal" and self._session is not None:
            self._session.signal(message["signal"])

    def _on_close(self) -> None:
        if not self._request.done():
            self._request.set_result(None)
        elif self._session is not None:
            self._session.lost(None)


def _listen(paths: Paths) -> socket.socket:
    """The listening socket. The client that started us holds a lock, so a socket that is still there is a dead broker's."""
    os.makedirs(paths.runtime, 0o700, exist_ok=True)
    os.chmod(paths.runtime, 0o700)
    directory = os.open(paths.runtime, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        name = f"/proc/self/fd/{directory}/broker.sock"  # a socket's path may have 107 bytes only
        try:
            os.unlink(name)
        except FileNotFoundError:
            pass
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        listener.bind(name)
        listener.listen(_BACKLOG)
        return listener
    finally:
        os.close(directory)
