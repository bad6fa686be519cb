"""From the two ends of a TCP connection to the cookie of the socket that opened it: one question to the kernel (sock_diag(7)).

The netlink socket was made inside the sandbox's network namespace, so it sees the sockets of that namespace and no others.

*Fails:* None, which is an unknown caller.
"""

import socket
import struct
from typing import Final

_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST_FLAG: Final = 1
_ANY_STATE: Final = 0xFFFFFFFF
_NO_COOKIE: Final = b"\xff" * 8

# struct nlmsghdr; struct inet_diag_req_v2 up to its socket id; struct inet_diag_sockid (linux/inet_diag.h)
_MESSAGE = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBBxI")
_PORTS = struct.Struct("!HH")
_SOCKET_ID = struct.Struct("!HH16s16sI8s")
_ANSWER_ID: Final = _MESSAGE.size + 4
"""Where the socket id begins in struct inet_diag_msg, after family, state, timer and retransmissions."""

Address = tuple[str, int]


class SocketDiag:
    """Looks up sockets of one network namespace."""

    def __init__(self, netlink: socket.socket) -> None:
        netlink.setblocking(False)
        self._netlink = netlink
        self._sequence = 0

    def cookie(self, family: int, client: Address, destination: Address) -> bytes | None:
        """The cookie of the socket at `client` that is connected to `destination`, as SO_COOKIE gives it."""
        self._sequence = self._sequence + 1 & 0xFFFFFFFF
        identity = _SOCKET_ID.pack(client[1], destination[1], _packed(family, client[0]), _packed(family, destination[0]), 0, _NO_COOKIE)
        query = _QUERY.pack(family, socket.IPPROTO_TCP, 0, _ANY_STATE) + identity
        header = _MESSAGE.pack(_MESSAGE.size + len(query), _SOCK_DIAG_BY_FAMILY, _REQUEST_FLAG, self._sequence, 0)
        try:
            self._netlink.send(header + query)
            # The kernel answers within send; answers to earlier questions that went wrong are passed over.
            while answer := self._netlink.recv(4096):
                _, kind, _, sequence, _ = _MESSAGE.unpack_from(answer)
                if sequence == self._sequence:
                    return _cookie(answer, client, destination) if kind == _SOCK_DIAG_BY_FAMILY else None
        except (OSError, struct.error):
            pass
        return None


def _cookie(answer: bytes, client: Address, destination: Address) -> bytes | None:
    """The ports are compared because the kernel offers a listening socket when no connected one is found."""
    source_port, destination_port, _, _, _, cookie = _SOCKET_ID.unpack_from(answer, _ANSWER_ID)
    return cookie if (source_port, destination_port) == (client[1], destination[1]) else None


def _packed(family: int, address: str) -> bytes:
    return socket.inet_pton(family, address).ljust(16, b"\0")
