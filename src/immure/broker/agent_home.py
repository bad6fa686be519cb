"""The agent's home of one sandbox, as it lies on the host: made for every sandbox, filled when a provider is attached.

*Trust:* the agent writes in it as it likes while the sandbox runs. *Fails:* closed: nothing that lies in it is followed or opened. A
file is written beside and moved into its place, which replaces a symbolic link rather than what it points to (rename(2)).
"""

import os
import secrets
from collections.abc import Collection, Mapping
from contextlib import suppress

from immure.errors import UsageError


def make(home: str) -> None:
    os.mkdir(home, 0o700)


def fill(home: str, files: Mapping[str, bytes], keep: Collection[str] = ()) -> None:
    """Put files into the home, each whole or not at all; one of `keep` that is there stays as the agent has it.

    Raises UsageError if the agent has put a directory in the place of one, or the home went with its sandbox.
    """
    try:
        directory = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UsageError("the sandbox has ended meanwhile", code="sandbox.ended", hint="immure list shows those that run") from None
    try:
        there = frozenset(os.listdir(directory)).intersection(keep)
        for name, content in files.items():
            if name not in there:
                _replace(directory, name, content)
    except IsADirectoryError:
        raise UsageError(
            f"there is a directory in the place of {name} in the agent's home", code="provider.home", hint="remove it inside, and try again"
        ) from None
    finally:
        os.close(directory)


def _replace(directory: int, name: str, content: bytes) -> None:
    beside = f".{name}-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(beside, flags, 0o600, dir_fd=directory), "wb") as file:
        file.write(content)
    try:
        os.rename(beside, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=directory)
        raise
