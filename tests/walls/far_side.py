"""What programs inside try to reach: listeners on the host that count who came, and names that are really heard."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

EAR = "ear.example.com"
OTHER_EAR = "other.example.com"


@dataclass(slots=True)
class Listeners:
    """Sockets of the host, each on a thread that counts what arrives. `targets` is what a program needs to find them."""

    targets: dict[str, object]
    heard: list[str] = field(default_factory=list)


def own_address() -> str:
    """An address of the host that is not loopback, if it has one: no packet is sent to learn it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@contextmanager
def listeners(directory: str) -> Iterator[Listeners]:
    """TCP and UDP on IPv4 and IPv6, and Unix sockets by path and by abstract name."""
    abstract = f"\0immure-walls-{os.getpid()}"
    path = f"{directory}/control.sock"
    made = {
        "tcp": socket.create_server(("0.0.0.0", 0)),
        "tcp6": socket.create_server(("::1", 0), family=socket.AF_INET6),
        "udp": _bound(socket.AF_INET, socket.SOCK_DGRAM, ("0.0.0.0", 0)),
        "udp6": _bound(socket.AF_INET6, socket.SOCK_DGRAM, ("::1", 0)),
        "path": _bound(socket.AF_UNIX, socket.SOCK_STREAM, path),
        "abstract": _bound(socket.AF_UNIX, socket.SOCK_STREAM, abstract),
        "datagram": _bound(socket.AF_UNIX, socket.SOCK_DGRAM, f"{abstract}-datagram"),
    }
    ports = {name: one.getsockname()[1] for name, one in made.items() if one.family != socket.AF_UNIX}
    targets: dict[str, object] = {**ports, "path": path, "abstract": abstract, "datagram": f"{abstract}-datagram", "address": own_address()}
    found = Listeners(targets)
    threads = [threading.Thread(target=_listen, args=(name, one, found.heard)) for name, one in made.items()]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        for one in made.values():
            one.shutdown(socket.SHUT_RDWR) if one.type == socket.SOCK_STREAM else _wake(one)
        for thread in threads:
            thread.join()
        for one in made.values():
            one.close()


def _bound(family: int, kind: int, address: object) -> socket.socket:
    made = socket.socket(family, kind)
    made.bind(address)
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


def _wake(receiver: socket.socket) -> None:
    with socket.socket(receiver.family, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", receiver.getsockname())


def _listen(name: str, listener: socket.socket, heard: list[str]) -> None:
    while True:
        try:
            if listener.type == socket.SOCK_STREAM:
                connection, _ = listener.accept()
                connection.close()
            elif not listener.recv(64):
                return
        except OSError:
            return
        heard.append(name)
