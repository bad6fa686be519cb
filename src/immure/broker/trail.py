"""The audit lines of one gate, on their way from its pipe into the sink.

The gate writes to a pipe and blocks when nobody reads: no audit, no traffic. It has no descriptor of the audit file, so even a gate
that has been taken over can add lines but not change or remove what stands there.

*Fails:* a line that cannot be kept ends the sandbox. The pipe is closed at once, and a gate without its pipe serves nobody.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable

from immure.errors import ImmureError

_CHUNK = 256 * 1024


class Trail:
    """Reads the pipe until the gate has closed it; `finished` then. `writer` is the gate's end."""

    def __init__(self, record: Callable[[bytes], None], on_failure: Callable[[ImmureError], None]) -> None:
        self._record = record
        self._on_failure = on_failure
        self._rest = b""
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, _CHUNK)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader, self._readable)
        self.finished: asyncio.Future[None] = self._loop.create_future()

    def _readable(self) -> None:
        data = os.read(self._reader, _CHUNK)
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        try:
            if newline:
                self._record(whole + newline)
        except ImmureError as error:
            self._close()
            self._on_failure(error)
            return
        if not data:
            self._close()

    def _close(self) -> None:
        self._loop.remove_reader(self._reader)
        os.close(self._reader)
        self.finished.set_result(None)
