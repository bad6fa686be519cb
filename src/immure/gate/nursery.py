"""`python -m immure.gate.nursery FD`: the process that gates are forked from.

It has loaded what a gate needs, the system's trust store included, so that a gate accepts connections a few milliseconds after it was
asked for and shares most of its memory with the others. It knows no secret: a gate gets those from the broker, after the fork.

Rules: single-threaded, or it could not fork safely. Nothing is imported after the fork, for a gate under another uid may not be able
to read the interpreter's files any more.

*Trust:* the broker at the other end of the channel. *Fails:* when the channel closes, it ends, and its gates with it
(PR_SET_PDEATHSIG).
"""

import ctypes
import encodings.idna  # noqa: F401 - the `ssl` module loads it at the first handshake
import gc
import os
import resource
import select
import signal
import socket
import ssl
import sys
from typing import Final, NoReturn

from immure import channel
from immure.gate.certificate import Authority
from immure.gate.control import serve
from immure.gate.loop import report_fault
from immure.gate.upstream import client_context

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_CHANNEL: Final = 3
"""Where a gate keeps its channel: right after the standard descriptors, so that everything above can be closed."""
_HIGHEST_DESCRIPTOR: Final = 1 << 20
_DESCRIPTORS: Final = 1 << 14
"""As many as a gate may open, where the host allows it: two for each client, and some."""
_EXIT_FAULT: Final = 70
_EXIT_NO_AUDIT: Final = 74
"""As in sysexits.h: a fault of ours, an output that failed."""

_libc = ctypes.CDLL(None, use_errno=True)


class Nursery:
    """Forks gates and tells the broker when one has died."""

    def __init__(self, broker: socket.socket) -> None:
        self._broker = broker
        self._trust = client_context()
        self._poll = select.poll()
        self._gates: dict[int, tuple[str, int]] = {}  # pidfd → id, pid

    def serve(self) -> None:
        """Returns when the broker is gone."""
        self._poll.register(self._broker, select.POLLIN)
        while True:
            for fd, _ in self._poll.poll():
                if fd in self._gates:
                    self._bury(fd)
                elif (received := channel.receive(self._broker)) is None:
                    return
                else:
                    message, descriptors = received
                    self._fork(message["id"], message["uid"], descriptors[0])

    def _fork(self, identity: str, uid: int | None, line: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _be_a_gate(parent, uid, line, self._trust)
        os.close(line)
        pidfd = os.pidfd_open(pid)
        self._gates[pidfd] = identity, pid
        self._poll.register(pidfd, select.POLLIN)

    def _bury(self, pidfd: int) -> None:
        identity, pid = self._gates.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        channel.send(self._broker, {"did": "died", "id": identity, "status": os.waitstatus_to_exitcode(status)})


def _be_a_gate(parent: int, uid: int | None, line: int, trust: ssl.SSLContext) -> NoReturn:
    status = _EXIT_FAULT
    try:
        os.dup2(line, _CHANNEL)  # not inheritable by exec, which never happens
        os.closerange(_CHANNEL + 1, _HIGHEST_DESCRIPTOR)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        # After the change of uid, which resets both (prctl(2)).
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _prctl(_PR_SET_DUMPABLE, 0)
        if os.getppid() == parent:
            serve(socket.socket(fileno=_CHANNEL), trust)
        status = 0
    except SystemExit:
        status = _EXIT_NO_AUDIT
    except BaseException as error:
        report_fault(error)
    finally:
        os._exit(status)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _warm_up() -> None:
    """Run through what a gate does first, so that whatever is loaded at first use is loaded before the fork."""
    Authority("warm-up").leaf("warm-up.invalid")


def main(descriptor: int) -> None:
    """Serve the broker on the given channel until it closes."""
    _prctl(_PR_SET_DUMPABLE, 0)  # what it forks is as hidden from the first moment on
    nursery = Nursery(socket.socket(fileno=descriptor))
    _warm_up()
    gc.collect()
    gc.freeze()  # what lives now is never looked at again by a collection, so its pages stay shared with the gates
    nursery.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]))
