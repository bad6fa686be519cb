"""What a gate holds for its sandbox while it serves: the one place that every flow takes its rules, secrets and connections from."""

import time
from typing import Protocol

from immure.audit.event import http_event, network_event
from immure.gate.brief import Brief, VirtualEndpoint
from immure.gate.certificate import Authority
from immure.gate.flow import Flow
from immure.gate.identity import CallerSource
from immure.gate.loop import Loop
from immure.gate.names import Names
from immure.gate.trail import Trail
from immure.gate.upstream import Pool
from immure.model import Decision, Secret
from immure.policy import Policy
from immure.rewrite import Credential

Pairs = tuple[tuple[bytes, bytes], ...]
"""Secrets, each with its placeholder."""


class Answerable(Protocol):
    """What waits for the broker."""

    def answered_by_broker(self, status: int, headers: list[tuple[str, str]], body: str) -> None: ...

    def unanswered(self, reason: str) -> None: ...


class Broker(Protocol):
    """The other end of the channel, as flows use it."""

    def call(self, endpoint: VirtualEndpoint, body: str, waiting: Answerable) -> None:
        """Ask for the answer to a virtual endpoint; `waiting` is told, perhaps before this returns."""

    def forget(self, waiting: Answerable) -> None:
        """Nobody waits for that answer any more."""


class Sandbox:
    """The rules do not change while it serves; the secrets do, when the broker rotates them."""

    def __init__(
        self,
        brief: Brief,
        *,
        loop: Loop,
        authority: Authority,
        names: Names,
        callers: CallerSource,
        pool: Pool,
        trail: Trail,
        broker: Broker,
    ) -> None:
        self.id = brief.sandbox
        self.loop = loop
        self.authority = authority
        self.names = names
        self.callers = callers
        self.pool = pool
        self.trail = trail
        self.broker = broker
        self.policy = Policy(brief.rules)
        self.credentials = brief.credentials
        self.virtual_policy = Policy((*brief.rules, *(endpoint.rule for endpoint in brief.virtual)))
        self.virtual = {(v.host, v.port, v.method, v.path): v for v in brief.virtual}
        self.overloaded = False
        self._pairs: dict[tuple[str, int], Pairs] = {}

    def rotate(self, secrets: dict[str, Secret]) -> None:
        """Put new secrets behind the placeholders of the named credentials."""
        self.credentials = tuple(c.rotated(secrets[c.name]) if c.name in secrets else c for c in self.credentials)
        self._pairs.clear()

    def pairs_for(self, host: str, port: int) -> Pairs:
        """Secrets and placeholders of all credentials that may be sent to an endpoint: its answers may hold any of them."""
        pairs = self._pairs.get((host, port))
        if pairs is None:
            bound = [c for c in self.credentials if any(endpoint.matches(host, port) for endpoint in c.endpoints)]
            pairs = self._pairs[host, port] = tuple(credential.pair for credential in bound)
        return pairs

    def record_request(
        self,
        flow: Flow,
        decision: Decision,
        request_id: str,
        method: bytes,
        target: bytes,
        status: int | None,
        *,
        credentials: tuple[Credential, ...] = (),
        failure: str = "",
    ) -> None:
        """Put a request and what became of it on the audit trail."""
        event = http_event(
            time=time.time_ns() // 1_000_000,
            sandbox=self.id,
            caller=flow.caller,
            host=flow.host,
            port=flow.port,
            method=method.decode("latin-1"),
            path=target.decode("latin-1"),
            status=status,
            decision=decision,
            request_id=request_id,
            credentials=[credential.name for credential in credentials],
            failure=failure,
        )
        self.trail.add(event)

    def record_connection(self, flow: Flow, decision: Decision, failure: str = "") -> None:
        """Put a connection that never came to a request on the audit trail."""
        event = network_event(
            time=time.time_ns() // 1_000_000,
            sandbox=self.id,
            caller=flow.caller,
            host=flow.host,
            port=flow.port,
            decision=decision,
            request_id=flow.id,
            failure=failure,
        )
        self.trail.add(event)
