"""Where Codex's own program is: the native file behind the `codex` that a PATH finds.

`npm install` puts a JavaScript file on the PATH that starts the native program of another package. The sandbox has no use for node, and
its rules speak of the program that opens connections, so that file is looked for the way node would (package resolution: the
`node_modules` of each directory upwards). The native program finds its helpers beside itself, so their common directory goes in as
a whole; one that was installed as a single file goes in alone.

*Fails:* UsageError, with exit status 127 if there is no Codex and 126 if there is one that cannot be run. Of several on the PATH the
first is taken, as the shell would: another one further down is never used in its place.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from immure.errors import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, UsageError
from immure.model import Binary

_INSTALL: Final = "npm install -g @openai/codex"
_PACKAGES: Final = {
    "x86_64": ("codex-linux-x64", "x86_64-unknown-linux-musl"),
    "aarch64": ("codex-linux-arm64", "aarch64-unknown-linux-musl"),
}
_ELF: Final = b"\x7fELF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """`executable` is the native file; `mounts` (files or directories) go in read-only; `directory` goes on the PATH inside."""

    executable: str
    mounts: tuple[str, ...]
    directory: str

    def binaries(self, names: Sequence[str]) -> tuple[Binary, ...]:
        """The files of the agent's own programs, by the names that its profile gives them. Raises UsageError if one is missing."""
        found = []
        for name in names:
            path = self.executable if name == "codex" else os.path.join(self.directory, name)
            try:
                status = os.stat(path)
            except OSError as error:
                raise UsageError(
                    f"{path}: {error.strerror}", code="codex.incomplete", hint=f"install it anew: {_INSTALL}", exit_status=EXIT_NOT_FOUND
                ) from None
            found.append(Binary(path, status.st_dev, status.st_ino))
        return tuple(found)


def find_program(path: str, machine: str) -> Program:
    """The Codex that `codex` means on a PATH (directories joined by colons), for a machine as uname(2) names it. Raises UsageError."""
    entry = _on_path(path)
    real = os.path.realpath(entry)
    if _is_native(real):
        return _installed(real)
    if os.path.basename(real) != "codex.js":
        raise UsageError(
            f"{entry} is neither Codex's program nor the starter that npm installs",
            code="codex.unknown",
            hint=f"put the directory of the real one first in PATH, or: {_INSTALL}",
            exit_status=EXIT_NOT_EXECUTABLE,
        )
    for candidate in _behind_starter(real, machine):
        if os.path.exists(candidate):
            native = os.path.realpath(candidate)
            if _is_native(native) and os.access(native, os.X_OK):
                return _installed(native)
            raise UsageError(
                f"{native} cannot be run", code="codex.not_executable", hint=f"install it anew: {_INSTALL}", exit_status=EXIT_NOT_EXECUTABLE
            )
    raise UsageError(
        f"{entry} is installed without the native program for this machine ({machine})",
        code="codex.incomplete",
        hint=f"install it anew, with optional dependencies: {_INSTALL}",
        exit_status=EXIT_NOT_FOUND,
    )


def _on_path(path: str) -> str:
    for directory in path.split(":"):
        entry = os.path.join(directory, "codex")
        # A relative entry would mean another program in another working directory.
        if os.path.isabs(directory) and os.path.isfile(entry) and os.access(entry, os.X_OK):
            return entry
    raise UsageError("Codex is not installed: no codex on your PATH", code="codex.missing", hint=_INSTALL, exit_status=EXIT_NOT_FOUND)


def _is_native(path: str) -> bool:
    """An ELF file that is called codex something; the programs of version managers, which stand in under any name, are not."""
    if not os.path.basename(path).startswith("codex"):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(len(_ELF)) == _ELF
    except OSError:
        return False


def _installed(native: str) -> Program:
    directory = os.path.dirname(native)
    root = os.path.dirname(directory)
    if os.path.basename(directory) == "bin" and os.path.exists(os.path.join(root, "codex-package.json")):
        return Program(executable=native, mounts=(root,), directory=directory)
    return Program(executable=native, mounts=(native,), directory=directory)


def _behind_starter(starter: str, machine: str) -> Iterator[str]:
    """Where the native program may be, nearest first: packages of its own, then the package of the starter itself, as in older releases."""
    package, triple = _PACKAGES.get(machine, ("", ""))
    if not package:
        return
    below = os.path.join("vendor", triple, "bin", "codex")
    directory = os.path.dirname(starter)
    while directory != os.path.dirname(directory):
        if os.path.basename(directory) != "node_modules":
            yield os.path.join(directory, "node_modules", "@openai", package, below)
        directory = os.path.dirname(directory)
    yield os.path.join(os.path.dirname(os.path.dirname(starter)), below)
