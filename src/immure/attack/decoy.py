"""What is attacked: a directory of decoys that is made for the occasion, and listeners on the host that count who came.

    HOME/.immure-attack-XXXX/secret       a file that nobody inside may read
                             workspace    the workspace of the sandbox: a repository with all that is protected
                             control      a copy of it, for the controls outside
                             control.sock, and TCP, UDP and abstract Unix sockets

So an attack that succeeds finds nothing of worth, and breaks nothing but decoys.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from immure.attack.attack import Targets
from immure.errors import HostError
from immure.sandbox.protected import GIT_DIRECTORY, WORKING_TREE

HIDE = (".env", "deep/*.key", "private", "by-a-link")
"""Patterns for `--hide`, which the hidden decoys match."""
_SECRET = "what nobody inside may read"
_ANSWER = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"
_PATIENCE = 600
"""Seconds after which a daemon that was left behind ends of itself."""


@dataclass(slots=True)
class Decoy:
    """`heard` are the listeners that somebody came to."""

    directory: str
    targets: Targets
    heard: list[str] = field(default_factory=list)

    @property
    def workspace(self) -> str:
        return f"{self.directory}/workspace"

    @property
    def control(self) -> str:
        return f"{self.directory}/control"

    def snapshot(self) -> dict[str, bytes | None]:
        """Everything in the workspace that is protected or hidden, as it lies on the host."""
        git = [f"{self.workspace}/{name}" for name in (".git", ".git/modules/sub", ".git/worktrees/linked", "nested/.git")]
        paths = [f"{directory}/{one.path}" for directory in git for one in GIT_DIRECTORY]
        paths += [f"{self.workspace}/{one.path}" for one in WORKING_TREE]
        paths += [f"{self.workspace}/{name}" for name in ("tools/hooks", "team.gitconfig", "vendor/sub/.git", "deep", "private")]
        return {path: _content(path) for top in paths for path in _below(top) if os.path.lexists(path)}


def _below(top: str) -> Iterator[str]:
    yield top
    for directory, directories, files in os.walk(top):
        yield from (os.path.join(directory, name) for name in (*directories, *files))


def _content(path: str) -> bytes | None:
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read()


@contextmanager
def decoy(home: str, broker: str) -> Iterator[Decoy]:
    """`home` is the user's, in which the decoys lie; `broker` the path of the broker's socket. Raises HostError."""
    try:
        directory = tempfile.mkdtemp(prefix=".immure-attack-", dir=home)
    except OSError as error:
        what = f"no directory for decoys can be made in {home}: {error.strerror}"
        raise HostError(what, code="attack.decoy", hint=f"ls -ld {home}") from None
    try:
        made = Decoy(directory, {"home": home, "own": os.path.basename(directory), "pid": os.getpid(), "broker": broker})
        made.targets |= {"secret": f"{directory}/secret", "lock": f"{made.workspace}/lock", "patience": _PATIENCE}
        with open(f"{directory}/secret", "w") as file:
            file.write(_SECRET)
        _furnish(made.workspace)
        shutil.copytree(made.workspace, made.control, symlinks=True)
        os.mkdir(f"{made.control}/.codex")
        with _listening(made):
            yield made
    finally:
        shutil.rmtree(directory)


# ---------------------------------------------------------------- the workspace


def _furnish(directory: str) -> None:
    """A repository with a submodule, a nested one, a linked working tree, hooks in a place of its own; and files that are to be hidden."""
    os.mkdir(directory)
    _repository(directory)
    for name in ("deep", "private", "tools/hooks"):
        os.makedirs(f"{directory}/{name}")
    for name in (".git/hooks/post-commit", "team.gitconfig", "private/file"):
        _write(f"{directory}/{name}", "")
    for name in (".env", "removed.key", "replaced.key", "real-secret"):
        _write(f"{directory}/deep/{name}", _SECRET)
    os.symlink("deep/real-secret", f"{directory}/by-a-link")


def _repository(directory: str) -> None:
    _git(directory, "init", "--quiet", ".")
    _git(directory, "init", "--quiet", "nested")
    _git(f"{directory}/nested", "commit", "--quiet", "--allow-empty", "--message", "first")
    _git(directory, "submodule", "--quiet", "add", "--name", "sub", "./nested", "vendor/sub")
    _git(directory, "commit", "--quiet", "--message", "first")
    _git(directory, "worktree", "add", "--quiet", "linked")
    _git(directory, "config", "core.hooksPath", "tools/hooks")
    _git(directory, "config", "include.path", "../team.gitconfig")


def _git(directory: str, *words: str) -> None:
    author = ["-c", "user.name=someone", "-c", "user.email=someone@example.com", "-c", "protocol.file.allow=always"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    try:
        subprocess.run(["git", *author, *words], cwd=directory, env=environment, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        what = "git is not installed, and a repository is one of the decoys"
        raise HostError(what, code="attack.decoy", hint="apt install git") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().rpartition("\n")[2]
        raise HostError(f"git cannot make a repository: {said}", code="attack.decoy", hint=f"git init {directory}") from None


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


# ---------------------------------------------------------------- listeners


def _own_address() -> str:
    """An address of the host that is not loopback, if it has one: no packet is sent to learn it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@contextmanager
