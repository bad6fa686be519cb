"""Files of the workspace that an agent is not to read: secrets beside the source, found by pattern when a sandbox starts.

A pattern without a slash is compared with the name of a file or directory, at any depth; one with a slash with its path below the
shown directory. `*`, `?` and `[…]` are as in a shell, except that `*` takes slashes too, so that a pattern hides rather more than less.

Rules: what a link leads to is hidden where it lies; a directory is hidden with all that is in it, and so is one that cannot be listed.
Git directories are left out: git would not work, and what was committed is in the history anyway.

*Trust:* patterns are the user's, the tree is an agent's. *Fails:* UsageError: a pattern that can match nothing, or matches too much.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from immure.errors import UsageError

_MOST = 1000
"""Paths that one sandbox can hide: each is a mount, and costs its start some time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    files: tuple[str, ...]
    directories: tuple[str, ...]


def find(roots: Sequence[str], patterns: Sequence[str]) -> Hidden:
    """What is hidden of the directories that are shown (real paths). Raises UsageError."""
    named = tuple(dict.fromkeys(_checked(pattern) for pattern in patterns))
    matched = dict.fromkeys(path for root in roots for path in _matches(root, roots, named)) if named else {}
    if len(matched) > _MOST:
        raise UsageError(
            f"more than {_MOST} paths match {', '.join(patterns)}",
            code="workspace.hide",
            hint="hide the directory that they lie in, or write a narrower pattern",
        )
    directories = [path for path in matched if os.path.isdir(path)]
    return Hidden(files=tuple(path for path in matched if path not in directories), directories=tuple(directories))


def _checked(pattern: str) -> str:
    cleaned = pattern.removeprefix("./").strip("/")
    if not cleaned or ".." in cleaned.split("/") or "\0" in cleaned:
        raise UsageError(
            f"--hide {pattern} can match nothing in the workspace",
            code="workspace.hide",
            hint="a name such as .env or *.pem, or a path below the workspace such as config/*.key",
        )
    return cleaned


def _matches(root: str, roots: Sequence[str], patterns: Iterable[str]) -> Iterator[str]:
    names = [pattern for pattern in patterns if "/" not in pattern]
    paths = [pattern for pattern in patterns if "/" in pattern]
    ahead = [root]
    while ahead:
        directory = ahead.pop()
        try:
            with os.scandir(directory) as listed:
                entries = list(listed)
        except OSError:
            yield directory  # its owner inside could open it, and what is in it is not known
            continue
        for entry in entries:
            below = entry.path.removeprefix(root + "/")
            if any(fnmatchcase(entry.name, name) for name in names) or any(fnmatchcase(below, path) for path in paths):
                real = os.path.realpath(entry.path)
                if any(real.startswith(shown + "/") for shown in roots) and os.path.exists(real):
                    yield real
            elif entry.is_dir(follow_symlinks=False) and entry.name != ".git":
                ahead.append(entry.path)
