"""Codex's `auth.json`: the real one read on the host, and the one that the agent finds inside.

The format is Codex's own and unwritten; what is relied on here was tried against Codex 0.169. Codex ignores a file that it cannot
parse without a word and goes on unauthenticated, so reading is strict here and says what is wrong.

Three ways to sign in are understood: a ChatGPT subscription (`tokens`), an agent identity (a JWT) and an API key (`OPENAI_API_KEY`). Where
a file holds a subscription and a key and does not say which is meant, the subscription is: Codex itself would take the key, which is
billed by use.

*Trust:* the real file is the user's own. *Fails:* UsageError with the command that signs in; no message shows a value.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Literal

from immure.errors import Fault, UsageError
from immure.model import Secret

FILE: Final = "auth.json"
_MAX_SIZE: Final = 1 << 20
SHORTEST: Final = 8
"""Shorter values cannot be told from ordinary text, so they could not be kept out of answers."""
_ISSUER: Final = "https://auth.openai.com"
_UNSUPPORTED: Final[Mapping[str, str]] = {
    "personal_access_token": "a personal access token",
    "personalAccessToken": "a personal access token",
    "chatgptAuthTokens": "tokens that another program renews",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedLogin:
    """What a real `auth.json` holds.

    `secrets`: `agent_identity`, or `api_key`, or `access_token`, `id_token` and where present `refresh_token`, `account_id` and `api_key`;
    `last_refresh` in seconds since the epoch; `client_id` is the OAuth client that the tokens were issued to, None if the file does not
    say.
    """

    kind: Literal["chatgpt", "agent_identity", "api_key"]
    secrets: Mapping[str, Secret] = field(repr=False)
    client_id: str | None = None
    last_refresh: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "secrets", MappingProxyType(dict(self.secrets)))

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.kind, self.secrets)


def fingerprint(kind: str, secrets: Mapping[str, Secret]) -> str:
    """Changes when the user signs in anew, or another program rotates the tokens; not by a mere touch of the file.

    It is taken of the refresh token because that is what may be used once: as long as the file holds one that is known, it knows
    nothing newer than the vault does.
    """
    lasting = secrets.get("refresh_token", secrets["access_token"]) if kind == "chatgpt" else secrets[kind]
    return hashlib.sha256(f"{kind} {lasting.reveal()}".encode()).hexdigest()


def sign_in(codex_home: str) -> str:
    """The command that signs in to the Codex home of that path."""
    return "codex login" if os.path.basename(codex_home) == ".codex" else f"CODEX_HOME={codex_home} codex login"


def read_login(path: str) -> ImportedLogin:
    """Read a real `auth.json`. Raises UsageError: code `login.missing`, `login.unreadable`, `login.malformed`, `login.unsupported`."""
    command = sign_in(os.path.dirname(path))
    return parse_login(_read(path, command), path, command)


def parse_login(content: bytes | str, path: str, command: str) -> ImportedLogin:
    """What the text of an `auth.json` holds. `path` and `command`, which signs in, are for messages. Raises UsageError."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _malformed(path, "it is not a JSON object", command)
    mode = document.get("auth_mode")
    for name, meaning in _UNSUPPORTED.items():
        if mode == name or (mode is None and document.get(name) is not None):
            raise UsageError(
                f"the Codex login in {path} is {meaning}, which immure does not support yet",
                code="login.unsupported",
                hint=f"sign in with a ChatGPT account: {command}; or for immure alone: immure login codex --with-access-token",
            )
    if mode == "agentIdentity" or (mode is None and document.get("agent_identity") is not None):
        token = _secret(path, "agent_identity", document.get("agent_identity"), command)
        if token is None:
            raise _malformed(path, "agent_identity is missing", command)
        return ImportedLogin(kind="agent_identity", secrets={"agent_identity": token})
    api_key = _secret(path, "OPENAI_API_KEY", document.get("OPENAI_API_KEY"), command)
    extra = {} if api_key is None else {"api_key": api_key}
    tokens = document.get("tokens")
    if mode == "chatgpt" or (mode is None and (tokens is not None or api_key is None)):
        return _subscription(path, document, tokens, extra, command)
    if mode not in (None, "apikey"):
        raise UsageError(
            f"the Codex login in {path} is of the kind {str(mode)[:40]!r}, which immure does not know",
            code="login.unsupported",
            hint=f"sign in with a ChatGPT account: {command}",
        )
    if api_key is None:
        raise _malformed(path, "OPENAI_API_KEY is missing", command)
    return ImportedLogin(kind="api_key", secrets=extra)


