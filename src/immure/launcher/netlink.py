"""The network of a sandbox: one loopback device through which every connection comes back to our own listeners.

Three things do it, all of them allowed to the root of an own user namespace:

  * `local default dev lo` routes (AnyIP): every address is ours, IPv4 and IPv6, so a connection to any of them stays here;
  * nft TPROXY in prerouting: locally made packets pass there because AnyIP sends them through lo. Every TCP port leads to one
    transparent listener, and getsockname() on the accepted socket is the address that was dialled;
  * nothing else: UDP to a port without a listener is refused at once.

127.0.0.0/8, ::1 and the sandbox's own addresses are left alone, so that an agent's own servers work as always.

Wire formats: rtnetlink(7); nfnetlink as in linux/netfilter/nf_tables.h. Speaking them costs 1 ms where running `nft` costs ten.
"""

import fcntl
import os
import socket
import struct

ADDRESS_V4 = "100.64.0.1"
"""The sandbox's own address and its name server. From the shared space of RFC 6598: it is not loopback, because getaddrinfo with
AI_ADDRCONFIG answers nothing on a host that has loopback addresses only."""
ADDRESS_V6 = "fd00::1"
INTERCEPT_PORT = 3129

_LOOPBACK_INDEX = 1

# rtnetlink
_NLM_REQUEST, _NLM_ACK, _NLM_CREATE, _NLM_EXCLUSIVE, _NLM_APPEND = 0x1, 0x4, 0x400, 0x200, 0x800
_NLMSG_ERROR = 2
_RTM_NEWADDR, _RTM_NEWROUTE = 20, 24
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD, _IFA_F_PERMANENT = 0x02, 0x80
_RTA_OIF, _RTA_PREFSRC = 4, 7
_RT_TABLE_LOCAL, _RTPROT_BOOT, _RTN_LOCAL = 255, 3, 2
_RT_SCOPE_UNIVERSE, _RT_SCOPE_HOST = 0, 254

# nfnetlink
_NETLINK_NETFILTER = 12
_NFNL_SUBSYS_NFTABLES = 10
_NFNL_BATCH_BEGIN, _NFNL_BATCH_END = 0x10, 0x11
_NFT_NEWTABLE, _NFT_NEWCHAIN, _NFT_NEWRULE = 0, 3, 6
_NLA_F_NESTED = 0x8000
_NF_INET_PRE_ROUTING = 0
_PRIORITY_MANGLE = -150
_REGISTER_VERDICT, _REGISTER_1 = 0, 1
_NFT_META_L4PROTO = 16
_NF_ACCEPT = 1

# ioctl, netdevice(7)
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP, _IFF_RUNNING = 0x1, 0x40


def _attribute(kind: int, payload: bytes) -> bytes:
    size = 4 + len(payload)
    return struct.pack("=HH", size, kind) + payload + bytes(-size % 4)


def _acknowledge(channel: socket.socket, what: str) -> None:
    """Read one acknowledgement; raise the error that it carries."""
    data = channel.recv(65536)
    _, kind, _, _, _ = struct.unpack_from("=IHHII", data)
    if kind == _NLMSG_ERROR:
        number = -struct.unpack_from("=i", data, 16)[0]
        if number:
            raise OSError(number, f"{what}: {os.strerror(number)}")


def _request(channel: socket.socket, kind: int, body: bytes, what: str) -> None:
    flags = _NLM_REQUEST | _NLM_ACK | _NLM_CREATE | _NLM_EXCLUSIVE
    channel.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body)
    _acknowledge(channel, what)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = bytearray(struct.pack("16sh22x", b"lo", 0))
        fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request)
        flags = struct.unpack_from("h", request, 16)[0] | _IFF_UP | _IFF_RUNNING
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags))


def _own(channel: socket.socket, family: int, address: str) -> None:
    """Give lo one address and make every address of the family local to it."""
    packed = socket.inet_pton(family, address)
    prefix = 8 * len(packed)
    body = struct.pack("=BBBBi", family, prefix, _IFA_F_PERMANENT | _IFA_F_NODAD, 0, _LOOPBACK_INDEX)
    _request(channel, _RTM_NEWADDR, body + _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed), f"address {address}")
    scope = _RT_SCOPE_HOST if family == socket.AF_INET else _RT_SCOPE_UNIVERSE
    body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _RT_TABLE_LOCAL, _RTPROT_BOOT, scope, _RTN_LOCAL, 0)
    body += _attribute(_RTA_OIF, struct.pack("=i", _LOOPBACK_INDEX)) + _attribute(_RTA_PREFSRC, packed)
    _request(channel, _RTM_NEWROUTE, body, f"local default route for {address}")


# ---------------------------------------------------------------- nf_tables


def _nested(kind: int, *parts: bytes) -> bytes:
    return _attribute(kind | _NLA_F_NESTED, b"".join(parts))


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("!I", value))


