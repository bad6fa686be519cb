"""What truly arrived at a stand-in server, in the order in which it arrived.

A test of walls must not trust what the walls say: it asks the far side. Nothing here is normalised: names keep their case, repeated
headers stay repeated, the body is the bytes after the transfer coding.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request. `server_name` is the name in the TLS handshake (RFC 6066 section 3), empty if the client sent none."""

    number: int
    server_name: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    def values(self, name: str) -> list[str]:
        """All values of the headers called `name` (any case), in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str:
        """The value of a header that must not be repeated, or an empty string. Raises ValueError if it is repeated."""
        found = self.values(name)
        if len(found) > 1:
            raise ValueError(f"{len(found)} headers {name}")
        return found[0] if found else ""

    @property
    def host(self) -> str:
        """The host that the request is for, without its port, lower case."""
        return self.header("host").rpartition("@")[2].split(":")[0].lower()

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def bearer(self) -> str:
        """The token of `Authorization: Bearer TOKEN` (RFC 6750), or an empty string."""
        scheme, _, token = self.header("authorization").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    def raw(self) -> bytes:
        """Every byte of it that a secret could hide in."""
        lines = [f"{self.method} {self.target}", *(f"{name}: {value}" for name, value in self.headers)]
        return "\n".join(lines).encode("latin-1") + b"\n\n" + self.body


class Record:
    """The arrivals so far; one writer per connection, any number of readers."""

    def __init__(self) -> None:
        self._arrivals: list[Arrival] = []
        self._changed = threading.Condition()

    def add(self, *, server_name: str, method: str, target: str, headers: tuple[tuple[str, str], ...], body: bytes) -> Arrival:
        with self._changed:
            arrival = Arrival(
                number=len(self._arrivals) + 1, server_name=server_name, method=method, target=target, headers=headers, body=body
            )
            self._arrivals.append(arrival)
            self._changed.notify_all()
            return arrival

    def all(self, *, host: str = "", path: str = "") -> list[Arrival]:
        """The arrivals, all or those for one host and one path."""
        with self._changed:
            arrivals = list(self._arrivals)
        return [one for one in arrivals if host in ("", one.host) and path in ("", one.path)]

    def wait(self, wanted: Callable[[Arrival], bool], seconds: float) -> Arrival:
        """The first arrival that is wanted, now or within `seconds`. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        seen = 0
        with self._changed:
            while True:
                for arrival in self._arrivals[seen:]:
                    if wanted(arrival):
                        return arrival
                seen = len(self._arrivals)
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise TimeoutError(f"no such request among the {seen} that arrived")

    def follow(self) -> Iterator[Arrival]:
        """Every arrival, those so far and then each as it comes; does not end."""
        seen = 0
        while True:
            with self._changed:
                while len(self._arrivals) == seen:
                    self._changed.wait()
                arrival = self._arrivals[seen]
            seen += 1
            yield arrival
