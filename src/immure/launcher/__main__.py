"""`python -m immure.launcher FD`: serve the broker on the given channel until it closes, then end every sandbox."""

import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

from immure import channel
from immure.launcher import kernel, wall


class Sandbox:
    """One forked child: its pid, a pidfd that becomes readable when it exits, and the line on which it reports until it execs."""

    __slots__ = ("line", "pid", "pidfd")

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.line = line


class Launcher:
    """The sandboxes of one broker. One thread, one poll loop; the messages are described in docs/architecture.md."""

    def __init__(self, broker: socket.socket) -> None:
        self._broker = broker
        self._sandboxes: dict[str, Sandbox] = {}
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}

    def serve(self) -> None:
        """Returns when the broker is gone."""
        self._poll.register(self._broker, select.POLLIN)
        while True:
            for fd, _ in self._poll.poll():
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
                    self._prepare(identifier, message, descriptors)
                case "start":
                    self._start(identifier, message, descriptors)
                case "signal":
                    self._signal(identifier, message["signal"])
                case "end":
                    self._kill(identifier)
        finally:
            for fd in descriptors:
                os.close(fd)

    def _prepare(self, identifier: str, message: channel.Message, descriptors: list[int]) -> None:
        numbers = iter(descriptors)
        request = wall.Request(
            terminal=tuple(message["terminal"]) if message["terminal"] else None,
            streams=tuple(next(numbers) if given else -1 for given in message["streams"]),
            stage=tuple(message["stage"]),
            uid=message["uid"],
        )
        ours, theirs = channel.pair()
        pid = os.fork()
        if pid == 0:
            wall.run(request, theirs)
        theirs.close()
        sandbox = self._sandboxes[identifier] = Sandbox(pid, ours)
        self._watch(ours.fileno(), lambda: self._on_line(identifier))
        self._watch(sandbox.pidfd, lambda: self._on_exit(identifier))

    def _start(self, identifier: str, message: channel.Message, descriptors: list[int]) -> None:
        sandbox = self._sandboxes.get(identifier)
        if sandbox is not None:
            try:
                channel.send(sandbox.line, {key: message[key] for key in ("program", "options", "command")}, descriptors)
            except OSError:
                pass  # it has died; its exit is reported

    def _on_line(self, identifier: str) -> None:
        """The child reports `prepared` or `failed`; the line closes when it becomes bubblewrap."""
        line = self._sandboxes[identifier].line
        try:
            received = channel.receive(line)
        except ConnectionResetError:
            received = None
        if received is None:
            self._unwatch(line.fileno())
            return
        message, descriptors = received
        channel.send(self._broker, {**message, "id": identifier}, descriptors)
        for fd in descriptors:
            os.close(fd)

    def _on_exit(self, identifier: str) -> None:
        sandbox = self._sandboxes[identifier]
        if sandbox.line.fileno() in self._handlers:
            self._on_line(identifier)  # its last word, which must arrive before its end
        del self._sandboxes[identifier]
        for fd in (sandbox.line.fileno(), sandbox.pidfd):
            self._unwatch(fd)
        _, status = os.waitpid(sandbox.pid, 0)
        sandbox.line.close()
        os.close(sandbox.pidfd)
        code = os.waitstatus_to_exitcode(status)
        channel.send(self._broker, {"did": "exited", "id": identifier, "status": 128 - code if code < 0 else code})

    def _kill(self, identifier: str) -> None:
        if sandbox := self._sandboxes.get(identifier):
            os.kill(sandbox.pid, signal.SIGKILL)

    def _signal(self, identifier: str, number: int) -> None:
        """Deliver a signal to the program inside: bubblewrap's monitor → its pid 1 → the program, which leads its own process group."""
        sandbox = self._sandboxes.get(identifier)
        if sandbox is None:
            return
        command = _only_child(_only_child(sandbox.pid))
        if command is None:
            self._kill(identifier)  # still being set up: there is no program yet that could handle it
            return
        try:
            if number in (signal.SIGINT, signal.SIGQUIT):
                os.killpg(command, number)  # as a terminal does
            else:
                os.kill(command, number)
        except ProcessLookupError:
            pass

    def end_all(self) -> None:
        for sandbox in self._sandboxes.values():
            os.kill(sandbox.pid, signal.SIGKILL)
        for sandbox in self._sandboxes.values():
            os.waitpid(sandbox.pid, 0)


def _only_child(pid: int | None) -> int | None:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
    except FileNotFoundError:
        return None
    return int(children[0]) if children else None


def main(descriptor: int) -> NoReturn:
    broker = socket.socket(fileno=descriptor)
    broker.set_inheritable(False)
    if kernel.machine() not in kernel.SUPPORTED_MACHINES:
        sys.exit(f"immure runs on {', '.join(kernel.SUPPORTED_MACHINES)}, not on {kernel.machine()}")
    launcher = Launcher(broker)
    try:
        launcher.serve()
    finally:
        launcher.end_all()
    sys.exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
