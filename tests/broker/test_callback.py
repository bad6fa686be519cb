"""The listener that a browser comes back to: the right answer ends the wait, and nothing else does."""

import io
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from immure.broker.callback import code_for, listening
from immure.errors import UsageError

STATE = "state-0000"
GOOD = f"/auth/callback?code=c-1&state={STATE}"

# what comes first and must change nothing, and the status that answers it
NOISE = [
    (b"GET /auth/callback?code=evil&state=guessed HTTP/1.1\r\nHost: 127.0.0.1:1455\r\n\r\n", b"400"),
    (b"GET /auth/callback?error=access_denied&state=x HTTP/1.1\r\nHost: 127.0.0.1:1455\r\n\r\n", b"400"),
    (b"GET /favicon.ico HTTP/1.1\r\nHost: 127.0.0.1:1455\r\n\r\n", b"400"),
    (f"GET {GOOD} HTTP/1.1\r\nHost: rebound.example\r\n\r\n".encode(), b""),
    (f"GET {GOOD} HTTP/1.1\r\n\r\n".encode(), b""),
    (f"POST {GOOD} HTTP/1.1\r\nHost: 127.0.0.1:1455\r\n\r\n".encode(), b""),
    (b"\x16\x03\x01\x02\x00\r\n\r\n", b""),
    (b"GET " + b"a" * 20_000, b""),
    (b"", b""),
]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listening(0) as made:
        yield made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def ask(listener: socket.socket, data: bytes) -> bytes:
    with socket.create_connection(listener.getsockname(), timeout=10) as browser:
        try:
            browser.sendall(data)
            browser.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: browser.recv(4096), b""))
        except (ConnectionResetError, BrokenPipeError):
            return b""


def get(listener: socket.socket, target: str) -> bytes:
    return ask(listener, f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:1455\r\n\r\n".encode())


def waiting(pool: ThreadPoolExecutor, listener: socket.socket, **more: object) -> "Future[str]":
    return pool.submit(code_for, STATE, listener, more.get("pasted"), more.get("say", print), 20.0)


def test_the_browser_brings_the_code_and_is_told_so(listener, pool) -> None:
    code = waiting(pool, listener)
    page = get(listener, GOOD)
    assert code.result(10) == "c-1"
    assert page.startswith(b"HTTP/1.1 200 ")
    assert b"c-1" not in page
    assert b"referrer-policy: no-referrer" in page


@pytest.mark.parametrize(("data", "status"), NOISE, ids=lambda value: value[:60])
def test_what_is_not_the_answer_changes_nothing(listener, pool, data, status) -> None:
    code = waiting(pool, listener)
    assert ask(listener, data)[9:12] == status
    assert not code.done()
    get(listener, GOOD)
    assert code.result(10) == "c-1"


def test_a_refusal_ends_the_wait(listener, pool) -> None:
    code = waiting(pool, listener)
    assert get(listener, f"/auth/callback?error=access_denied&state={STATE}").startswith(b"HTTP/1.1 400 ")
    with pytest.raises(UsageError, match="access_denied"):
        code.result(10)


def test_the_address_may_be_pasted(listener, pool) -> None:
    reader, writer = os.pipe()
    said: list[str] = []
    told = threading.Event()

    def say(sentence: str) -> None:
        said.append(sentence)
        told.set()

    with open(reader) as pasted, open(writer, "w", buffering=1) as terminal:
        code = waiting(pool, listener, pasted=pasted, say=say)
        terminal.write("https://auth.openai.com/elsewhere\n")
        assert told.wait(10)
        assert "begins with http://127.0.0.1:1455/auth/callback" in said[0]
        terminal.write(f"http://127.0.0.1:1455{GOOD}\n")
        assert code.result(10) == "c-1"


def test_a_terminal_that_goes_away_leaves_the_browser(listener, pool) -> None:
    reader, writer = os.pipe()
    os.close(writer)
    with open(reader) as pasted:
        code = waiting(pool, listener, pasted=pasted)
        get(listener, GOOD)
        assert code.result(10) == "c-1"


def test_nobody_comes(listener) -> None:
    with pytest.raises(UsageError, match="quarter of an hour"):
        code_for(STATE, listener, None, io.StringIO().write, patience=0.01)


def test_a_port_that_is_taken_is_said_with_the_way_round(listener) -> None:
    with pytest.raises(UsageError) as caught, listening(listener.getsockname()[1]):
        pass
    assert caught.value.code == "login.port"
    assert "--device-auth" in caught.value.hint
