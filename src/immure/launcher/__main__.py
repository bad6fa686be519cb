"""`python -m immure.launcher FD`: serve the broker on the given channel until it closes, then end every sandbox."""

import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

from immure import channel
from immure.launcher import cgroup, kernel, ownership, wall

_QUIET = 3
"""Milliseconds without a message after which the next sandbox is made ahead: not while the last one is starting."""


class Sandbox:
    """One forked child. `line` is where it reports and waits until it becomes bubblewrap, `pidfd` becomes readable when it exits.

    `identifier` is empty as long as nobody has asked for it; `report` is what it said, with descriptors, until that is passed on;
    `ended_by` the signal by which we ended it, on request, or 0; `group` its control group, if its limits need one.
    """

    __slots__ = ("ended_by", "group", "identifier", "line", "pid", "pidfd", "report")

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.ended_by = 0
        self.group: cgroup.Group | None = None
        self.identifier = ""
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.line = line
        self.report: tuple[channel.Message, list[int]] | None = None


class Launcher:
    """The sandboxes of one broker. One thread, one poll loop; the messages are described in docs/architecture.md."""

    def __init__(self, broker: socket.socket) -> None:
        self._broker = broker
        self._uid = ownership.SPARE_ID if os.geteuid() == 0 else None
        self._mapper = ownership.Mapper(self._uid) if self._uid is not None else None
        self._sandboxes: dict[str, Sandbox] = {}
        self._spare: Sandbox | None = None
        self._ahead = True
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}

    def serve(self) -> None:
        """Returns when the broker is gone."""
        self._poll.register(self._broker, select.POLLIN)
        while True:
            ready = self._poll.poll(_QUIET if self._spare is None and self._ahead else None)
            if not ready:
                self._make_spare()
            for fd, _ in ready:
                if fd != self._broker.fileno():
                    if fd in self._handlers:  # an earlier handler of this turn may have closed it
                        self._handlers[fd]()
                elif (received := channel.receive(self._broker)) is None:
                    return
                else:
                    self._on_request(*received)

    def _watch(self, fd: int, handler: Callable[[], None]) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def _unwatch(self, fd: int) -> None:
        if self._handlers.pop(fd, None):
            self._poll.unregister(fd)

    def _on_request(self, message: channel.Message, descriptors: list[int]) -> None:
        identifier = message["id"]
        try:
            match message["do"]:
                case "prepare":
                    self._prepare(identifier, watched=message["watched"])
                case "start":
                    self._start(identifier, message, descriptors)
                case "signal":
                    self._signal(identifier, message["signal"])
                case "end":
                    self._kill(identifier)
                case "socket":
                    self._open_socket(identifier)
        finally:
            _close(descriptors)

    def _make_spare(self) -> None:
        try:
            self._spare = self._fork()
        except OSError:
            self._ahead = False  # whoever asks next is told why

    def _fork(self, *, watched: bool = False) -> Sandbox:
        ours, theirs = channel.pair()
        with theirs:
            sandbox = Sandbox(wall.fork(theirs, self._uid, watched=watched), ours)
        self._watch(ours.fileno(), lambda: self._on_line(sandbox))
        self._watch(sandbox.pidfd, lambda: self._on_exit(sandbox))
        return sandbox

    def _prepare(self, identifier: str, *, watched: bool) -> None:
        """The spare one, unless it is to be watched: its filter reports more, and there is no second listener for a process."""
        try:
            sandbox = self._fork(watched=True) if watched else self._spare or self._fork()
        except OSError as error:
            channel.send(self._broker, {"did": "failed", "id": identifier, "step": wall.USERS, "error": str(error)})
            channel.send(self._broker, {"did": "exited", "id": identifier, "status": 125, "killed": False})
            return
        if sandbox is self._spare:
            self._spare = None
        self._ahead = True
        sandbox.identifier = identifier
        self._sandboxes[identifier] = sandbox
        self._tell(sandbox)

    def _tell(self, sandbox: Sandbox) -> None:
        """Pass on what a sandbox has reported, as soon as there is somebody to tell."""
        if sandbox.report is not None and sandbox.identifier:
            message, descriptors = sandbox.report
            channel.send(self._broker, {**message, "id": sandbox.identifier}, [*descriptors, sandbox.pidfd])
            _close(descriptors)
            sandbox.report = None

    def _start(self, identifier: str, message: channel.Message, descriptors: list[int]) -> None:
        sandbox = self._sandboxes.get(identifier)
        if sandbox is None:
            return  # it has died, which has been told
        mounts: list[int] = []
        step = wall.LIMITS
        try:
            if message["group"]:
                sandbox.group = cgroup.Group(cgroup.place(file.partition(".")[0] for file in message["group"]), identifier)
                sandbox.group.limit(message["group"])
                sandbox.group.add(sandbox.pid)
            step = ownership.STEP
            if self._mapper is not None:
                mounts = self._mapper.mounts(message["stage"])
            channel.send(sandbox.line, message, [*descriptors, *mounts])
        except OSError as error:
            channel.send(self._broker, {"did": "failed", "step": step, "error": str(error), "id": identifier})
            self._kill(identifier)
        finally:
            _close(mounts)

    def _on_line(self, sandbox: Sandbox) -> None:
        """The child reports `prepared` or `failed`; the line closes when it becomes bubblewrap."""
        sandbox.report = channel.receive(sandbox.line)
        if sandbox.report is None:
            self._unwatch(sandbox.line.fileno())
        else:
            self._tell(sandbox)

    def _on_exit(self, sandbox: Sandbox) -> None:
        if sandbox.line.fileno() in self._handlers:
            self._on_line(sandbox)  # its last word, which must arrive before its end
        for fd in (sandbox.line.fileno(), sandbox.pidfd):
            self._unwatch(fd)
        _, status = os.waitpid(sandbox.pid, 0)
        sandbox.line.close()
        os.close(sandbox.pidfd)
        if sandbox.group is not None:
            sandbox.group.remove()
        if sandbox.report is not None:
            _close(sandbox.report[1])  # nobody asked for it in time
        if sandbox is self._spare:
            self._spare, self._ahead = None, False  # whoever asks next is told why
            return
        del self._sandboxes[sandbox.identifier]
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            code = 128 + (sandbox.ended_by or -code)
        killed = os.WIFSIGNALED(status) and not sandbox.ended_by
        channel.send(self._broker, {"did": "exited", "id": sandbox.identifier, "status": code, "killed": killed})

    def _kill(self, identifier: str, instead_of: int = signal.SIGKILL) -> None:
        if sandbox := self._sandboxes.get(identifier):
            sandbox.ended_by = instead_of
            os.kill(sandbox.pid, signal.SIGKILL)

    def _signal(self, identifier: str, number: int) -> None:
        """Deliver a signal to the program inside: bubblewrap's monitor → its pid 1 → the program."""
        sandbox = self._sandboxes.get(identifier)
        if sandbox is None:
            return
        command = _only_child(_only_child(sandbox.pid))
        if command is None:
            self._kill(identifier, number)  # still being set up: there is no program yet that could handle it
            return
        try:
            if number in (signal.SIGINT, signal.SIGQUIT):
                os.killpg(os.getpgid(command), number)  # as a terminal does
            else:
                os.kill(command, number)
        except ProcessLookupError:
            pass

    def _open_socket(self, identifier: str) -> None:
        """Hand out a TCP socket of the sandbox's network: what it connects to is what listens inside."""
        sandbox = self._sandboxes.get(identifier)
        if sandbox is None or not wall.send_socket(self._broker, identifier, sandbox.pidfd):
            channel.send(self._broker, {"did": "socket", "id": identifier})

    def end_all(self) -> None:
        sandboxes = [*self._sandboxes.values(), *([self._spare] if self._spare else [])]
        for sandbox in sandboxes:
            os.kill(sandbox.pid, signal.SIGKILL)
        for sandbox in sandboxes:
            os.waitpid(sandbox.pid, 0)
            if sandbox.group is not None:
                sandbox.group.remove()


def _only_child(pid: int | None) -> int | None:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
    except FileNotFoundError:
        return None
    return int(children[0]) if children else None


def _close(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def main(descriptor: int) -> NoReturn:
    broker = socket.socket(fileno=descriptor)
    broker.set_inheritable(False)
    if kernel.machine() not in kernel.SUPPORTED_MACHINES:
        sys.exit(f"immure runs on {', '.join(kernel.SUPPORTED_MACHINES)}, not on {kernel.machine()}")
    kernel.hide_memory()
    launcher = Launcher(broker)
    try:
        launcher.serve()
    finally:
        launcher.end_all()
    sys.exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
