"""One sandbox, from the fork to the exec of bubblewrap. All but `fork` runs in the forked child, which never returns.

Order matters, and is the same for every sandbox:

    0. the fork, into a pid namespace whose first process bubblewrap will be: when that dies, at whatever moment and of whatever, the
       kernel ends all that ran under it. (Bubblewrap makes another one within. Its own child asks to die with it only when the mounts
       are made, and would go on without it until then.)
    1. a session of its own; every inherited descriptor but its line to the launcher is closed; root is given up
    2. user and network namespace; the network that leads only to us; the sockets that the gate will serve
    3. core dumps off, and the seccomp program, which keeps that limit as it is: from here on a connect(2) waits for the gate
    4. report the sockets, wait for the word to start. So far nothing depends on what will run: the launcher keeps one child waiting here
    5. a mount namespace; root only: attach the mounts of the workspace; mounts over the protected paths
    6. resource limits, which bubblewrap and all that it starts inherit
    7. exec bubblewrap with an empty environment: the environment of its own pid 1 can be read inside

*Fails:* closed. Any error is reported as the step it happened in and the child exits; nothing has run by then.
"""

import fcntl
import os
import resource
import signal
import socket
from typing import NoReturn

from immure import channel
from immure.launcher import covers, kernel, netlink, ownership, seccomp

_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75
_IP_PKTINFO = 8
_NETLINK_SOCK_DIAG = 4
_BACKLOG = 512
_HIGHEST_DESCRIPTOR = 1 << 20
_CORE_SIZE = 1
"""Bytes of a core file. With 0 none is written, but a program that core_pattern names is still run, outside and as root; 1, which is
too small for any file, stops that too (core(5); fs/coredump.c)."""

USERS = "make a user namespace"
NETWORK = "make the network"
SECCOMP = "install the seccomp program"
LIMITS = "limit the sandbox"
"""Steps, by the names that a failure is reported under."""


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
    """What the gate will serve, in the order in which it is reported; the seccomp listener follows."""
    return [
        _listener(socket.AF_INET),
        _listener(socket.AF_INET6),
        _name_server(),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG),
    ]


def _keep_only(kept: int) -> int:
    """Close every other descriptor but the standard streams, which lead nowhere from now on; returns its new number."""
    high = fcntl.fcntl(kept, fcntl.F_DUPFD_CLOEXEC, 3)
    os.closerange(3, high)
    os.closerange(high + 1, _HIGHEST_DESCRIPTOR)
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for stream in range(3):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    return high


def _limit(limits: list[tuple[str, int | None, int, bool]]) -> None:
    """Each as (name, soft limit or None for the one there is, hard limit, whether less will not do). Raises OSError."""
    for name, soft, hard, is_required in limits:
        number = getattr(resource, f"RLIMIT_{name}")
        old_soft, most = resource.getrlimit(number)
        if most != resource.RLIM_INFINITY and hard > most:
            if is_required:
                raise OSError(f"RLIMIT_{name} cannot be {hard}: the hard limit here is {most}")
            hard = most
        lower = old_soft if soft is None and old_soft != resource.RLIM_INFINITY else hard
        resource.setrlimit(number, (min(lower, hard), hard))


def _restore_signals() -> None:
    """The interpreter ignores these two, and exec would hand that on."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


def _exec_bubblewrap(message: channel.Message, data: list[int]) -> NoReturn:
    """A number among the options stands for that data descriptor. Options go by descriptor: /proc/1/cmdline can be read inside."""
    options = [str(data[option]) if isinstance(option, int) else option for option in message["options"]]
    text = "".join(option + "\0" for option in options)
    options_file = channel.memory_file("options", text.encode("utf-8", "surrogateescape"))
    for fd in (options_file, *data):
        os.set_inheritable(fd, True)
    argv = ["bwrap", "--args", str(options_file), "--", *message["command"]]
    os.execve(message["program"], argv, {})  # noqa: S606


def fork(line: socket.socket, uid: int | None, *, watched: bool = False) -> int:
    """Fork a sandbox that speaks on `line`; returns its pid. For root, `uid` is who it shall be. Raises OSError, as in step `USERS`.

    If `watched`, it reports what would change files.
    """
    if uid is not None:
        pid = kernel.fork(kernel.CLONE_NEWPID)
        owner = uid, uid
    else:
        owner = os.geteuid(), os.getegid()
        pid = kernel.fork(kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID)  # only the root of a user namespace may make the others
    if pid == 0:
        _run(line, owner, drop=uid is not None, watched=watched)
    return pid


def send_socket(line: socket.socket, identifier: str, process: int) -> bool:
    """Have a child enter the namespaces of a sandbox, by the pidfd of its first process, and send a new TCP socket on `line`.

    A socket belongs to the network namespace that it was made in, and only the root of the sandbox's user namespace may enter that.
    """
    pid = os.fork()
    if pid == 0:
        try:
            kernel.enter(process, kernel.CLONE_NEWUSER | kernel.CLONE_NEWNET)
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as made:
                channel.send(line, {"did": "socket", "id": identifier}, [made.fileno()])
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def _run(line: socket.socket, owner: tuple[int, int], *, drop: bool, watched: bool) -> NoReturn:
    """Be a sandbox: report `prepared` on `line`, wait for the start, become bubblewrap."""
    step = "isolate"
    try:
        kernel.die_with_parent(signal.SIGKILL)
        os.setsid()
        _restore_signals()
        line_fd = _keep_only(line.detach())
        line = socket.socket(fileno=line_fd)
        kernel.set_dumpable()  # unlike the launcher, or the id maps would be root's; it holds nothing that was not given to it
        if drop:
            ownership.become(owner[0])
            kernel.die_with_parent(signal.SIGKILL)  # a change of uid resets it
            step = USERS
            kernel.unshare(kernel.CLONE_NEWUSER)
        step = USERS
        kernel.write_id_maps(0, *owner)
        step = NETWORK
        kernel.unshare(kernel.CLONE_NEWNET)
        netlink.configure()
        sockets = _sockets()
        step = SECCOMP
        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        if most != 0:
            resource.setrlimit(resource.RLIMIT_CORE, (_CORE_SIZE, _CORE_SIZE))
        notify = seccomp.install(watched=watched)
        step = "report"
        channel.send(line, {"did": "prepared"}, [*(s.fileno() for s in sockets), notify])
        os.close(notify)
        for sock in sockets:
            sock.close()
        received = channel.receive(line)
        if received is None:
            os._exit(0)
        message, descriptors = received
        streams, data, mounts = descriptors[:3], descriptors[3 : 3 + message["data"]], descriptors[3 + message["data"] :]
        step = "attach the workspace"
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.make_mounts_private()
        if mounts:
            ownership.attach(mounts)
        step = covers.STEP
        covers.cover(message["covers"])
        step = LIMITS
        _limit(message["limits"])
        step = "run bubblewrap"
        os.umask(message["umask"])
        for position, stream in enumerate(streams):
            os.dup2(stream, position, inheritable=True)
        _exec_bubblewrap(message, data)
    except BaseException as error:
        report = {"did": "failed", "step": step, "error": str(error) or type(error).__name__}
        try:
            channel.send(line, report)
        except OSError:
            pass
    finally:
        os._exit(125)
