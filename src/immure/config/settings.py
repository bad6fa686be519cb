"""Settings of this machine, from `config.toml` in the configuration directory.

    [[upstream]]                  # send a named host to a given address, for tests and corporate gateways
    host = "api.openai.com"
    address = "127.0.0.1:8443"    # or "[::1]:8443"
    ca = "/etc/ssl/gateway.pem"   # certificates to trust for it, instead of the system's

    [codex]
    telemetry = false             # let Codex reach its telemetry hosts
    sign_in_inside = "ask"        # or "always" or "never": whether something inside may sign in

    [workspace]
    hide = [".env", "*.pem"]      # as --hide, in every sandbox
    unprotect = ["vscode"]        # as --unprotect

    [limits]
    pids = 4096                   # as the options of the same names; "unlimited" is none
    memory = "4G"

Rules: a file that is not there is the defaults; a key that is not known is an error, because a misspelt one would otherwise mean a
default in silence. An upstream is the only way to a loopback or private address, so nothing inside a sandbox can read or set it.

*Trust:* the file is the user's own. *Fails:* UsageError with file, key and what to write instead.
"""

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args

from immure.errors import UsageError
from immure.model import Endpoint, Limits, canonical_host
from immure.model.endpoint import address_of
from immure.model.limits import NAMES, Amount, read_limit

SignInInside = Literal["always", "ask", "never"]
"""What becomes of a sign-in that something inside a sandbox begins."""
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----\n", re.DOTALL)
_NO_LIMITS = Limits()
_LARGEST_CA = 4 << 20
"""In bytes; a whole system's bundle is a tenth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Connections to `host` (canonical) go to `address` (an IP literal) and `port`.

    `ca_pem` holds the certificates to trust for it; None means the system's.
    """

    host: str
    address: str
    port: int
    ca_pem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    upstreams: tuple[Upstream, ...] = ()
    telemetry: bool = False
    sign_in_inside: SignInInside = "ask"
    hide: tuple[str, ...] = ()
    unprotect: tuple[str, ...] = ()
    limits: Limits = _NO_LIMITS


