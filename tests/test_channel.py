"""Messages with descriptors between processes."""

import os

import pytest

from immure import channel


def test_a_message_and_its_descriptors_arrive() -> None:
    ours, theirs = channel.pair()
    with ours, theirs:
        file = channel.memory_file("x", b"content")
        channel.send(ours, {"do": "x", "n": 1}, [file])
        os.close(file)
        message, (received,) = channel.receive(theirs) or ({}, [])
        with open(received, "rb") as memory:
            assert (message, memory.read()) == ({"do": "x", "n": 1}, b"content")


@pytest.mark.parametrize("size", [channel.MAX_PACKET - 100, channel.MAX_PACKET, 5_000_000])
def test_any_size_arrives(size: int) -> None:
    ours, theirs = channel.pair()
    with ours, theirs:
        file = channel.memory_file("x", b"")
        channel.send(ours, {"text": "é" * (size // 6)}, [file])
        os.close(file)
        message, descriptors = channel.receive(theirs) or ({}, [])
        assert "é" * (size // 6) == message["text"]
        assert len(descriptors) == 1
        os.close(descriptors[0])


def test_the_end_is_none() -> None:
    ours, theirs = channel.pair()
    ours.close()
    with theirs:
        assert channel.receive(theirs) is None


def test_an_end_that_has_not_read_all_is_an_end() -> None:
    ours, theirs = channel.pair()
    with theirs:
        channel.send(theirs, {"unread": True})
        ours.close()
        assert channel.receive(theirs) is None


@pytest.mark.parametrize("packet", [b"[]", b"1", b"{", b"\xff", b"null"])
def test_what_is_not_a_message_is_refused(packet: bytes) -> None:
    ours, theirs = channel.pair()
    with ours, theirs:
        ours.send(packet)
        with pytest.raises(ValueError):  # noqa: PT011  (json.JSONDecodeError and UnicodeDecodeError are two)
            channel.receive(theirs)
