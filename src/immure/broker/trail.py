"""The audit lines of one gate, on their way from its pipe into the sink.

The gate writes to a pipe and blocks when nobody reads: no audit, no traffic. It has no descriptor of the audit file, so even a gate
that has been taken over can add lines but not change or remove what stands there.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable

_CHUNK = 256 * 1024


class Trail:
    """Reads the pipe until the gate has closed it; `finished` then. `writer` is the gate's end."""

    def __init__(self, record: Callable[[bytes], None]) -> None:
        self._record = record
        self._rest = b""
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, _CHUNK)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader, self._readable)
        self.finished: asyncio.Future[None] = self._loop.create_future()

    def _readable(self) -> None:
        data = os.read(self._reader, _CHUNK)
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if newline:
            self._record(whole + newline)
        if not data:
            self._loop.remove_reader(self._reader)
            os.close(self._reader)
            self.finished.set_result(None)