def load_settings(path: str) -> Settings:
    """Read the file. Raises UsageError."""
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise _wrong(path, f"cannot be read: {os.strerror(error.errno or 0)}", f"check it: ls -l {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(path, f"is not TOML: {error}", "see https://toml.io for its syntax") from None
    top = _Table(path, "", content, ("upstream", "codex", "workspace", "limits"))
    codex = _Table(path, "codex", top.value("codex", dict, "a table", {}), ("telemetry", "sign_in_inside"))
    workspace = _Table(path, "workspace", top.value("workspace", dict, "a table", {}), ("hide", "unprotect"))
    limits = _Table(path, "limits", top.value("limits", dict, "a table", {}), NAMES)
    return Settings(
        upstreams=tuple(_upstreams(path, top.value("upstream", list, "an array of tables, [[upstream]]", []))),
        telemetry=codex.value("telemetry", bool, "true or false", False),
        sign_in_inside=codex.word("sign_in_inside", get_args(SignInInside), "ask"),
        hide=_texts(workspace, "hide"),
        unprotect=_texts(workspace, "unprotect"),
        limits=Limits(**{name: _limit(limits, name) for name in NAMES if name in limits}),
    )


def _texts(table: "_Table", key: str) -> tuple[str, ...]:
    found: list[Any] = table.value(key, list, "an array of texts", [])
    for text in found:
        if not isinstance(text, str):
            raise table.wrong(key, f"not a text: {text!r}", "put it in quotes")
    return tuple(found)


def _limit(table: "_Table", name: str) -> Amount:
    value = table.value(name, str | int | float, "a number or a text")
    try:
        return read_limit(name, str(value))
    except ValueError as error:
        raise table.wrong(name, f"not an amount: {value!r}", str(error)) from None


def _upstreams(path: str, entries: list[Any]) -> Iterator[Upstream]:
    known: set[str] = set()
    for number, entry in enumerate(entries, 1):
        table = _Table(path, f"upstream {number}", entry, ("host", "address", "ca"))
        host = _host(table)
        if host in known:
            raise table.wrong("host", f"{host} has an [[upstream]] already", "keep one of the two")
        known.add(host)
        endpoint = _address(table)
        ca = table.value("ca", str, "the path of a PEM file, in quotes", "")
        ca_pem = _certificates(table, ca) if "ca" in table else None
        yield Upstream(host=host, address=endpoint.host, port=endpoint.port, ca_pem=ca_pem)


def _host(table: "_Table") -> str:
    text = table.value("host", str, 'a host name in quotes, such as "api.openai.com"')
    try:
        return canonical_host(text)
    except ValueError:
        raise table.wrong("host", f"{text!r} is not a host name", "write it without scheme, port or wildcard") from None


def _address(table: "_Table") -> Endpoint:
    text = table.value("address", str, 'an address and a port in quotes, such as "127.0.0.1:8443"')
    hint = 'write an address and a port: "127.0.0.1:8443" or "[::1]:8443"'
    try:
        endpoint = Endpoint.parse(text, default_port=0)  # which is no port, so one must be written
    except ValueError as error:
        raise table.wrong("address", str(error), hint) from None
    if address_of(endpoint.host) is None:
        raise table.wrong("address", f"{endpoint.host} is a name, not an address", hint)
    return endpoint


def _certificates(table: "_Table", ca: str) -> str:
    """The certificates of a PEM file and nothing else of it: what is handed on must not carry a key that lies beside them."""
    if not os.path.isabs(ca):
        raise table.wrong("ca", f"{ca!r} is not an absolute path", "write the path from the root: /…")
    try:
        with open(ca, "rb") as file:
            text = file.read(_LARGEST_CA).decode("latin-1")
    except OSError as error:
        raise table.wrong("ca", f"{ca} cannot be read: {os.strerror(error.errno or 0)}", f"check it: ls -l {ca}") from None
    pem = "".join(_CERTIFICATE.findall(text.replace("\r\n", "\n") + "\n"))
    import ssl  # only here: settings without an upstream, the ordinary case, should not pay for loading OpenSSL

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        hint = f"check it: openssl x509 -noout -subject -in {ca}"
        raise table.wrong("ca", f"{ca} holds no certificate, or one that is damaged", hint) from None
    return pem


class _Table:
    """One table of the file, and where it is, for the messages."""

    __slots__ = ("_content", "_name", "_path")

    def __init__(self, path: str, name: str, content: Any, keys: tuple[str, ...]) -> None:
        self._path, self._name = path, name
        if not isinstance(content, dict):
            raise _wrong(path, f"{name} must be a table", f"begin it with [[{name.split()[0]}]] on a line of its own")
        self._content: dict[str, Any] = content
        for key in content:
            if key not in keys:
                close = get_close_matches(key, keys, 1)
                raise self.wrong(key, "unknown key", f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(keys)}")

    def __contains__(self, key: str) -> bool:
        return key in self._content

    def value(self, key: str, kind: Any, meaning: str, default: Any = None) -> Any:
        found = self._content.get(key, default)
        if found is None:
            raise self.wrong(key, "missing", f"give {key} = {meaning}")
        if not isinstance(found, kind):
            raise self.wrong(key, f"not {meaning}: {found!r}", f"give {meaning}")
        return found

    def word(self, key: str, words: tuple[Any, ...], default: str) -> Any:
        """One of these words."""
        meaning = "one of " + ", ".join(f'"{word}"' for word in words)
        found = self.value(key, str, meaning, default)
        if found not in words:
            raise self.wrong(key, f"not {meaning}: {found!r}", f"give {meaning}")
        return found

    def wrong(self, key: str, what: str, hint: str) -> UsageError:
        where = f"{self._name}: {key}" if self._name else key
        return _wrong(self._path, f"{where}: {what}", hint)


def _wrong(path: str, what: str, hint: str) -> UsageError:
    return UsageError(f"{path}: {what}", code="settings.invalid", hint=hint)
