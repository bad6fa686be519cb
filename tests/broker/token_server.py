"""A token endpoint over TLS on loopback, and what stands on a user's machine beside it."""

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from immure.broker.login import Logins
from immure.config.settings import Upstream
from immure.vault import Vault

HOST = "auth.openai.com"
NOW = 1_800_000_000.0
KEY = bytes(range(32))


def jwt(payload: dict[str, Any], signature: str = "fake-signature") -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip('=')}.{signature}"


def id_token(account: str = "acct-0000", plan: str = "pro") -> str:
    auth = {"chatgpt_plan_type": plan, "chatgpt_account_id": account, "chatgpt_user_id": "user-0000"}
    return jwt({"email": "ann@example.com", "https://api.openai.com/auth": auth})


def certificate(name: str) -> tuple[str, str]:
    """A self-signed certificate for a name, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM).decode(), secret.decode()


@dataclass
class TokenServer:
    """Rotates as the real one does: a refresh token is good for one use. `reply`, if set, answers in its place.

    `reply(handler, body)` writes to the handler and returns; `seen` are (method, path, headers, body) in order of arrival.
    """

    ca: str = ""
    port: int = 0
    good: str = "fake-rt-0000"
    rotations: int = 0
    reply: Callable[[BaseHTTPRequestHandler, bytes], None] | None = None
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def upstream(self) -> Upstream:
        return Upstream(host=HOST, address="127.0.0.1", port=self.port, ca_pem=self.ca)

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        with self.lock:
            self.seen.append((handler.command, handler.path, {n.lower(): v for n, v in handler.headers.items()}, body))
            if self.reply is not None:
                self.reply(handler, body)
                return
            if json.loads(body)["refresh_token"] != self.good:
                send(handler, 401, {"error": {"message": "Already used.", "code": "refresh_token_reused"}})
                return
            self.rotate()
            tokens = {"access_token": self.access, "refresh_token": self.good, "id_token": id_token()}
            send(handler, 200, tokens)

    def rotate(self) -> None:
        self.rotations += 1
        self.good = f"fake-rt-{self.rotations:04}"

    @property
    def access(self) -> str:
        return f"fake-at-{self.rotations:04}"


def send(handler: BaseHTTPRequestHandler, status: int, content: object) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@dataclass
class Machine:
    """A user's machine: a Codex home with a login, a vault, an audit trail, a clock that stands still."""

    home: str
    vault: Vault
    upstreams: tuple[Upstream, ...]
    now: float = NOW
    said: list[str] = field(default_factory=list)
    trail: list[bytes] = field(default_factory=list)

    def sign_in(
        self, refresh: str = "fake-rt-0000", access: str = "fake-at-0000", account: str | None = "acct-0000", **fields: Any
    ) -> None:
        tokens = {"id_token": id_token(account or "acct-0000"), "access_token": access, "refresh_token": refresh, "account_id": account}
        issued = datetime.fromtimestamp(self.now, UTC).isoformat()
        self.write({"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": tokens, "last_refresh": issued} | fields)

    def write(self, document: object) -> None:
        Path(self.home, "auth.json").write_text(json.dumps(document))

    @property
    def file(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(Path(self.home, "auth.json").read_text())
        return document

    @property
    def refresh_token_outside(self) -> str:
        token: str = self.file["tokens"]["refresh_token"]
        return token

    def logins(self) -> Logins:
        return Logins(self.vault, self.upstreams, self.trail.append, lambda: self.now)

    def open(self) -> Any:
        return self.logins().open(self.home, self.said.append)

    @property
    def activities(self) -> list[str]:
        return [json.loads(line)["activity_name"] for line in self.trail]

    @property
    def record(self) -> dict[str, Any]:
        record = self.vault.get(f"codex {self.home}")
        assert record is not None
        return record
