"""Messages between the processes of one user: a JSON object and file descriptors, over a SOCK_SEQPACKET Unix socket.

The socket keeps message boundaries, so there is no framing to get wrong. A message too large for it travels in a memory file: the
packet is then `IN_MEMORY` and the file is the first of its descriptors. The client of `immure run` writes this format by hand.

*Trust:* both ends run as the same user, outside the sandbox. *Fails:* a message that is not a JSON object raises ValueError.
"""

import json
import os
import socket
from array import array
from collections.abc import Sequence
from typing import Any

IN_MEMORY = b"+"
MAX_PACKET = 32 * 1024
"""Far below the default limit of a Unix socket's send buffer (net.core.wmem_default, 208 KiB, which counts the kernel's overhead too)."""
MAX_DESCRIPTORS = 253
"""SCM_MAX_FD: the kernel passes no more in one message."""

Message = dict[str, Any]


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def send(channel: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send one message. Raises OSError if the other end is gone, or BlockingIOError if the socket is non-blocking and full."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) <= MAX_PACKET:
        _send_packet(channel, data, descriptors)
        return
    file = memory_file("message", data)
    try:
        _send_packet(channel, IN_MEMORY, [file, *descriptors])
    finally:
        os.close(file)


def _send_packet(channel: socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
    channel.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)


def receive(channel: socket.socket) -> tuple[Message, list[int]] | None:
    """Receive one message and its descriptors (close-on-exec); None when the other end has closed."""
    try:
        data, ancillary, flags, _ = channel.recvmsg(MAX_PACKET, socket.CMSG_SPACE(4 * MAX_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:  # it has closed without reading all that we sent
        return None
    descriptors = array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(payload[: len(payload) - len(payload) % 4])
    if not data:
        return None
    received = list(descriptors)
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("a message was cut short")
        if data == IN_MEMORY:
            data = _read_whole(received.pop(0))
        message = json.loads(data)
        if not isinstance(message, dict):
            raise ValueError("not a message")
    except BaseException:
        for fd in received:
            os.close(fd)
        raise
    return message, received


def _read_whole(fd: int) -> bytes:
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()


def memory_file(name: str, content: bytes) -> int:
    """A descriptor of an anonymous file that holds `content`, positioned at its start."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
