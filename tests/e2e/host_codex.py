"""The user's own Codex, outside any wall, led to the stand-in by a proxy: the way that Codex offers for that (HTTPS_PROXY)."""

import os
import socket
import subprocess
import threading
from types import TracebackType
from typing import Self

from real_codex import CODEX

from immure.testing.household import Household
from immure.testing.openai.service import HOSTS, FakeOpenAI

QUIET = "check_for_update_on_startup = false\n[analytics]\nenabled = false\n[features]\napps = false\nplugins = false\n"


class HostCodex:
    """Runs the real Codex of a household on the host. A context manager: the proxy lives as long."""

    def __init__(self, home: Household, fake: FakeOpenAI) -> None:
        self._home = home
        self._fake = fake
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._acceptor = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._acceptor.start()
        authority = os.path.join(home.directory, "set-up", "ca.pem")
        proxy = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._environment = home.environment | {"HTTPS_PROXY": proxy, "CODEX_CA_CERTIFICATE": authority}
        with open(os.path.join(home.codex_home, "config.toml"), "w") as file:
            file.write(QUIET)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(CODEX), *arguments],
            cwd=self._home.workspace,
            env=self._environment,
            input=text,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="proxied", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as reader:
            target = reader.readline().split()[1].decode()
            while reader.readline() not in (b"\r\n", b""):
                pass
            if target.rpartition(":")[0] not in HOSTS:
                client.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
                return
            with socket.create_connection((self._fake.host, self._fake.port)) as upstream:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
                back.start()
                _pump(client, upstream)
                back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # Either side may go at any time; the other sees the end.
