"""One connection out of the sandbox, as a value: where it goes, who opened it, whether it is encrypted."""

from dataclasses import dataclass

from immure.model import Caller, Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """`host` is the canonical name that the connection was opened to, or the address if no name stands behind it."""

    id: str
    host: str
    port: int
    encrypted: bool
    caller: Caller | None

    @property
    def default_port(self) -> int:
        return 443 if self.encrypted else 80

    @property
    def authority(self) -> bytes:
        """The Host field to send (RFC 9110 section 7.2)."""
        endpoint = str(Endpoint(self.host, self.port))
        return (endpoint.rpartition(":")[0] if self.port == self.default_port else endpoint).encode()

    def is_named_by(self, authority: bytes) -> bool:
        """Whether a Host field or the authority of a URL means the host and port of this flow."""
        try:
            return Endpoint.parse(authority.decode("ascii"), self.default_port) == Endpoint(self.host, self.port)
        except ValueError:
            return False
