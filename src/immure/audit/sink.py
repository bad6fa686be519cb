"""Where audit lines are kept: one file, only ever appended to, readable by its owner alone.

A line counts as kept when write(2) returns: it survives the death of every process of ours, and is lost only with the machine.
fsync for each decision would cost more than the request it records.

*Fails:* a line that cannot be written is a HostError; whoever asked for it must then not go on as if it had been kept.
"""

import os
import stat

from immure.errors import Fault, HostError


class Sink:
    """The audit file at `path`, created with its directory if need be. Close it when done."""

    __slots__ = ("_fd", "_path", "_torn")

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            # O_NOFOLLOW: a link here would let whoever made it choose which file grows.
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._failed(error) from None
        try:
            self._claim()
        except OSError as error:
            self.close()
            raise self._failed(error) from None
        except HostError:
            self.close()
            raise

    def _claim(self) -> None:
        """Make sure that the file is one, and the owner's alone; see whether it ends within a line."""
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            raise HostError(f"the audit trail {self._path} is not a file", code="audit.file", hint=f"mv {self._path} {self._path}.old")
        if stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(self._fd, 0o600)
        self._torn = status.st_size > 0 and os.pread(self._fd, 1, status.st_size - 1) != b"\n"

    def write(self, lines: bytes) -> None:
        """Append whole lines. Raises HostError if they could not be kept in full; the next ones then begin on a line of their own."""
        if not lines.endswith(b"\n"):
            raise Fault("an audit line without its end", code="audit.line")
        pending = b"\n" + lines if self._torn else lines
        written = 0
        try:
            while written < len(pending):
                written += os.write(self._fd, memoryview(pending)[written:])
        except OSError as error:
            raise self._failed(error) from None
        finally:
            if written:
                self._torn = pending[written - 1] != 0x0A

    def close(self) -> None:
        os.close(self._fd)

    def _failed(self, error: OSError) -> HostError:
        reason = os.strerror(error.errno) if error.errno else str(error)
        what = f"the audit trail {self._path} cannot be written: {reason}"
        return HostError(what, code="audit.write", hint=f"make room on the disk, or check who owns {os.path.dirname(self._path)}")
