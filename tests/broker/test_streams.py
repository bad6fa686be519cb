"""Which descriptors may become the standard streams of a sandbox."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from immure.broker.streams import check_streams, poured, read_to_end
from immure.errors import UsageError


@contextmanager
def opened(path: str, flags: int = os.O_RDONLY) -> Iterator[int]:
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/dev/urandom", __file__])
def test_files_and_devices_that_hold_nothing_go_inside(path: str) -> None:
    with opened(path) as descriptor:
        check_streams([descriptor])


def test_pipes_and_sockets_go_inside() -> None:
    reader, writer = os.pipe()
    one, other = socket.socketpair()
    with one, other:
        check_streams([reader, writer, one.fileno()])
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_PATH])
def test_a_directory_is_a_way_to_the_hosts_tree(tmp_path: Path, flags: int) -> None:
    with opened(str(tmp_path), flags) as directory, opened("/dev/null") as null:
        with pytest.raises(UsageError, match="directory") as caught:
            check_streams([null, directory, null])
        assert caught.value.hint


def test_a_device_that_is_not_known_is_refused() -> None:
    with opened("/dev/ptmx", os.O_RDWR | os.O_NOCTTY) as device, pytest.raises(UsageError, match="device"):
        check_streams([device])


@pytest.mark.parametrize("content", [b"", b"sk-fake-0000\n", b"x" * 60_000])
def test_a_pipe_is_read_to_its_end(content: bytes) -> None:
    reader = poured(content)
    assert asyncio.run(read_to_end(reader, 1 << 20)) == content
    os.close(reader)


def test_what_comes_in_pieces_is_waited_for() -> None:
    one, other = socket.socketpair()

    def give() -> None:
        for piece in (b"sk-", b"fake-", b"0000"):
            other.sendall(piece)
        other.close()

    with one:
        giver = threading.Thread(target=give)
        giver.start()
        assert asyncio.run(read_to_end(one.fileno(), 1 << 20)) == b"sk-fake-0000"
        giver.join()
        assert one.getblocking()


def test_a_stream_without_end_is_not_read_for_ever() -> None:
    with opened("/dev/zero") as descriptor:
        assert 1000 < len(asyncio.run(read_to_end(descriptor, 1000))) < 10_000


@pytest.mark.parametrize("path", ["/dev/null", __file__])
def test_files_and_devices_are_read_too(path: str) -> None:
    with opened(path) as descriptor:
        assert asyncio.run(read_to_end(descriptor, 1 << 20)) == Path(path).read_bytes()