def _expression(name: str, *parts: bytes) -> bytes:
    return _nested(1, _text(1, name), _nested(2, *parts))


def _data(kind: int, value: bytes) -> bytes:
    return _nested(kind, _attribute(1, value))


def _load_network_header(offset: int, length: int) -> bytes:
    return _expression("payload", _number(1, _REGISTER_1), _number(2, 1), _number(3, offset), _number(4, length))


def _mask(mask: bytes) -> bytes:
    return _expression(
        "bitwise", _number(1, _REGISTER_1), _number(2, _REGISTER_1), _number(3, len(mask)), _data(4, mask), _data(5, bytes(len(mask)))
    )


def _equals(value: bytes) -> bytes:
    return _expression("cmp", _number(1, _REGISTER_1), _number(2, 0), _data(3, value))


_LOAD_PROTOCOL = _expression("meta", _number(1, _REGISTER_1), _number(2, _NFT_META_L4PROTO))
_ACCEPT = _expression("immediate", _number(1, _REGISTER_VERDICT), _nested(2, _nested(2, _number(1, _NF_ACCEPT))))


def _to_listener(family: int, port: int) -> bytes:
    load_port = _expression("immediate", _number(1, _REGISTER_1), _data(2, struct.pack("!H", port)))
    return load_port + _expression("tproxy", _number(1, family), _number(3, _REGISTER_1)) + _ACCEPT


def _message(kind: int, family: int, body: bytes, flags: int) -> bytes:
    head = struct.pack("=IHHIIBBH", 20 + len(body), _NFNL_SUBSYS_NFTABLES << 8 | kind, _NLM_REQUEST | flags, 0, 0, family, 0, 0)
    return head + body


def _batch_edge(kind: int) -> bytes:
    return struct.pack("=IHHIIBB", 20, kind, _NLM_REQUEST, 0, 0, 0, 0) + struct.pack("!H", _NFNL_SUBSYS_NFTABLES)


def _ruleset(family: int, destination_offset: int, left_alone: list[tuple[bytes, bytes]]) -> list[bytes]:
    """The messages that make one table: destinations under (address, mask) are left alone, all other TCP goes to the listener."""
    hook = _nested(4, _number(1, _NF_INET_PRE_ROUTING), _number(2, _PRIORITY_MANGLE & 0xFFFFFFFF))
    messages = [
        _message(_NFT_NEWTABLE, family, _text(1, "immure"), _NLM_CREATE),
        _message(_NFT_NEWCHAIN, family, _text(1, "immure") + _text(3, "in") + hook + _number(5, 1) + _text(7, "filter"), _NLM_CREATE),
    ]
    rules = [
        _load_network_header(destination_offset, len(address)) + _mask(mask) + _equals(address) + _ACCEPT for address, mask in left_alone
    ]
    rules.append(_LOAD_PROTOCOL + _equals(bytes([socket.IPPROTO_TCP])) + _to_listener(family, INTERCEPT_PORT))
    for rule in rules:
        body = _text(1, "immure") + _text(2, "in") + _nested(4, rule)
        messages.append(_message(_NFT_NEWRULE, family, body, _NLM_CREATE | _NLM_APPEND))
    return messages


def _intercept() -> None:
    whole_v4, whole_v6 = b"\xff" * 4, b"\xff" * 16
    own_v4, own_v6 = socket.inet_pton(socket.AF_INET, ADDRESS_V4), socket.inet_pton(socket.AF_INET6, ADDRESS_V6)
    messages = [
        *_ruleset(socket.AF_INET, 16, [(b"\x7f\0\0\0", b"\xff\0\0\0"), (own_v4, whole_v4)]),
        *_ruleset(socket.AF_INET6, 24, [(bytes(15) + b"\x01", whole_v6), (own_v6, whole_v6)]),
    ]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as channel:
        channel.bind((0, 0))
        channel.setblocking(False)
        channel.send(_batch_edge(_NFNL_BATCH_BEGIN) + b"".join(messages) + _batch_edge(_NFNL_BATCH_END))
        # A batch is applied before send() returns; errors, and only errors, are waiting now.
        while True:
            try:
                _acknowledge(channel, "nf_tables (is the kernel's nft_tproxy available?)")
            except BlockingIOError:
                return


def _set(name: str, value: str) -> None:
    with open(f"/proc/sys/net/ipv4/{name}", "w") as file:
        file.write(value)


def configure() -> None:
    """Set up the network namespace of the calling process. Raises OSError naming the step."""
    _raise_loopback()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as channel:
        channel.bind((0, 0))
        _own(channel, socket.AF_INET, ADDRESS_V4)
        _own(channel, socket.AF_INET6, ADDRESS_V6)
    _intercept()
    # sendto(MSG_FASTOPEN) connects without connect(2), past the notification that says who is calling.
    _set("tcp_fastopen", "0")
    _set("ip_unprivileged_port_start", "0")  # a port below 1024 is as private here as any other: an agent's server may have it
