"""The broker's front door: a Unix socket that only its user can open, one task for each client."""

import asyncio
import gc
import os
import socket
import struct

from immure import channel
from immure.broker import control
from immure.broker.house import House
from immure.broker.line import Line, close_all
from immure.broker.plan import LAUNCHES, Request
from immure.broker.session import Ended, Session
from immure.errors import EXIT_LAUNCH, HostError, ImmureError, UsageError
from immure.paths import Paths
from immure.version import __version__

_IDLE = 15 * 60.0
"""Seconds without a sandbox after which the broker ends."""
_QUIET = 1.0
"""Seconds without a client after which garbage is collected. A session is full of cycles, and each holds 300 kB of files; what has lived as
long as a sandbox is old to the collector, which left to itself looks for it when there is a quarter more."""
_BACKLOG = 128
_PATIENCE = 20.0
"""Seconds for the visits to end once the broker does."""


class Service:
    """Serves until it is told to stop, has been idle for long, or a worker has died."""

    def __init__(self, paths: Paths) -> None:
        self._loop = asyncio.get_running_loop()
        self._paths = paths
        self._ended = asyncio.Event()
        self._house = House(paths, self.stop)
        self._listener = _listen(paths)
        self._visits: set[asyncio.Task[None]] = set()
        self._idle = self._loop.call_later(_IDLE, self.stop)
        self._quiet: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._listener, self._accept)

    async def run(self) -> None:
        """Returns when the service has ended and every sandbox with it."""
        await self._ended.wait()
        for session in self._house.sessions.values():
            session.end(_stopped())
        if self._visits:
            await asyncio.wait(self._visits, timeout=_PATIENCE)
        self._house.close()

    @property
    def is_ending(self) -> bool:
        return self._ended.is_set()

    def stop(self) -> None:
        """Take in those who have knocked, to be told that they should ask the next broker, and nobody after them; then end."""
        if self.is_ending:
            return
        self._ended.set()
        self._loop.remove_reader(self._listener)
        os.unlink(self._paths.socket)
        try:
            while True:
                self._accept()
        except BlockingIOError:
            self._listener.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        _, uid, _ = struct.unpack("=iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != os.geteuid():
            client.close()
            return
        self._disturb()
        visit = self._loop.create_task(Visit(self, self._house, client).serve())
        self._visits.add(visit)
        visit.add_done_callback(self._left)

    def _left(self, visit: asyncio.Task[None]) -> None:
        self._visits.discard(visit)
        self._idle.cancel()
        self._disturb()
        if not self._visits:
            self._idle = self._loop.call_later(_IDLE, self.stop)
            self._quiet = self._loop.call_later(_QUIET, gc.collect)

    def _disturb(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()


class Visit:
    """One client, from its request to the last word it is told."""

    def __init__(self, service: Service, house: House, sock: socket.socket) -> None:
        self._service = service
        self._house = house
        self._session: Session | None = None
        self._signal: int | None = None
        self._is_gone = False
        self._request: asyncio.Future[tuple[channel.Message, list[int]] | None] = asyncio.get_running_loop().create_future()
        self._line = Line(sock, self._on_message, self._on_close)

    async def serve(self) -> None:
        received = await self._request
        if received is None:
            return
        message, descriptors = received
        try:
            self._line.send_word(await self._obey(message, descriptors))
        except OSError as error:
            self._refuse(HostError(f"the host refuses: {error}", code="host.refuses", hint="look at df -h and ls -ld of what is named"))
        except ImmureError as error:
            self._refuse(error)
        except Ended as end:
            self._line.send_word(f"exit {end.status}")
        except Exception as error:
            self._line.send_word(f"say error: immure has a bug: {type(error).__name__} [fault]\nhint: please report it\n")
            self._line.send_word(f"exit {EXIT_LAUNCH}")
            raise
        finally:
            close_all(descriptors)
            self._line.close()

    def _refuse(self, error: ImmureError) -> None:
        self._line.send_word(f"say {error.render()}")
        self._line.send_word(f"exit {error.status}")

    async def _obey(self, message: channel.Message, descriptors: list[int]) -> str:
        if message["do"] == "stop":
            self._service.stop()
            return "exit 0"
        if self._service.is_ending:
            return "again"
        if message["version"] != __version__ and not self._house.sessions:
            self._service.stop()
            return "again"
        if message["version"] != __version__:
            text = f"error: a broker of version {__version__} still has sandboxes, this is version {message['version']} [broker.version]\n"
            self._line.send_word(f"say {text}hint: end them first, or all at once: immure stop\n")
            return f"exit {EXIT_LAUNCH}"
        if message["do"] not in LAUNCHES:
            return await control.serve(self._house, message, self._line)
        given = iter(descriptors)
        streams = [next(given) if is_given else None for is_given in message["streams"]]
        self._session = Session(self._house, self._line, Request.read(message), streams)
        self._house.sessions[self._session.identifier] = self._session
        if self._is_gone:
            self._session.left()
        elif self._signal is not None:
            self._session.signal(self._signal)
        try:
            return f"exit {await self._session.run()}"
        finally:
            del self._house.sessions[self._session.identifier]

    def _on_message(self, message: channel.Message, descriptors: list[int]) -> None:
        if not self._request.done():
            self._request.set_result((message, descriptors))
            return
        close_all(descriptors)
        if message.get("do") == "signal":
            self._signal = message["signal"]  # which may be faster than the making of the session
            if self._session is not None:
                self._session.signal(message["signal"])

    def _on_close(self) -> None:
        if not self._request.done():
            self._request.set_result(None)
            return
        self._is_gone = True
        if self._session is not None:
            self._session.left()


def _stopped() -> UsageError:
    return UsageError(
        "the broker was told to end, and ended this sandbox",
        code="broker.stopped",
        hint="run it again; a new broker starts by itself",
        exit_status=EXIT_LAUNCH,
    )


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
