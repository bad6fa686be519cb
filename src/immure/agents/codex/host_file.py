"""The `auth.json` of the user's own Codex, given the tokens that immure had issued, so that Codex goes on working outside.

A refresh token is good for one use. Whoever uses it must tell the other holders, and the file is where Codex looks: it reads the file
again before it renews, and before it saves what it has renewed. So the file is replaced as Codex itself does it: under the locks
`auth.lock` and `auth.json.lock` of its home, in this order (flock(2); seen with Codex 0.169), by a new file and rename(2).

Rules: nothing is written unless the file still holds what the caller expects, looked at under the locks; fields that are not known here
stay as they are, and so do mode and owner. A link is followed: what it leads to is replaced, not the link.

*Trust:* the directory is the user's own. *Fails:* OSError, TimeoutError among them, with the old file in its place.
"""

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from immure import flock
from immure.agents.codex.login_file import ImportedLogin, read_login, timestamp
from immure.errors import UsageError
from immure.model import Secret

_LOCKS: Final = ("auth.lock", "auth.json.lock")
PATIENCE: Final = 5.0
"""Seconds to wait for Codex, which holds its locks for as long as it takes to write a small file."""
_DRAFT: Final = ".auth-immure"
"""One name, so that what a killed process left is overwritten by the next; the locks keep two writers apart."""
_TOKENS: Final = ("id_token", "access_token", "refresh_token")


def give_tokens(
    path: str, tokens: Mapping[str, Secret], issued: float, expected: Callable[[ImportedLogin], bool], patience: float = PATIENCE
) -> bool:
    """Put the tokens of a login, issued at that time (seconds since the epoch), into the file if it holds what is expected.

    Returns whether it did. Raises OSError.
    """
    real = os.path.realpath(path)
    with _locked(os.path.dirname(path), patience):
        try:
            if not expected(read_login(path)):
                return False
        except UsageError:
            return False  # gone, or no login any more: the user has signed out, or Codex has moved it elsewhere
        with open(real, "rb") as file:
            document = json.loads(file.read())
            status = os.fstat(file.fileno())
        document["tokens"] |= {name: tokens[name].reveal() for name in _TOKENS if name in tokens}
        document["last_refresh"] = timestamp(issued)
        _replace(real, json.dumps(document, indent=2).encode(), status)
        return True


@contextmanager
def _locked(directory: str, patience: float) -> Iterator[None]:
    held: list[int] = []
    try:
        for name in _LOCKS:
            fd = os.open(os.path.join(directory, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            held.append(fd)
            try:
                flock.acquire(fd, patience)
            except TimeoutError:
                raise TimeoutError(f"Codex has been holding {name} for {patience:.0f} seconds") from None
        yield
    finally:
        for fd in held:
            os.close(fd)


def _replace(path: str, content: bytes, status: os.stat_result) -> None:
    """Put `content` at `path`, durably, whole or not at all, with the mode and the owner that the old file had."""
    directory = os.path.dirname(path)
    draft = os.path.join(directory, _DRAFT)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb") as file:
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(fd, status.st_uid, status.st_gid)
            os.fchmod(fd, stat.S_IMODE(status.st_mode))
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.rename(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
    above = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(above)
    finally:
        os.close(above)
