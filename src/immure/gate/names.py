"""The resolver that a sandbox sees: every name has an address, and none has been looked up.

A name is answered with an address that stands for it in this sandbox alone, out of a pool that is routed nowhere (198.18.0.0/15,
RFC 2544). When a connection to that address arrives, the table says which name was meant; whether it may be resolved for real is
decided then. So a lookup carries nothing out, and a refusal can be explained to whoever connects.

Rules: an address keeps its name for the life of the sandbox, since any client may have kept it. The table has an end.

*Trust:* the agent writes every query. *Fails:* a query that is not understood gets a DNS error; with the table full, SERVFAIL.
"""

import socket
import struct
from ipaddress import IPv4Address, IPv4Network
from math import inf
from typing import Final

from immure.errors import PeerError
from immure.gate.loop import READ, Loop
from immure.wire import dns

POOL: Final = IPv4Network("198.18.0.0/15")
MAX_NAMES: Final = 16384
"""Names of one sandbox; the table takes 5 MB by then."""
TTL: Final = 300
"""Seconds. The answer never changes, so this only decides how often a client asks."""

_QUERIES_A_TURN: Final = 16
_IP_PKTINFO: Final = 8
_PACKET_INFO = struct.Struct("=i4s4s")
"""struct in_pktinfo: interface, local address to send from, address in the header (ip(7))."""


class Names:
    """The table between names and addresses."""

    def __init__(self, pool: IPv4Network = POOL) -> None:
        self._pool = pool
        self._limit = min(MAX_NAMES, pool.num_addresses - 2)
        self._addresses: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def address_for(self, name: str) -> str | None:
        """The address that stands for a canonical name, or None if the table is full."""
        address = self._addresses.get(name)
        if address is None and len(self._addresses) < self._limit:
            address = str(self._pool[len(self._addresses) + 1])
            self._addresses[name] = address
            self._names[address] = name
        return address

    def name_of(self, address: str) -> str | None:
        """The name that an address stands for."""
        return self._names.get(address)


class NameServer:
    """Answers on a UDP socket; each answer comes from the address that was asked, whichever it was (IP_PKTINFO)."""

    def __init__(self, loop: Loop, server: socket.socket, names: Names) -> None:
        server.setblocking(False)
        server.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self.deadline = inf
        self._socket = server
        self._names = names
        loop.watch(server.fileno(), READ, self)

    def ready(self, _: int) -> None:
        for _turn in range(_QUERIES_A_TURN):
            try:
                query, ancillary, _flags, client = self._socket.recvmsg(dns.MAX_QUERY + 1, socket.CMSG_SPACE(_PACKET_INFO.size))
            except OSError:
                return  # nothing there, or an error reported for an earlier answer
            answer = self._answer(query)
            if answer is None:
                continue
            try:
                self._socket.sendmsg([answer], _from_asked_address(ancillary), 0, client)
            except OSError:
                pass  # the client is gone, or its buffer full: it will ask again

    def _answer(self, data: bytes) -> bytes | None:
        try:
            query = dns.parse_query(data)
        except PeerError:
            return dns.complaint(data)
        if query.type != dns.TYPE_A:
            return dns.empty_answer(query)
        address = self._names.address_for(query.name)
        if address is None:
            return dns.empty_answer(query, dns.Code.SERVFAIL)
        return dns.address_answer(query, IPv4Address(address), TTL)

    def expired(self) -> None:
        """It has no deadline."""

    def abort(self) -> None:
        """One query did harm: the next is served all the same."""


def _from_asked_address(ancillary: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and len(data) >= _PACKET_INFO.size:
            _, _, asked = _PACKET_INFO.unpack_from(data)
            return [(level, kind, _PACKET_INFO.pack(0, asked, bytes(4)))]
    return []
