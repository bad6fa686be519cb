"""Which descriptors may become the standard streams of a sandbox."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from immure.broker.streams import check_streams
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
