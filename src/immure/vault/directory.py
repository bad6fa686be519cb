"""The directory that holds a vault: made private, and refused when it is not.

A 0600 file in a directory that others may write can be replaced; in one that others may search it can be watched. So the directory is
the user's own and nobody else's (0700), and everything below it is opened without following a symbolic link.
"""

import os
import stat

from immure.errors import HostError


def make_private(path: str) -> None:
    """Create the directory (0700, and its parents) if it is missing. Raises HostError if it exists and others may look in."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        status = os.stat(path, follow_symlinks=False)
    except OSError as error:
        raise HostError(
            f"cannot make the vault's directory {path}: {error.strerror}",
            code="vault.directory",
            hint="check the owner and free space of the directory above it, or set IMMURE_HOME",
        ) from None
    if not stat.S_ISDIR(status.st_mode):
        raise HostError(f"{path} is not a directory", code="vault.directory", hint="move it away and try again")
    require_private(path, status)


def require_private(path: str, status: os.stat_result) -> None:
    """Raise HostError unless the file or directory is owned by this user and closed to group and others."""
    if status.st_uid != os.geteuid():
        raise HostError(
            f"{path} belongs to user {status.st_uid}, not to you (user {os.geteuid()})",
            code="vault.permissions",
            hint=f"if it is yours to trust: chown {os.geteuid()} {path}",
        )
    if status.st_mode & 0o077:
        mode = "700" if stat.S_ISDIR(status.st_mode) else "600"
        raise HostError(
            f"{path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o})",
            code="vault.permissions",
            hint=f"if nobody else has used it: chmod {mode} {path}",
        )


def sync(path: str) -> None:
    """Make the names in a directory durable (fsync(2): the file's own fsync does not do that)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
