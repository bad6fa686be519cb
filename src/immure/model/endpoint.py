"""Where a connection goes: the one canonical form of a host name, and patterns over it.

Rules: every comparison of host names in the product is made on the result of `canonical_host`; whatever it refuses is refused
everywhere. Names are ASCII letters, digits, hyphens and underscores (RFC 1123 plus the underscore that service names use);
international names are written in their `xn--` form. A wildcard stands for one or more whole labels at the left and never for an
address.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
MAX_NAME = 253
"""Longest host name in octets, without the final dot (RFC 1035 section 2.3.4)."""


def canonical_host(text: str) -> str:
    """The canonical form of a host name or address literal: lower case, no final dot, addresses in the form of RFC 5952, unbracketed.

    Raises ValueError for anything else, including the short, octal and hexadecimal IPv4 spellings that resolvers accept ("127.1").
    """
    name = text.lower().removesuffix(".") if text.isascii() and "%" not in text else ""  # a scope (%eth0) is of one machine only
    if name.startswith("[") and name.endswith("]"):
        return str(IPv6Address(name[1:-1]))
    if ":" in name:
        return str(IPv6Address(name))
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise ValueError(f"not a host name: {text!r}")
    if _NUMERIC.fullmatch(name.rpartition(".")[2]):
        return str(IPv4Address(name))
    return name


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a canonical host spells, or None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host (name, `*.name` or address literal) and a port (1 to 65535)."""

    host: str
    port: int

    def __post_init__(self) -> None:
        name = self.host.removeprefix("*.")
        canonical = canonical_host(name)
        if canonical != name or (name != self.host and address_of(name) is not None):
            raise ValueError(f"not a canonical host pattern: {self.host!r}")
        if not 0 < self.port < 65536:
            raise ValueError(f"not a port: {self.port}")

    @classmethod
    def parse(cls, text: str, default_port: int = 443) -> "Endpoint":
        """Read `HOST[:PORT]`, `*.HOST[:PORT]`, an IPv4 literal, or an IPv6 literal in brackets. Raises ValueError."""
        host, port = text, default_port
        head, colon, tail = text.rpartition(":")
        if colon and not text.endswith("]"):
            if ":" in head and not head.endswith("]"):
                raise ValueError(f"write an IPv6 address in brackets: [{text}]")
            if not (tail.isascii() and tail.isdigit()):
                raise ValueError(f"not a port: {tail!r}")
            host, port = head, int(tail)
        wildcard = "*." if host.startswith("*.") else ""
        return cls(wildcard + canonical_host(host.removeprefix("*.")), port)

    @property
    def wildcard(self) -> bool:
        return self.host.startswith("*.")

    def matches(self, host: str, port: int) -> bool:
        """Whether a canonical host and a port lie within this pattern."""
        if port != self.port:
            return False
        if self.wildcard:
            return host.endswith(self.host[1:]) and address_of(host) is None
        return host == self.host

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
