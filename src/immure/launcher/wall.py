"""One sandbox, from the fork to the exec of bubblewrap. Everything here runs in the forked child, which never returns.

Order matters, and is the same for every sandbox:

    1. a session of its own; every inherited descriptor but its standard streams and its line to the launcher is closed
    2. root only: stage the mounts, give up root
    3. user and network namespace; the network that leads only to us; the sockets that the gate will serve
    4. the seccomp program: from here on a connect(2) waits for the gate
    5. report the sockets, wait for the word to start
    6. exec bubblewrap with an empty environment: the environment of its own pid 1 can be read inside

*Fails:* closed. Any error is reported as the step it happened in and the child exits; nothing has run by then.
"""

import fcntl
import os
import signal
import socket
import struct
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from immure import channel
from immure.launcher import kernel, netlink, ownership, seccomp

_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75
_IP_PKTINFO = 8
_NETLINK_SOCK_DIAG = 4
_BACKLOG = 512
_HIGHEST_DESCRIPTOR = 1 << 20

SOCKETS = ("tcp4", "tcp6", "dns", "diag", "notify")
"""The descriptors that a prepared sandbox reports, in this order; a pty master follows if one was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `prepare` asks for. `terminal` is (rows, columns) of the pty that takes the place of every missing standard stream."""

    terminal: tuple[int, int] | None
    streams: tuple[int, ...]
    stage: tuple[str, ...]
    uid: int | None


def _listener(family: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    if family == socket.AF_INET:
        listener.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
        listener.bind(("0.0.0.0", netlink.INTERCEPT_PORT))
    else:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        listener.bind(("::", netlink.INTERCEPT_PORT))
    listener.listen(_BACKLOG)
    return listener


def _name_server() -> socket.socket:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    server.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    server.bind(("0.0.0.0", 53))
    return server


def _sockets() -> list[socket.socket]:
    return [
        _listener(socket.AF_INET),
        _listener(socket.AF_INET6),
        _name_server(),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG),
    ]


def _keep_only(kept: Sequence[int]) -> list[int]:
    """Close every descriptor but these; returns their new numbers, which are all above the standard streams."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16) for fd in kept]
    previous = 0
    for fd in sorted(high):
        os.closerange(previous, fd)
        previous = fd + 1
    os.closerange(previous, _HIGHEST_DESCRIPTOR)
    return high


def _set_streams(streams: Sequence[int], slave: int | None) -> None:
    """Make descriptors 0, 1 and 2: `streams` gives the given ones as (position, descriptor) in order, the pty the others."""
    for position, fd in enumerate(streams):
        source = slave if fd < 0 else fd
        assert source is not None
        os.dup2(source, position, inheritable=True)


def _open_terminal(size: tuple[int, int]) -> tuple[int, int]:
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("=HHHH", *size, 0, 0))
    return master, slave


def _exec_bubblewrap(program: str, options: list[str | int], command: list[str], data: list[int]) -> NoReturn:
    """A number among the options stands for that data descriptor. Options go by descriptor: /proc/1/cmdline can be read inside."""
    text = "".join((str(data[option]) if isinstance(option, int) else option) + "\0" for option in options)
    options_file = channel.memory_file("options", text.encode("utf-8", "surrogateescape"))
    for fd in (options_file, *data):
        os.set_inheritable(fd, True)
    os.execve(program, ["bwrap", "--args", str(options_file), "--", *command], {})  # noqa: S606


def run(request: Request, line: socket.socket) -> NoReturn:
    """Be the sandbox: report `prepared` on `line`, wait for `start`, become bubblewrap."""
    step = "isolate"
    try:
        kernel.die_with_parent(signal.SIGKILL)
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # the interpreter ignores these two, and exec would hand that on
        given = [fd for fd in request.streams if fd >= 0]
        line_fd, *given = _keep_only([line.fileno(), *given])
        line.detach()
        line = socket.socket(fileno=line_fd)
        if request.uid is not None:
            step = "map the workspace for an unprivileged user"
            ownership.stage(list(request.stage), request.uid)
            ownership.become(request.uid)
            kernel.die_with_parent(signal.SIGKILL)
        step = "open a terminal"
        master, slave = _open_terminal(request.terminal) if request.terminal else (None, None)
        numbers = iter(given)
        _set_streams([next(numbers) if fd >= 0 else -1 for fd in request.streams], slave)
        uid, gid = os.geteuid(), os.getegid()
        step = "make a user namespace"
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNET)
        kernel.write_id_maps(0, uid, gid)
        step = "make the network"
        netlink.configure()
        sockets = _sockets()
        step = "install the seccomp program"
        notify = seccomp.install()
        step = "report"
        descriptors = [*(s.fileno() for s in sockets), notify] + ([master] if master is not None else [])
        channel.send(line, {"did": "prepared"}, descriptors)
        for fd in descriptors:
            os.close(fd)
        step = "wait for the start"
        received = channel.receive(line)
        if received is None:
            os._exit(0)
        message, data = received
        step = "run bubblewrap"
        _exec_bubblewrap(message["program"], message["options"], message["command"], data)
    except BaseException as error:
        report = {"did": "failed", "step": step, "error": str(error) or type(error).__name__, "errno": getattr(error, "errno", None)}
        try:
            channel.send(line, report)
        except OSError:
            pass
    finally:
        os._exit(125)
