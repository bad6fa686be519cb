"""What a gate holds for its sandbox while it serves: the one place that every flow takes its rules, secrets and connections from."""

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from immure.audit.event import file_event, finding_event, http_event, network_event
from immure.gate.brief import Brief
from immure.gate.certificate import Authority
from immure.gate.file_watch import RefusedFile
from immure.gate.flow import Flow
from immure.gate.grants import Grants, VirtualEndpoint, Withdrawal
from immure.gate.identity import CallerSource
from immure.gate.loop import Loop
from immure.gate.names import Names
from immure.gate.trail import Trail
from immure.gate.upstream import Pool
from immure.model import Decision, Deny, Endpoint
from immure.policy import Policy
from immure.policy.decide import BUILT_IN, DEFAULT
from immure.rewrite import Credential, Pairs, Refused
from immure.rewrite.slots import Echoes


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


class Tunnel(Protocol):
    """What was opened by a request and goes on without any: nothing on it is judged again, unless the grants change."""

    @property
    def flow(self) -> Flow: ...

    @property
    def used(self) -> tuple[Credential, ...]:
        """The credentials that opened it."""

    def revoke(self, reason: str) -> None:
        """End it: what it was opened by is not granted any more."""


class Sandbox:
    """What is granted changes as a whole, between two events of the loop. Whoever keeps something that follows from `grants` compares it
    with the present one before use; requests that are under way may come to their end, tunnels may not.
    """

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
        self.tunnels: set[Tunnel] = set()
        self.overloaded = False
        self._put_in_force(brief.grants)

    def _put_in_force(self, grants: Grants) -> None:
        self.grants = grants
        self.callers.name(grants.binaries)
        self.policy = Policy(grants.rules)
        self.credentials = grants.credentials
        self.virtual_policy = Policy((*grants.rules, *(endpoint.rule for endpoint in grants.virtual)))
        self.virtual = {(v.host, v.port, v.method, v.path): v for v in grants.virtual}
        self._pairs: dict[tuple[str, int], Pairs] = {}
        self._echoing: tuple[tuple[str, int, Echoes], Pairs] | None = None

    def grant(self, grants: Grants) -> None:
        """Put these grants in the place of those before."""
        before = self.credentials
        self._put_in_force(grants)
        if any(self._is_gone(credential) for credential in before):
            self.pool.renew()  # an upstream may go by who asked on a connection before
        for tunnel in tuple(self.tunnels):
            self.judge(tunnel)

    def judge(self, tunnel: Tunnel) -> None:
        """End an open tunnel if it would not be opened any more."""
        if tunnel not in self.tunnels:
            return
        flow = tunnel.flow
        decision = self.policy.decide(flow.host, flow.port, flow.caller)
        gone = next(filter(self._is_gone, tunnel.used), None)
        if isinstance(decision, Deny):
            tunnel.revoke(self.explained(decision, flow).reason)
        elif gone is not None:
            withdrawal = self.withdrawal_of([gone.placeholder])
            tunnel.revoke(withdrawal.reason if withdrawal else f"credential {gone.name!r} is not of this sandbox any more")

    def _is_gone(self, credential: Credential) -> bool:
        return all(credential.placeholder != held.placeholder for held in self.credentials)

    def withdrawal_of(self, texts: Iterable[str]) -> Withdrawal | None:
        """Why a placeholder that stands in one of these texts is dead, if that is known."""
        for text in texts:
            for withdrawal in self.grants.withdrawn:
                if any(placeholder in text for placeholder in withdrawal.placeholders):
                    return withdrawal
        return None

    def explained(self, deny: Deny, flow: Flow) -> Deny:
        """A refusal for want of a rule: if there was one, it says what became of it."""
        caller = flow.caller
        if (deny.rule, deny.layer) != (DEFAULT, BUILT_IN) or caller is None:
            return deny
        for withdrawal in self.grants.withdrawn:
            if any(r.effect == "allow" and r.endpoint.matches(flow.host, flow.port) and r.concerns(caller) for r in withdrawal.rules):
                reason = f"{caller.binary.path} may not reach {Endpoint(flow.host, flow.port)}: {withdrawal.reason}"
                return replace(deny, reason=reason, hint=withdrawal.hint)
        return deny

    def pairs_for(self, host: str, port: int, echoes: Echoes = ()) -> Pairs:
        """Secrets and placeholders of all credentials that may be sent to an endpoint: its answers may hold any of them.

        `echoes` are what one request has beside them. They are the same for all that are signed in one second, and make ready in 5 ms.
        """
        pairs = self._pairs.get((host, port))
        if pairs is None:
            bound = [c for c in self.credentials if c.binding.is_for(host, port)]
            pairs = self._pairs[host, port] = Pairs(pair for credential in bound for pair in credential.pairs)
        if not echoes:
            return pairs
        if self._echoing is None or self._echoing[0] != (host, port, echoes):
            self._echoing = (host, port, echoes), Pairs((*echoes, *pairs))
        return self._echoing[1]

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

    def record_finding(self, flow: Flow, request_id: str, refused: Refused, reason: str) -> None:
        """Put beside a request that was refused because of a credential that this is worth a look."""
        event = finding_event(
            time=time.time_ns() // 1_000_000,
            sandbox=self.id,
            caller=flow.caller,
            host=flow.host,
            port=flow.port,
            request_id=request_id,
            title=refused.kind,
            credential=refused.credential_name,
            reason=reason,
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

    def record_refused_file(self, refused: RefusedFile) -> None:
        """Put a file access that was refused inside on the audit trail."""
        event = file_event(
            time=time.time_ns() // 1_000_000,
            sandbox=self.id,
            program=refused.program,
            pid=refused.pid,
            operation=refused.operation,
            path=refused.path,
            reason=refused.reason + ("; no more of this sandbox are listed" if refused.is_last else ""),
        )
        self.trail.add(event)
