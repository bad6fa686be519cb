"""Where the git directories of a workspace are, as git finds them: its own, those of submodules, linked working trees and nested ones.

Rules: nothing is run. git itself would obey the configuration of the very repositories that are looked at. Reads are few and bounded:
two levels down, and wherever .gitmodules says.

*Trust:* the content is an agent's, of this run or an earlier one. *Fails:* what cannot be read is not found; what is found is only ever
protected more.
"""

import os
import re
import stat
from collections.abc import Iterator

_LEVELS = 2
"""How far down repositories are looked for: a directory of projects, and the packages of a project."""
_LARGEST = 1 << 20
"""Bytes of a configuration file. git writes a few hundred."""
_VALUE = rb"^[ \t]*(?:\[[^\]\n]*\][ \t]*)?%s[ \t]*=[ \t]*(.*?)[ \t]*$"
_PATH = re.compile(_VALUE % b"path", re.MULTILINE | re.IGNORECASE)
_HOOKS_PATH = re.compile(_VALUE % b"hookspath", re.MULTILINE | re.IGNORECASE)


def is_git_directory(path: str) -> bool:
    """As git decides it (setup.c, is_git_directory): a HEAD, and, unless it borrows them, objects and refs."""
    if not os.path.lexists(f"{path}/HEAD") or os.path.isdir(f"{path}/HEAD"):
        return False
    return os.path.isfile(f"{path}/commondir") or (os.path.isdir(f"{path}/objects") and os.path.isdir(f"{path}/refs"))


def modules(git: str) -> Iterator[str]:
    """The git directories of submodules, which git keeps in that of the repository, by names that may have slashes; theirs too."""
    ahead = [f"{git}/modules"]
    while ahead:
        for path in _directories(ahead.pop()):
            if is_git_directory(path):
                yield path
                ahead.append(f"{path}/modules")
            else:
                ahead.append(path)


def linked(git: str) -> Iterator[str]:
    """The directories that a repository keeps for its linked working trees (git-worktree(1))."""
    return _directories(f"{git}/worktrees")


def nested(workspace: str) -> Iterator[str]:
    """The `.git` of repositories and submodules below the top, files or directories, down to `_LEVELS`; submodules wherever they are."""
    found: dict[str, None] = {}
    ahead = [workspace]
    for _ in range(_LEVELS):
        ahead = [below for path in ahead for below in _directories(path) if os.path.basename(below) not in (".git", "node_modules")]
        found.update(dict.fromkeys(f"{path}/.git" for path in ahead))
    for name in _values(f"{workspace}/.gitmodules", _PATH):
        if _is_below(name):
            found[f"{workspace}/{os.path.normpath(name)}/.git"] = None
    return (path for path in found if os.path.lexists(path))


def hooks_path(git: str, workspace: str) -> str | None:
    """The directory of the workspace that core.hooksPath names instead of `hooks`, if it names one."""
    named = _values(f"{git}/config", _HOOKS_PATH)
    return _within(workspace, named[-1]) if named else None


def included(git: str, workspace: str) -> Iterator[str]:
    """The files of the workspace that the configuration includes (`include.path`, relative to the configuration)."""
    for name in _values(f"{git}/config", _PATH):
        path = _within(workspace, name if name.startswith("~") else os.path.join(git, name))
        if path is not None and not path.startswith(f"{git}/"):
            yield path


def _within(workspace: str, name: str) -> str | None:
    path = os.path.normpath(os.path.join(workspace, name))
    return path if path.startswith(workspace + "/") and not name.startswith("~") else None


def _is_below(name: str) -> bool:
    return not os.path.isabs(name) and os.path.normpath(name).split("/")[0] not in ("", ".", "..", ".git")


def _values(path: str, pattern: re.Pattern[bytes]) -> list[str]:
    """What a configuration file gives a key. Quotes are taken off; a key of another section that is called the same is found too."""
    try:
        # Not by a link, which leads elsewhere, and without waiting for the other end of a planted FIFO.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            content = file.read(_LARGEST) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        return []
    return [os.fsdecode(value.strip(b'"')) for value in pattern.findall(content) if value.strip(b'"')]


def _directories(path: str) -> Iterator[str]:
    """Its subdirectories, links left out; none if it cannot be read."""
    try:
        with os.scandir(path) as entries:
            found = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        found = []
    return iter(found)
