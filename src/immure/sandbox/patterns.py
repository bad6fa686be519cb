"""Files and directories that a pattern of absolute paths matches: `*` and `?` within a name, `**` for any number of directories.

Rules: no link is followed, and a directory that matches stands for all that is in it.
"""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Final

from immure.errors import UsageError

_MOST: Final = 1000
"""Paths that patterns may close: each is a mount, and costs a start some time."""
_PIECE: Final = re.compile(r"/\*\*/|\*\*|\*|\?|\[!?(?:\][^\]/]*|[^]!/][^\]/]*)\]|.", re.DOTALL)
_MEANING: Final = {"/**/": "/(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def expression(pattern: str) -> re.Pattern[str]:
    """What a whole path must match. Raises UsageError."""
    pieces = []
    for piece in _PIECE.findall(pattern):
        if piece in _MEANING:
            pieces.append(_MEANING[piece])
        elif len(piece) > 1:
            pieces.append("[" + ("^" if piece[1] == "!" else "") + re.sub(r"[^\w-]", r"\\\g<0>", piece[1:-1].removeprefix("!")) + "]")
        else:
            pieces.append(re.escape(piece))
    try:
        return re.compile("".join(pieces), re.DOTALL)
    except re.error as error:
        raise UsageError(f"{pattern} is not a pattern: {error}", code="codex.permissions", hint="[a-z] goes from what is less") from None


def matches(patterns: Iterable[str], depth: int | None) -> tuple[str, ...]:
    """What is there that matches, at most `depth` directories below the fixed part of a pattern. Raises UsageError if it is too much."""
    found: dict[str, None] = {}
    for pattern in patterns:
        fixed = re.split(r"[*?\[\]]", pattern, maxsplit=1)[0].rpartition("/")[0] or "/"
        for path in _walk(fixed, expression(pattern), depth):
            found[path] = None
            if len(found) > _MOST:
                raise UsageError(
                    f"more than {_MOST} paths match {pattern}", code="codex.permissions", hint="deny the directory that they lie in"
                )
    return tuple(found)


def _walk(directory: str, wanted: re.Pattern[str], depth: int | None) -> Iterator[str]:
    if depth == 0:
        return
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        if wanted.fullmatch(entry.path):
            yield entry.path
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, wanted, None if depth is None else depth - 1)
