"""A process that wears the sandbox's seccomp filter and connects, or runs programs, on behalf of a test.

<- {"do": "run", "argv": […], "environment": {…}} + stdin, stdout, stderr      -> {"status": N, "pid": N}
<- {"do": "connect", "family": N, "address": [host, port]}                     -> {"errno": N} + the connected socket
"""

import os
import socket
import subprocess
import sys

from immure import channel
from immure.launcher import kernel, seccomp


def main(descriptor: int, uid: int | None = None) -> None:
    line = socket.socket(fileno=descriptor)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        kernel.set_dumpable()  # as a program is that was started by that user
    listener = seccomp.install()
    channel.send(line, {"did": "wear"}, [listener])
    os.close(listener)
    while (received := channel.receive(line)) is not None:
        message, descriptors = received
        if message["do"] == "run":
            stdin, stdout, stderr = descriptors
            program = subprocess.Popen(message["argv"], stdin=stdin, stdout=stdout, stderr=stderr, env=message["environment"])
            for fd in descriptors:
                os.close(fd)
            channel.send(line, {"status": program.wait(), "pid": program.pid})
        else:
            connection = socket.socket(message["family"])
            error = connection.connect_ex(tuple(message["address"]))
            channel.send(line, {"errno": error}, [connection.fileno()])
            connection.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
