"""`python -m immure.broker FD`: be the broker of this user; say on the given descriptor that it is ready, or why it cannot be.

The next descriptor is the lock under which we were started: no other broker is, until it is closed.
"""

import asyncio
import os
import signal
import sys

from immure.broker.service import Service
from immure.errors import ImmureError
from immure.launcher import kernel
from immure.paths import Paths


async def _serve(report: int) -> None:
    service = Service(Paths(dict(os.environ)))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, service.stop)
    try:
        os.write(report, b"\n")
    except BrokenPipeError:
        pass  # who started us did not wait; others may ask already
    os.close(report)
    os.close(report + 1)
    await service.run()


def main(report: int) -> None:
    for descriptor in (report, report + 1):
        os.set_inheritable(descriptor, False)
    os.umask(0o077)
    kernel.hide_memory()
    try:
        asyncio.run(_serve(report))
    except ImmureError as error:
        os.write(report, error.render().encode())
        sys.exit(error.status)


if __name__ == "__main__":
    main(int(sys.argv[1]))
