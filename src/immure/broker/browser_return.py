"""Where a browser comes back to when Codex signs in inside a sandbox: a listener on the host's loopback address, in Codex's place.

    browser ─► 127.0.0.1:1455 on the host ─► 127.0.0.1:1455 of the sandbox, over a socket that was made in there

Codex listens on the same address in a network of its own, where no browser gets. So the redirect is taken here, its code replaced by a
placeholder, and the rest handed on. What Codex answers decides what the browser is shown, but none of it is shown: Codex's own page is
fetched, for Codex waits until somebody does, and a page of ours stands for it.

Rules: of a redirect only the parameters below are handed on, a code only as a placeholder. `state` is for Codex to check: it made it.

*Trust:* any program and any web page on this machine can connect; what answers inside may be anything. *Fails:* what is not a redirect to
this listener by its own name is closed; a redirect that Codex does not take gets 400.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from immure.broker.callback import DONE, MAX_HEAD, NOT_DONE, SLOW, page, port_taken, target_of
from immure.providers import sign_in

CANCEL: Final = "/cancel"
"""What another `codex login` on the host asks for before it takes the port."""
_SUCCESS: Final = "/success"
_HANDED_ON: Final = frozenset({"state", "scope", "error", "error_description", "iss"})
_PATIENCE: Final = 150.0
"""Seconds for Codex to answer: it exchanges the code first, and asks for an API key."""
_MOST: Final = 32
"""Visitors at a time."""


class BrowserReturn:
    """Listens from `open` until somebody has signed in, time is up, or `close`.

    `accept` takes a code and gives its placeholder; `connect` makes a connection to the sandbox's port.
    """

    def __init__(self, accept: Callable[[str], str], connect: Callable[[], Awaitable[socket.socket]]) -> None:
        self._accept = accept
        self._connect = connect
        self._listener: socket.socket | None = None
        self._visits: set[asyncio.Task[None]] = set()

    def open(self, good_for: float, port: int = sign_in.CALLBACK_PORT) -> None:
        """Listen for that many seconds. Raises UsageError if the port is taken."""
        try:
            self._listener = socket.create_server(("127.0.0.1", port))
        except OSError as error:
            raise port_taken(port, error, "immure codex login --device-auth") from None
        self._listener.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._listener, self._welcome, self._listener)
        if good_for < inf:
            loop.call_later(good_for, self._listen_no_more)

    def close(self) -> None:
        self._listen_no_more()
        for visit in self._visits:
            visit.cancel()

    def _listen_no_more(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()

    def _welcome(self, listener: socket.socket) -> None:
        # Not asyncio.start_server: a server that is closed just when somebody connects leaves that connection open, served by nobody.
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # the visitor has gone already
        if len(self._visits) >= _MOST:
            connection.close()
            return
        visit = asyncio.get_running_loop().create_task(self._visited(connection))
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)

    async def _visited(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=MAX_HEAD)
        try:
            await self._serve(reader, writer)
        except (OSError, ValueError, EOFError, asyncio.LimitOverrunError):
            pass  # not a browser that comes back, or nobody inside who waits for one
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(SLOW):
            head = await reader.readuntil(b"\r\n\r\n")
        parts = urlsplit(target_of(head))
        if parts.path == sign_in.CALLBACK_PATH:
            target = self._handed_on(parts.query)
            try:
                taken = await self._taken(target)
            except (OSError, EOFError):
                taken = False  # nobody inside waits for it, or it went away
            writer.write(page(200, DONE) if taken else page(400, NOT_DONE))
        elif parts.path == CANCEL:
            await self._asked(CANCEL)
            writer.write(page(200, "Cancelled."))
        else:
            writer.write(page(400, "There is nothing else here."))
        await writer.drain()

    def _handed_on(self, query: str) -> str:
        """The redirect as Codex is given it. Raises ValueError if it brings more than one code."""
        found = parse_qsl(query, max_num_fields=40)
        codes = [value for name, value in found if name == "code"]
        if len(codes) > 1:
            raise ValueError("two codes")
        handed_on = [(name, value) for name, value in found if name in _HANDED_ON]
        return f"{sign_in.CALLBACK_PATH}?{urlencode([*(('code', self._accept(code)) for code in codes), *handed_on])}"

    async def _taken(self, target: str) -> bool:
        """Bring a redirect to Codex; whether it has signed in with it."""
        status, location = await self._asked(target)
        parts = urlsplit(location)
        if status != 302 or parts.path != _SUCCESS:
            return False
        await self._asked(f"{_SUCCESS}?{parts.query}")
        self._listen_no_more()
        return True

    async def _asked(self, target: str) -> tuple[int, str]:
        """Status and Location of what the sandbox's port answers to a GET. Raises OSError, ValueError, EOFError."""
        reader, writer = await asyncio.open_connection(sock=await self._connect(), limit=MAX_HEAD)
        try:
            writer.write(f"GET {target} HTTP/1.1\r\nhost: 127.0.0.1:{sign_in.CALLBACK_PORT}\r\nconnection: close\r\n\r\n".encode("ascii"))
            async with asyncio.timeout(_PATIENCE):
                first, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                while await reader.read(MAX_HEAD):
                    pass  # Codex counts its page as shown when it has been read
        finally:
            writer.close()
        location = next((value.strip() for name, _, value in (field.partition(":") for field in fields) if name.lower() == "location"), "")
        status = first.partition(" ")[2][:3]
        return int(status), location
