"""A browser comes back to the host, and Codex inside hears of it: what is handed on, what the browser is shown, and what is neither."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from math import inf
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest

from immure.broker.browser_return import BrowserReturn
from immure.errors import UsageError

T = TypeVar("T")

GOOD = "/auth/callback?code=fake-code-0000&state=state-0000&scope=openid"
SUCCESS = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1455/success?id_token=e30.e30.x\r\nContent-Length: 0\r\n\r\n"
PAGE = "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n<script>x</script>\n"

# what comes from the browser's side and is nothing to us
NOISE = [
    f"GET {GOOD} HTTP/1.1\r\nHost: rebound.example\r\n\r\n",
    f"GET {GOOD} HTTP/1.1\r\n\r\n",
    f"POST {GOOD} HTTP/1.1\r\nHost: 127.0.0.1:1455\r\n\r\n",
    "GET /auth/callback?code=a&code=b&state=x HTTP/1.1\r\nHost: 127.0.0.1:1455\r\n\r\n",
    "GET " + "a" * 20_000,
    "\r\n\r\n",
    "",
]
# what Codex, or something that is not Codex, answers to a redirect that it does not take
REFUSALS = [
    "HTTP/1.1 400 Bad Request\r\nContent-Length: 14\r\n\r\nState mismatch",
    PAGE,
    "HTTP/1.1 302 Found\r\nLocation: https://attacker.example.com/\r\n\r\n",
    "HTTP/1.1 302 Found\r\n\r\n",
    "HTTP/1.1\r\n\r\n",
    "\x00" * 100_000,
    "",
]


class House:
    """A listener of ours on any port, and one that plays Codex, which answers as it is told; `asked` is what that one was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.codes: list[str] = []
        self.inside = 0
        self.port = 0
        self.back = BrowserReturn(self.accept, self.connect)

    def accept(self, code: str) -> str:
        self.codes.append(code)
        return f"immure-code-{len(self.codes)}"

    async def connect(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.inside))
        except OSError:
            sock.close()
            raise
        return sock

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.split(" ")[1])
        assert "\r\nhost: 127.0.0.1:1455\r\n" in head
        writer.write(self.answers.pop(0).encode() if self.answers else b"")
        with suppress(ConnectionError):
            await writer.drain()
        await closed(writer)

    async def send(self, data: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = b""
        try:
            with suppress(ConnectionError):
                writer.write(data.encode())
                writer.write_eof()
                await writer.drain()
            with suppress(ConnectionError):
                answer = await reader.read()
        finally:
            await closed(writer)
        return answer

    async def get(self, target: str) -> bytes:
        return await self.send(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:1455\r\n\r\n")


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def run(house: House, visit: Callable[[], Coroutine[Any, Any, T]], *, good_for: float = inf) -> T:
    async def visited() -> T:
        codex = await asyncio.start_server(house.play, "127.0.0.1", 0)
        house.inside = codex.sockets[0].getsockname()[1]
        house.port = free_port()
        house.back.open(good_for, house.port)
        try:
            async with asyncio.timeout(20):
                return await visit()
        finally:
            house.back.close()
            codex.close()
            visits = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*visits, return_exceptions=True)

    return asyncio.run(visited())


def test_a_redirect_reaches_codex_with_a_placeholder_for_its_code() -> None:
    house = House(SUCCESS, PAGE)
    answer = run(house, lambda: house.get(GOOD + "&id_token=fake&code_verifier=x"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"You are signed in" in answer
    assert b"script" not in answer
    assert b"id_token" not in answer
    redirect, success = house.asked
    assert parse_qs(urlsplit(redirect).query) == {"code": ["immure-code-1"], "state": ["state-0000"], "scope": ["openid"]}
    assert success == "/success?id_token=e30.e30.x"
    assert house.codes == ["fake-code-0000"]


def test_who_has_signed_in_leaves_the_port() -> None:
    house = House(SUCCESS, PAGE)

    async def visit() -> None:
        await house.get(GOOD)
        with pytest.raises(ConnectionRefusedError):
            await house.get(GOOD)

    run(house, visit)


@pytest.mark.parametrize("answer", REFUSALS, ids=lambda answer: answer[:30])
def test_a_redirect_that_codex_does_not_take_changes_nothing(answer: str) -> None:
    house = House(answer, SUCCESS, PAGE)

    async def visit() -> None:
        refused = await house.get(GOOD)
        assert b"attacker" not in refused
        assert b"script" not in refused
        assert refused.startswith(b"HTTP/1.1 400 ") or not refused
        assert b"You are signed in" in await house.get(GOOD)

    run(house, visit)


def test_a_refusal_of_the_issuer_is_handed_on() -> None:
    house = House(REFUSALS[0])
    run(house, lambda: house.get("/auth/callback?error=access_denied&error_description=no%20way&state=s"))
    (redirect,) = house.asked
    assert parse_qs(urlsplit(redirect).query) == {"error": ["access_denied"], "error_description": ["no way"], "state": ["s"]}
    assert house.codes == []


def test_nobody_inside_waits() -> None:
    house = House()

    async def visit() -> bytes:
        house.inside = free_port()
        return await house.get(GOOD)

    assert run(house, visit).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("data", NOISE, ids=lambda data: data[:40])
def test_what_is_no_redirect_never_reaches_codex(data: str) -> None:
    house = House(SUCCESS, PAGE)

    async def visit() -> None:
        assert await house.send(data) == b""
        assert (house.asked, house.codes) == ([], [])
        assert b"You are signed in" in await house.get(GOOD)

    run(house, visit)


@pytest.mark.parametrize("target", ["/", "/success?id_token=x", "/favicon.ico", "//auth/callback?code=x"])
def test_there_is_nothing_else(target: str) -> None:
    house = House()
    assert run(house, lambda: house.get(target)).startswith(b"HTTP/1.1 400 ")
    assert house.asked == []


def test_another_sign_in_on_the_host_may_end_this_one() -> None:
    house = House(PAGE)
    assert run(house, lambda: house.get("/cancel")).startswith(b"HTTP/1.1 200 ")
    assert house.asked == ["/cancel"]


def test_it_listens_no_longer_than_it_should() -> None:
    house = House()

    async def visit() -> None:
        with suppress(ConnectionError):
            while await house.get("/"):
                pass

    run(house, visit, good_for=0.05)


def test_a_taken_port_is_said() -> None:
    async def visit(port: int) -> None:
        House().back.open(inf, port)

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError) as caught:
        asyncio.run(visit(taken.getsockname()[1]))
    assert caught.value.code == "login.port"
    assert "--device-auth" in caught.value.hint
