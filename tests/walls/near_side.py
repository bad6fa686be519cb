"""The command line as a user calls it, in every way that a shell can: directory, variables, streams, signals."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from immure.testing.household import Household, command

PATIENCE = 30.0


def call(
    home: Household,
    *arguments: str,
    data: bytes = b"",
    cwd: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """`immure ARGUMENTS` to its end, in the workspace or in `cwd`, with more variables."""
    return subprocess.run(
        [command(), *arguments],
        cwd=cwd or home.workspace,
        env={**home.environment, **(environment or {})},
        input=data,
        capture_output=True,
        timeout=PATIENCE,
    )


@contextmanager
def begun(
    home: Household, *arguments: str, stdin: int | IO[Any] = subprocess.DEVNULL, stderr: int | IO[Any] = subprocess.PIPE, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """`immure ARGUMENTS` while it runs, with a pipe for its output."""
    with subprocess.Popen(
        [command(), *arguments], cwd=home.workspace, env=home.environment, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, **options
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def line(program: subprocess.Popen[bytes]) -> str:
    """The next line that it writes."""
    assert program.stdout
    return program.stdout.readline().decode().rstrip("\n")


def ended(program: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Its exit status and what it wrote to stderr."""
    _, stderr = program.communicate(timeout=PATIENCE)
    return program.returncode, (stderr or b"").decode()


def assert_one_error(status: int, stderr: str | bytes, *, expected: int, code: str) -> None:
    """What a user sees of anything that goes wrong: one `error:` line with its code, one `hint:` line, and the documented status.

    `code` may be several, with `|` between.
    """
    text = stderr.decode() if isinstance(stderr, bytes) else stderr
    lines = [line for line in text.splitlines() if not line.startswith("immure: ")]  # what it says of itself is no error
    assert [line.split(":")[0] for line in lines] == ["error", "hint"], text
    assert any(lines[0].endswith(f"[{each}]") for each in code.split("|")), text
    assert status == expected


def children(pid: int) -> list[int]:
    """The children of a process, oldest first (proc(5), /proc/PID/task/TID/children)."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def command_line(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def processes(marker: str) -> list[int]:
    """The processes of this machine, other than this one, whose command line holds `marker`."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid() and marker in command_line(int(name))]


def make_repository(directory: Path) -> None:
    """A repository with a submodule, a nested repository, a linked working tree, hooks in a place of its own, and an included file."""

    def git(*words: str, where: Path = directory) -> None:
        author = ["-c", "user.name=someone", "-c", "user.email=someone@example.com", "-c", "protocol.file.allow=always"]
        subprocess.run(["git", *author, *words], cwd=where, check=True, capture_output=True)

    git("init", "--quiet", ".")
    (directory / ".git" / "hooks" / "post-commit").write_text("#!/bin/sh\n")
    git("init", "--quiet", "nested")
    git("commit", "--quiet", "--allow-empty", "--message", "first", where=directory / "nested")
    git("submodule", "--quiet", "add", "--name", "sub", "./nested", "vendor/sub")
    git("commit", "--quiet", "--message", "first")
    git("worktree", "add", "--quiet", "linked")
    (directory / "tools" / "hooks").mkdir(parents=True)
    git("config", "core.hooksPath", "tools/hooks")
    (directory / "team.gitconfig").touch()
    git("config", "include.path", "../team.gitconfig")
