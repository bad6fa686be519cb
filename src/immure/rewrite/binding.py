"""What a credential is bound to: the endpoints, methods, paths and programs it may be used for.

*Fails:* what is not declared is not allowed: no endpoints, or an empty tuple of anything, means nowhere and nobody.
"""

from dataclasses import dataclass

from immure.model import Binary, Caller, Endpoint
from immure.model.path import PathPattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """None is any: `methods` any method, `paths` any path, `binaries` any program that could be identified."""

    endpoints: tuple[Endpoint, ...]
    methods: tuple[str, ...] | None = None
    paths: tuple[PathPattern, ...] | None = None
    binaries: tuple[Binary, ...] | None = None

    def is_for(self, host: str, port: int) -> bool:
        """Whether a canonical host and a port are among the endpoints."""
        return any(endpoint.matches(host, port) for endpoint in self.endpoints)

    def connection_objection(self, host: str, port: int, *, encrypted: bool, caller: Caller | None) -> str:
        """Why it is not for any request of such a connection; empty if nothing speaks against it."""
        if not self.is_for(host, port):
            return f"it is not for {host}, port {port}"
        if not encrypted:
            return "it is never sent unencrypted"
        if caller is None:
            return "the program that sent it could not be identified"
        if self.binaries is not None and not any(caller.binary.same_file(binary) for binary in self.binaries):
            return f"it is not for {caller.binary.path}"
        return ""

    def request_objection(self, method: str, path: str | None) -> str:
        """Why it is not for such a request; empty if nothing speaks against it. `path` is canonical, None if it has no such form."""
        if self.methods is not None and method not in self.methods:
            return f"it is not for {method}"
        if self.paths is None:
            return ""
        if path is None:
            return "the path can be read in more than one way"
        for pattern in self.paths:
            if pattern.matches(path):
                return ""
        return f"it is not for the path {path}"
