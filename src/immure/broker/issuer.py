"""One request to the real issuer of logins: the only place where a refresh token leaves the machine.

The public keys of the issuer are at another of its hosts, which is asked without any secret.

A plain HTTPS request in the calling thread: no proxy, no redirect, no second try. A private or loopback address is refused unless the
user's settings map the host to it, so that a poisoned name cannot collect tokens inside the user's network; the certificate is verified
for the real name in either case.

*Trust:* the resolver and the network. *Fails:* Unanswered, which says whether the request may have reached the other side.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from typing import Final

from immure.config.settings import Upstream
from immure.gate.reach import objection
from immure.model import Secret
from immure.providers.agent_identity import KEY_SET_HOST, KEY_SET_PATH
from immure.version import __version__

HOST: Final = "auth.openai.com"
PORT: Final = 443
_CONNECT: Final = 10.0
PATIENCE: Final = 30.0
"""Seconds for an answer to begin, and again for it to be complete."""
_MAX_ANSWER: Final = 256 * 1024


class Unanswered(Exception):
    """No complete answer came. `sent`: the request had begun to leave, so the other side may have acted on it."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class Issuer:
    """Speaks to the issuer of ChatGPT logins, through the mapping of its host if the settings hold one."""

    __slots__ = ("_patience", "_upstreams")

    def __init__(self, upstreams: Sequence[Upstream], patience: float = PATIENCE) -> None:
        self._patience = patience
        self._upstreams = {upstream.host: upstream for upstream in reversed(upstreams)}

    def post(self, path: str, body: bytes, content_type: str = "application/json") -> tuple[int, bytes]:
        """Status and body of the answer. Raises Unanswered."""
        return self._ask(HOST, "POST", path, body, {"content-type": content_type})

    def get(self, path: str, bearer: Secret) -> tuple[int, bytes]:
        """Status and body of the answer to a request with a bearer token (RFC 6750). Raises Unanswered."""
        return self._ask(HOST, "GET", path, None, {"authorization": f"Bearer {bearer.reveal()}"})

    def key_set(self) -> tuple[int, bytes]:
        """Status and body of the answer to the question for the public keys that agent identities are signed with. Raises Unanswered."""
        return self._ask(KEY_SET_HOST, "GET", KEY_SET_PATH, None, {})

    def _ask(self, host: str, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = _Connection(host, self._connect(host))
        try:
            connection.request(method, path, body, {**headers, "user-agent": f"immure/{__version__}"})
            response = connection.getresponse()
            return response.status, _body(response, time.monotonic() + self._patience)
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(f"{host} did not answer: {_described(error)}", sent=True) from None
        finally:
            connection.close()

    def _connect(self, host: str) -> ssl.SSLSocket:
        upstream = self._upstreams.get(host)
        context = ssl.create_default_context(cadata=upstream.ca_pem if upstream else None)
        failure = ""
        for address, port in ((upstream.address, upstream.port),) if upstream else _addresses(host):
            try:
                plain = socket.create_connection((address, port), timeout=_CONNECT)
            except OSError as error:
                failure = f"cannot connect to {host}: {_described(error)}"
                continue
            try:
                secured = context.wrap_socket(plain, server_hostname=host)
            except (OSError, ValueError) as error:
                plain.close()
                raise Unanswered(f"no secure connection to {host}: {_described(error)}", sent=False) from None
            secured.settimeout(self._patience)
            return secured
        raise Unanswered(failure or f"{host} has no public address", sent=False)


class _Connection(http.client.HTTPConnection):
    """HTTP over a connection that is made and checked already; it writes the real host's name into the request."""

    auto_open = 0

    def __init__(self, host: str, secured: ssl.SSLSocket) -> None:
        super().__init__(host)
        self.sock = secured


def _addresses(host: str) -> Iterator[tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unanswered(f"cannot resolve {host}: {_described(error)}", sent=False) from None
    for _, _, _, _, address in found:
        if objection(str(address[0])) is None:
            yield str(address[0]), PORT


def _body(response: http.client.HTTPResponse, deadline: float) -> bytes:
    body = b""
    while piece := response.read1(64 * 1024):
        body += piece
        if len(body) > _MAX_ANSWER:
            raise http.client.HTTPException
        if time.monotonic() > deadline:
            raise TimeoutError
    if response.length:
        raise http.client.IncompleteRead(body, response.length)
    return body


def _described(error: Exception) -> str:
    """What went wrong, without any bytes of the peer: some HTTP errors quote the line that they could not read."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, http.client.HTTPException):
        return "its answer is cut short, too long, or not HTTP"
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
