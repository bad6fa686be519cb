"""Fixtures of the broker's tests: a token endpoint over TLS on loopback, and a user's machine beside it."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from token_server import HOST, KEY, Machine, TokenServer, certificate

from immure.vault import Vault


@pytest.fixture(scope="session")
def server_certificate() -> tuple[str, str]:
    return certificate(HOST)


@pytest.fixture
def server(server_certificate: tuple[str, str], tmp_path: Path) -> Iterator[TokenServer]:
    state = TokenServer(ca=server_certificate[0])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.close_connection = True
            state.answer(self, self.rfile.read(int(self.headers["content-length"])))

        def log_message(self, *values: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, address: object) -> None:
            pass  # a client that was killed, or refused the certificate

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = tmp_path / "server.pem"
    pem.write_text("".join(server_certificate))
    context.load_cert_chain(pem)
    with Server(("127.0.0.1", 0), Handler) as http_server:
        # Handshakes belong in the handler's thread: one slow client must not keep the others waiting.
        http_server.socket = context.wrap_socket(http_server.socket, server_side=True, do_handshake_on_connect=False)
        state.port = http_server.server_address[1]
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield state
        http_server.shutdown()
        thread.join()


@pytest.fixture
def machine(tmp_path: Path, server: TokenServer) -> Machine:
    home = tmp_path / "ann" / ".codex"
    home.mkdir(parents=True)
    return Machine(home=str(home.resolve()), vault=Vault(str(tmp_path / "state" / "vault"), KEY), upstreams=(server.upstream,))
