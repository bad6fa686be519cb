"""Where a browser comes back to after the user has signed in: a listener on a fixed port of the loopback address (RFC 8252 section 7.3).

The one thing it is asked for is the redirect. Without a browser on this machine the user may paste the address instead, which the
browser elsewhere could not open: so the terminal is listened to as well.

*Trust:* any program and any web page on this machine can connect. *Fails:* what does not carry our `state` gets 400 and changes
nothing, so that nobody can end a sign-in, or slip in a login of his own.
"""

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from immure.errors import UsageError
from immure.providers import sign_in

PATIENCE: Final = 15 * 60.0
"""Seconds for the user to sign in."""
SLOW: Final = 2.0
"""Seconds for one request to arrive: whoever is slower must not keep the browser out."""
MAX_HEAD: Final = 16 * 1024
DONE: Final = "You are signed in. You may close this page and go back to your terminal."
NOT_DONE: Final = "This is not the sign-in that is waiting here."


@contextmanager
def listening(port: int = sign_in.CALLBACK_PORT) -> Iterator[socket.socket]:
    """The listener, for the length of a `with`. Raises UsageError if the port is taken."""
    listener = socket.socket()
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of a sign-in that ended a moment ago
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise port_taken(port, error, "immure login codex --device-auth") from None
        listener.listen()
        yield listener


def port_taken(port: int, error: OSError, other_way: str) -> UsageError:
    return UsageError(
        f"cannot listen on 127.0.0.1, port {port}, where the browser comes back to: {error.strerror}",
        code="login.port",
        hint=f"end the other sign-in (codex login?) that waits there, or sign in without it: {other_way}",
    )


def code_for(state: str, listener: socket.socket, pasted: TextIO | None, say: Callable[[str], None], patience: float = PATIENCE) -> str:
    """Wait for the code that answers `state`: from a browser, or from lines that are pasted. Raises UsageError."""
    deadline = time.monotonic() + patience
    sources: list[socket.socket | TextIO] = [listener, *([pasted] if pasted is not None else [])]
    while (left := deadline - time.monotonic()) > 0:
        readable, _, _ = select.select(sources, [], [], left)
        for source in readable:
            if source is listener:
                code = _from_browser(listener, state)
            else:
                assert pasted is not None
                line = pasted.readline()
                if not line:
                    sources.remove(pasted)
                    continue
                code = sign_in.code_in(line, state)
                if code is None and line.strip():
                    say("That is not the address that this sign-in ends at; it begins with " + sign_in.REDIRECT)
            if code is not None:
                return code
    raise sign_in.refused("nobody signed in within a quarter of an hour")


def _from_browser(listener: socket.socket, state: str) -> str | None:
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(SLOW)
        try:
            code = sign_in.code_in(target_of(_head(connection)), state)
        except (OSError, ValueError):
            return None
        except UsageError:
            _answer(connection, page(400, "You were not signed in. Your terminal says why."))
            raise
        _answer(connection, page(200, DONE) if code else page(400, NOT_DONE))
        return code


def _head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(4096)
        head += data
        if not data or len(head) > MAX_HEAD:
            raise ValueError("not a request head")
    return head


def target_of(head: bytes) -> str:
    """Path and query of a GET request to this listener by its own name. Raises ValueError."""
    first, *fields = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    hosts = [value.strip() for name, _, value in (field.partition(":") for field in fields) if name.lower() == "host"]
    # A page of another name that resolves to this address (DNS rebinding) sends that name.
    if method != "GET" or len(hosts) != 1 or hosts[0].partition(":")[0] not in ("127.0.0.1", "localhost"):
        raise ValueError("not a redirect")
    return target


def page(status: int, text: str) -> bytes:
    """An answer that shows a text of ours."""
    reason = "OK" if status == 200 else "Bad Request"
    body = f"<!doctype html><meta charset=utf-8><title>immure</title><p>{text}\n".encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {len(body)}\r\n"
        "cache-control: no-store\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def _answer(connection: socket.socket, answer: bytes) -> None:
    try:
        connection.sendall(answer)
    except OSError:
        pass  # the browser does not care to know