def _listening(decoy: Decoy) -> Iterator[None]:
    abstract = f"\0immure-attack-{os.getpid()}"
    path = f"{decoy.directory}/control.sock"
    wanted: dict[str, tuple[int, int, tuple[str, int] | str]] = {
        "tcp": (socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 0)),
        "tcp6": (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
        "udp": (socket.AF_INET, socket.SOCK_DGRAM, ("0.0.0.0", 0)),
        "udp6": (socket.AF_INET6, socket.SOCK_DGRAM, ("::1", 0)),
        "path": (socket.AF_UNIX, socket.SOCK_STREAM, path),
        "abstract": (socket.AF_UNIX, socket.SOCK_STREAM, abstract),
        "datagram": (socket.AF_UNIX, socket.SOCK_DGRAM, f"{abstract}-datagram"),
    }
    made: dict[str, socket.socket] = {}
    threads = []
    try:
        for name, (family, kind, address) in wanted.items():
            bound = _bound(family, kind, address)
            if bound is None:
                continue
            made[name] = bound
            threads.append(threading.Thread(target=_listen, args=(name, made[name], decoy.heard)))
            threads[-1].start()
        ports = {name: one.getsockname()[1] for name, one in made.items() if one.family != socket.AF_UNIX}
        decoy.targets |= {**ports, "path": path, "abstract": abstract, "datagram": f"{abstract}-datagram", "address": _own_address()}
        yield
    finally:
        for one in made.values():
            one.shutdown(socket.SHUT_RDWR) if one.type == socket.SOCK_STREAM else _wake(one)
        for thread in threads:
            thread.join()
        for one in made.values():
            one.close()


def _bound(family: int, kind: int, address: tuple[str, int] | str) -> socket.socket | None:
    """None where the host has no IPv6. Raises HostError."""
    try:
        made = socket.socket(family, kind)
    except OSError:
        return None
    try:
        made.bind(address)
    except OSError as error:
        made.close()
        if family == socket.AF_INET6:
            return None
        what = f"a decoy cannot listen at {address!r}: {error}"
        raise HostError(what, code="attack.decoy", hint="HOME=DIR names a shorter path") from None
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


def _wake(receiver: socket.socket) -> None:
    with socket.socket(receiver.family, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", receiver.getsockname())


def _listen(name: str, listener: socket.socket, heard: list[str]) -> None:
    while True:
        try:
            if listener.type == socket.SOCK_STREAM:
                connection, _ = listener.accept()
                heard.append(name)
                _answer(connection)
            elif listener.recv(64):
                heard.append(name)
            else:
                return
        except OSError:
            return


def _answer(connection: socket.socket) -> None:
    """Whoever asks is told; whoever goes without asking is gone."""
    with connection:
        connection.settimeout(1)
        try:
            connection.recv(4096)
            connection.sendall(_ANSWER)
        except OSError:
            pass
