"""A throw-away user of this machine, for tests and demonstrations: homes, a workspace, a made-up login, settings, and a broker of its own.

Everything lies below one new directory that goes away with it. The command line of the product is the only way in, so what is shown
with it is what a user gets.
"""

import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from immure.testing.leak import Needles
from immure.testing.openai.service import FakeOpenAI, lay_out
from immure.testing.survey import Survey

_ENDING = 10.0
"""Seconds that a broker may take to end its sandboxes and itself after it was told to."""


class Household:
    """`codex` is the Codex CLI to find on PATH, or None; `api_key` signs in by key instead of by ChatGPT account.

    Its end is the last test of every test: no file but Codex's own may hold a token of the stand-in then.

    Below `/var/tmp`, because Codex runs no tool for a home below the temporary directory (seen with 0.169.0).
    """

    def __init__(self, fake: FakeOpenAI, *, codex: str | None = None, api_key: bool = False, below: str = "/var/tmp") -> None:
        self._fake = fake
        self.directory = tempfile.mkdtemp(prefix="immure-household-", dir=below)
        self.home = self._make("home")
        self.immure_home = self._make("home/.immure")
        self.codex_home = self._make("home/.codex")
        self.workspace = self._make("workspace")
        set_up = self._make("set-up")
        lay_out(set_up, fake, api_key=api_key)
        shutil.move(os.path.join(set_up, "auth.json"), self.codex_home)
        shutil.move(os.path.join(set_up, "config.toml"), self._make("home/.immure/config"))
        path = [os.path.dirname(os.path.abspath(codex))] if codex else []
        self.environment = {
            "PATH": os.pathsep.join([*path, os.environ.get("PATH", os.defpath)]),
            "HOME": self.home,
            "IMMURE_HOME": self.immure_home,
            "CODEX_HOME": self.codex_home,
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the broker, if one runs, and with it every sandbox; remove all files.

        Raises AssertionError if one of them holds a token: vault, trail and logs, what agents have kept, and the workspace.
        """
        survey = Survey(needles=Needles(self._fake.account.secrets()))
        try:
            self._end_broker()
            survey.tree(self.directory, skip=[self.codex_home])
        finally:
            shutil.rmtree(self.directory)
        assert not survey.leaks, f"left behind: {', '.join(map(str, survey.leaks))}"

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start `immure ARGUMENTS` in the workspace, with pipes for its two outputs; what is left of it at the end is killed."""
        program = subprocess.Popen(
            [command(), *arguments],
            cwd=self.workspace,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            yield program
        finally:
            if program.poll() is None:
                program.kill()
            program.wait()
            for pipe in (program.stdout, program.stderr):
                if pipe:
                    pipe.close()

    def run(self, *arguments: str, text: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `immure ARGUMENTS` in the workspace to its end, with `text` on its standard input."""
        return subprocess.run(
            [command(), *arguments],
            cwd=self.workspace,
            env=self.environment,
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
        )

    def broker(self) -> int | None:
        """The pid of the broker, or None: the kernel keeps who made a listening socket (unix(7), SO_PEERCRED)."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            directory = os.open(self.immure_home, os.O_RDONLY | os.O_CLOEXEC)
            try:
                # By descriptor, because the path of a socket may have no more than 107 bytes.
                probe.connect(f"/proc/self/fd/{directory}/run/broker.sock")
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            finally:
                os.close(directory)
            pid: int = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            return pid

    def _end_broker(self) -> None:
        pid = self.broker()
        if pid is None:
            return
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            self.run("stop")
            ended, _, _ = select.select([handle], [], [], _ENDING)
            if not ended:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                raise TimeoutError(f"the broker (pid {pid}) did not end within {_ENDING:g} seconds of `immure stop`")
        finally:
            os.close(handle)

    def _make(self, name: str) -> str:
        path = os.path.join(self.directory, name)
        os.mkdir(path, 0o700)
        return path


def command() -> str:
    """The `immure` that belongs to this interpreter."""
    return os.path.join(os.path.dirname(sys.executable), "immure")
