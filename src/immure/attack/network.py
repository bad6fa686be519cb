"""Ways around the gate: the host's loopback, protocols that are not TCP, networks of one's own, and the device that leads to the gate."""

import errno
import fcntl
import glob
import os
import socket
import struct

from immure.attack.attack import IF_THE_HOST_ALLOWS, TARGETS, attack, neighbour
from immure.attack.system_calls import CLONE_NEWNET, checked, in_child, libc, new_namespaces, with_namespaces, with_root

NETWORK = "network namespace"
FILTER = "seccomp program"
UNPRIVILEGED = "no rights over the network it is in"
PIDS = "pid namespace"
DENIED = "EACCES EPERM"


def tcp(host: str, port: int, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> str:
    with socket.socket(family, kind, protocol) as client:
        client.settimeout(5)
        client.connect((host, port))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return "connected"


def udp(host: str, port: int, family: int = socket.AF_INET, protocol: int = 0) -> str:
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as client:
        client.connect((host, port))
        client.send(b"hello")
        client.settimeout(0.2)
        try:
            client.recv(1)
        except TimeoutError:
            pass  # nobody said that nobody is there
        return "sent"


def netlink(kind: int, body: bytes, flags: int = 0x5) -> str:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as channel:
        channel.bind((0, 0))
        channel.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        answer = channel.recv(65536)
        number = -struct.unpack_from("=i", answer, 16)[0]
        if number:
            raise OSError(number, os.strerror(number))
        return "changed"


def add_an_address() -> str:
    return netlink(20, struct.pack("=BBBBi", 2, 32, 0x80, 0, 1) + struct.pack("=HH4B", 8, 2, 192, 0, 2, 77), 0x605)


def add_a_route() -> str:
    return netlink(24, struct.pack("=BBBBBBBBI", 2, 8, 0, 0, 254, 3, 253, 1, 0) + struct.pack("=HH4B", 8, 1, 192, 0, 2, 0), 0x605)


def take_the_device_down() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = bytearray(struct.pack("16sh22x", b"lo", 0))
        fcntl.ioctl(any_socket, 0x8913, request)
        (flags,) = struct.unpack_from("h", request, 16)
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", flags & ~1))
        return "down"


def delete_the_firewall() -> str:
    def message(kind: int, subsystem: int) -> bytes:
        return struct.pack("=IHHIIBBH", 20, subsystem << 8 | kind, 5, 1, 0, 0, 0, 0)

    begin = struct.pack("=IHHIIBB", 20, 0x10, 1, 0, 0, 0, 0) + struct.pack("!H", 10)
    end = struct.pack("=IHHIIBB", 20, 0x11, 1, 0, 0, 0, 0) + struct.pack("!H", 10)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as channel:
        channel.bind((0, 0))
        channel.settimeout(1)
        channel.send(begin + message(2, 10) + end)
        number = -struct.unpack_from("=i", channel.recv(65536), 16)[0]
        if number:
            raise OSError(number, os.strerror(number))
        return "deleted"


@attack(NETWORK, "ECONNREFUSED")
def connect_to_the_hosts_loopback() -> object:
    return tcp("127.0.0.1", TARGETS["tcp"])


@attack(NETWORK, "ECONNREFUSED")
def connect_to_the_hosts_loopback_by_ipv6() -> object:
    return tcp("::1", TARGETS["tcp6"], socket.AF_INET6)


@attack(NETWORK, "ECONNREFUSED")
def send_udp_to_the_host() -> object:
    return udp("127.0.0.1", TARGETS["udp"])


@attack(NETWORK, "ECONNREFUSED")
def send_udp_to_an_address_of_the_host() -> object:
    return udp(TARGETS["address"], TARGETS["udp"])


@attack(NETWORK, "ECONNREFUSED")
def send_udp_by_ipv6() -> object:
    return udp("::1", TARGETS["udp6"], socket.AF_INET6)


@attack(NETWORK, "ECONNREFUSED EPROTONOSUPPORT", control=IF_THE_HOST_ALLOWS)
def send_udp_lite() -> object:
    return udp("127.0.0.1", TARGETS["udp"], protocol=136)


@attack(NETWORK, "ECONNREFUSED", control="ask_the_resolver")
def speak_quic() -> object:
    return udp("203.0.113.1", 443)


@attack(NETWORK, DENIED, control=IF_THE_HOST_ALLOWS)
def open_a_ping_socket() -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as client:
        client.sendto(b"\x08\0\0\0\0\0\0\0", ("127.0.0.1", 0))
        return "sent"


@attack(UNPRIVILEGED, DENIED, control=IF_THE_HOST_ALLOWS)
def open_a_raw_socket() -> object:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP).close()
    return "opened"