def login_file(placeholders: Mapping[str, str], token: str | None, now: float) -> bytes:
    """The `auth.json` for inside, to be written with mode 0600: placeholders, and a `token` that parses where one is needed.

    That is the id_token of a subscription, or the JWT of an agent identity, which has no placeholder: the key in it is the sandbox's own.

    `now` (seconds since the epoch) becomes `last_refresh`, so that Codex sees no need to refresh for eight days.
    """
    document: dict[str, Any]
    if "agent_identity" in placeholders:
        document = {"auth_mode": "agentIdentity", "OPENAI_API_KEY": None, "agent_identity": token}
    elif "personal_access_token" in placeholders:
        document = {"OPENAI_API_KEY": None, "personal_access_token": placeholders["personal_access_token"]}
    elif token is None:
        document = {"auth_mode": "apikey", "OPENAI_API_KEY": placeholders["api_key"]}
    else:
        document = {
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": None,
            "tokens": {
                "id_token": token,
                "access_token": placeholders["access_token"],
                "refresh_token": placeholders.get("refresh_token", ""),  # Codex ignores a file without the field
                "account_id": placeholders.get("account_id"),
            },
            "last_refresh": timestamp(now),
        }
    return json.dumps(document, indent=2).encode() + b"\n"


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as Codex writes them (RFC 3339)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _read(path: str, command: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise UsageError(
            f"no Codex login: {path} does not exist",
            code="login.missing",
            hint=f"{command} (if your Codex keeps its login in the desktop's keyring: immure login codex --import), "
            "or for immure alone: immure login codex",
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", code="login.unreadable", hint=f"ls -l {path}") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"{path} is not a file", code="login.unreadable", hint=f"ls -ld {path}")
        with open(fd, "rb", closefd=False) as file:
            content = file.read(_MAX_SIZE + 1)
    finally:
        os.close(fd)
    if len(content) > _MAX_SIZE:
        raise _malformed(path, "it is larger than a login can be", command)
    return content


def _subscription(path: str, document: dict[str, Any], tokens: Any, extra: dict[str, Secret], command: str) -> ImportedLogin:
    if not isinstance(tokens, dict):
        raise _malformed(path, "tokens is missing", command)
    secrets = dict(extra)
    for name in "access_token", "id_token", "refresh_token", "account_id":
        secret = _secret(path, f"tokens.{name}", tokens.get(name), command)
        if secret is not None:
            secrets[name] = secret
        elif name in ("access_token", "id_token"):
            raise _malformed(path, f"tokens.{name} is missing", command)
    provenance = tokens.get("oauth_provenance")
    client_id = None
    if isinstance(provenance, dict):
        # Codex sends the refresh token to whatever issuer stands here.
        if provenance.get("issuer") not in (None, _ISSUER, _ISSUER + "/"):
            raise UsageError(
                f"the Codex login in {path} is from an issuer other than {_ISSUER}, which immure does not support yet",
                code="login.unsupported",
                hint=f"sign in with a ChatGPT account: {command}",
            )
        named = provenance.get("client_id")
        client_id = named if isinstance(named, str) and named else None
    return ImportedLogin(kind="chatgpt", secrets=secrets, client_id=client_id, last_refresh=_seconds(document.get("last_refresh")))


def _secret(path: str, name: str, value: Any, command: str) -> Secret | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and len(value) >= SHORTEST:
        try:
            return Secret(value)
        except Fault:
            pass
    raise _malformed(path, f"{name} is not a token", command)


def _seconds(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _malformed(path: str, why: str, command: str) -> UsageError:
    return UsageError(f"{path} is not a usable Codex login: {why}", code="login.malformed", hint=f"sign in again: {command}")
