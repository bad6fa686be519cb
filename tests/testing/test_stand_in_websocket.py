"""The stand-in's side of a WebSocket, byte by byte, and the responses that it gives over one."""

import json
import socket
import ssl
from io import BytesIO
from typing import Any

import pytest

from immure.testing.openai.scenario import Expire, Say, Script, Shell
from immure.testing.openai.service import FakeOpenAI
from immure.testing.websocket import WebSocket, accept, extension

MASK = b"\x37\xfa\x21\x3d"
HELLO = bytes.fromhex("818537fa213d7f9f4d5158")  # RFC 6455 section 5.7

# What the client sends, the messages received, what goes back.
TRANSCRIPTS = [
    (b"", [], b""),
    (HELLO, ["Hello"], b""),
    (b"\x01" + HELLO[1:] + b"\x80\x80" + MASK, ["Hello"], b""),
    (b"\x01" + HELLO[1:] + b"\x89" + HELLO[1:] + b"\x80" + HELLO[1:], ["HelloHello"], b"\x8a\x05Hello"),
    (b"\x8a\x80" + MASK + HELLO, ["Hello"], b""),
    (HELLO + b"\x88\x82\0\0\0\0\x03\xe8" + HELLO, ["Hello"], b"\x88\x02\x03\xe8"),
    (b"\x82\xfe\x00\x7e\0\0\0\0" + b"a" * 126, ["a" * 126], b""),
    (b"\x82\xff\0\0\0\0\0\0\x00\x01\0\0\0\0a", ["a"], b""),
]


@pytest.mark.parametrize(("sent", "messages", "answered"), TRANSCRIPTS)
def test_messages_are_received_until_the_client_closes(sent: bytes, messages: list[str], answered: bytes) -> None:
    said: list[bytes] = []
    side = WebSocket(BytesIO(sent).read, said.append)
    assert list(iter(side.receive, None)) == messages
    assert b"".join(said) == answered


@pytest.mark.parametrize("sent", [b"\x81\x05Hello", HELLO[:-1], b"\x81\xff\x7f" + b"\xff" * 11])
def test_what_no_client_sends_is_refused(sent: bytes) -> None:
    with pytest.raises(ValueError, match="frame"):
        WebSocket(BytesIO(sent).read, bytes).receive()


def test_a_message_goes_out_in_one_frame() -> None:
    said: list[bytes] = []
    side = WebSocket(BytesIO().read, said.append)
    for size in (0, 125, 126, 65535, 65536):
        side.send("a" * size)
    side.close(1008)
    assert [one[:10].partition(b"a")[0].hex() for one in said] == [
        "8100",
        "817d",
        "817e007e",
        "817effff",
        "817f0000000000010000",
        "880203f0",
    ]


OFFERS = [
    ("", ""),
    ("permessage-deflate", "permessage-deflate"),
    ("x-mine, permessage-deflate; client_max_window_bits", "permessage-deflate"),
    ("permessage-deflated", ""),
]


@pytest.mark.parametrize(("offers", "agreed"), OFFERS)
def test_compression_is_agreed_on_if_it_is_offered(offers: str, agreed: str) -> None:
    assert extension(offers) == agreed


def test_compressed_messages_refer_to_those_before_both_ways() -> None:
    """The examples of RFC 7692 section 7.2.3.2, masked with zeros where a client sends them."""
    hellos = [bytes.fromhex("f248cdc9c90700"), bytes.fromhex("f200110000")]
    sent = b"".join(bytes([0xC1, 0x80 | len(one)]) + bytes(4) + one for one in hellos) + HELLO
    said: list[bytes] = []
    side = WebSocket(BytesIO(sent).read, said.append, "permessage-deflate")
    assert list(iter(side.receive, None)) == ["Hello", "Hello", "Hello"]
    side.send("Hello")
    side.send("Hello")
    assert said == [bytes([0xC1, len(one)]) + one for one in hellos]


def test_the_sample_key_has_the_sample_answer() -> None:
    assert accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3


def say(message: dict[str, Any]) -> bytes:
    """A frame of a client's; a key of zeros masks nothing."""
    text = json.dumps(message).encode()
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text


def test_responses_come_one_event_to_a_message() -> None:
    with FakeOpenAI(Script(Shell("true"), Expire(), Say("lost")), websocket=True) as fake:
        context = ssl.create_default_context(cadata=fake.authority.pem)
        with (
            socket.create_connection((fake.host, fake.port), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname="chatgpt.com") as stream,
            stream.makefile("rb") as reader,
        ):
            lines = (
                "GET /backend-api/codex/responses HTTP/1.1",
                "Host: chatgpt.com",
                f"Authorization: Bearer {fake.account.access_token}",
                f"ChatGPT-Account-ID: {fake.account.account_id}",
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            )
            stream.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
            head = b"".join(iter(reader.readline, b"\r\n"))
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head

            def event() -> dict[str, Any]:
                first, length = reader.read(2)
                assert first == 0x81
                text: dict[str, Any] = json.loads(reader.read(length if length < 126 else int.from_bytes(reader.read(2))))
                return text

            stream.sendall(say({"type": "response.create", "generate": False}))
            assert [event()["type"] for _ in range(2)] == ["response.created", "response.completed"]
            stream.sendall(say({"type": "response.create"}))
            assert [event()["type"] for _ in range(3)] == ["response.created", "response.output_item.done", "response.completed"]
            stream.sendall(say({"type": "response.create"}))
            assert reader.read() == b"\x88\x02\x03\xf0", "a token that has expired ends the WebSocket"
        assert [one.method for one in fake.record.all()] == ["GET", "MESSAGE", "MESSAGE", "MESSAGE"]
        assert not fake.account.accepts(fake.account.access_token)