@attack(FILTER, "EAFNOSUPPORT", control=IF_THE_HOST_ALLOWS)
def open_a_packet_socket() -> object:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    return "opened"


@attack(FILTER, "EAFNOSUPPORT", control=IF_THE_HOST_ALLOWS)
def reach_the_hypervisor() -> object:
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    return "opened"


@attack(FILTER, "EAFNOSUPPORT", control=IF_THE_HOST_ALLOWS)
def open_the_kernels_cryptography() -> object:
    socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close()
    return "opened"


@attack(FILTER, "EAFNOSUPPORT", control=IF_THE_HOST_ALLOWS)
def open_a_bluetooth_socket() -> object:
    socket.socket(31, socket.SOCK_RAW, 0).close()
    return "opened"


@attack(NETWORK, "ECONNREFUSED EPROTONOSUPPORT", control=IF_THE_HOST_ALLOWS)
def use_sctp() -> object:
    return tcp("127.0.0.1", TARGETS["tcp"], protocol=132)


@attack(NETWORK, "ECONNREFUSED ENOPROTOOPT EPROTONOSUPPORT", control=IF_THE_HOST_ALLOWS)
def use_multipath_tcp() -> object:
    return tcp("127.0.0.1", TARGETS["tcp"], protocol=262)


@attack(NETWORK, "ENOTSUP EPIPE", control=IF_THE_HOST_ALLOWS)
def connect_without_connect() -> object:
    with socket.socket() as client:
        client.sendto(b"GET / HTTP/1.0\r\n\r\n", 0x20000000, (TARGETS["address"], TARGETS["tcp"]))
        return "connected"


@attack(UNPRIVILEGED, DENIED, control="list_the_addresses")
def add_an_address_to_the_device() -> object:
    return add_an_address()


@attack(UNPRIVILEGED, DENIED, control="list_the_addresses_as_root_of_a_nested_namespace")
def add_an_address_as_root_of_a_nested_namespace() -> object:
    return with_root(add_an_address)


@attack(UNPRIVILEGED, DENIED, control="list_the_addresses_as_root_of_a_nested_namespace")
def add_a_route_as_root_of_a_nested_namespace() -> object:
    return with_root(add_a_route)


@attack(UNPRIVILEGED, DENIED, control="list_the_addresses_as_root_of_a_nested_namespace")
def take_the_device_down_as_root_of_a_nested_namespace() -> object:
    return with_root(take_the_device_down)


@attack(FILTER, "EPROTONOSUPPORT", control="list_the_addresses_as_root_of_a_nested_namespace")
def delete_the_firewall_as_root_of_a_nested_namespace() -> object:
    return with_root(delete_the_firewall)


@attack(FILTER, "EPROTONOSUPPORT", control=IF_THE_HOST_ALLOWS)
def reach_nf_tables_in_a_network_of_its_own() -> object:
    return with_namespaces(CLONE_NEWNET, delete_the_firewall)


@attack(FILTER, "EPERM", control=IF_THE_HOST_ALLOWS)
def reach_the_firewalls_older_door() -> object:
    def run() -> object:
        new_namespaces(CLONE_NEWNET)
        with socket.socket() as any_socket:
            any_socket.setsockopt(socket.IPPROTO_IP, 64, bytes(200))
        return "replaced"

    return in_child(run)


@attack(UNPRIVILEGED, DENIED, control="list_the_addresses_as_root_of_a_nested_namespace")
def open_a_raw_socket_as_root_of_a_nested_namespace() -> object:
    return with_root(open_a_raw_socket)


@attack(NETWORK, "ENETUNREACH", control="make_a_network_of_its_own")
def leave_by_a_network_of_its_own() -> object:
    def run() -> object:
        new_namespaces(CLONE_NEWNET)
        return tcp(TARGETS["address"], TARGETS["tcp"])

    return in_child(run)


@attack(PIDS, "EACCES ENOENT EPERM", control="see_its_own_processes")
def enter_the_network_of_another_process() -> object:
    ours = os.readlink("/proc/self/ns/net")
    for path in glob.glob("/proc/[0-9]*/ns/net"):
        try:
            if os.readlink(path) == ours:
                continue
            with open(path) as namespace:
                checked(libc.setns(namespace.fileno(), 0))
            return path
        except OSError:
            continue
    raise OSError(errno.ENOENT, "none")


@neighbour
def list_the_addresses() -> object:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as channel:
        channel.send(struct.pack("=IHHII", 24, 22, 0x301, 1, 0) + bytes(8))
        return len(channel.recv(65536))


@neighbour
def list_the_addresses_as_root_of_a_nested_namespace() -> object:
    return with_root(list_the_addresses)


@neighbour
def make_a_network_of_its_own() -> object:
    return with_namespaces(CLONE_NEWNET, list_the_addresses)
