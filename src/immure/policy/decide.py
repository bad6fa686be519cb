"""The decision: may this program open a connection to this host and port?

Rules: deny wins over allow, wherever either stands; what no rule allows is denied; a program that could not be identified is denied
whatever the rules say; what is allowed to a program is allowed to the content that was trusted, what is denied to it whatever is in it;
a wildcard never covers an address. The order of the rules changes nothing, not even which rule is named.

*Trust:* the agent chooses host and port, and the name of its program file. *Fails:* closed: a host that is not in canonical form is
no host to any rule, and raises ValueError rather than being looked up.
"""

import shlex
from collections.abc import Iterable, Iterator

from immure.model import Allow, Binary, Caller, Decision, Deny, Endpoint, canonical_host
from immure.policy.rules import Rule

DEFAULT = "default"
UNKNOWN = "unknown-program"
TRUST = "trust"
BUILT_IN = "built-in"

_Index = dict[tuple[str, int], list[Rule]]


class Policy:
    """A set of rules, compiled once. A decision looks up one key per label of the host, however many rules there are."""

    __slots__ = ("_hosts", "_suffixes", "rules")

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._hosts: _Index = {}
        self._suffixes: _Index = {}
        for rule in sorted(self.rules, key=lambda rule: (rule.effect == "allow", rule.name, rule.layer, rule.hint, repr(rule.binaries))):
            index, host = self._hosts, rule.endpoint.host
            if rule.endpoint.wildcard:
                index, host = self._suffixes, host.removeprefix("*.")
            index.setdefault((host, rule.endpoint.port), []).append(rule)

    def decide(self, host: str, port: int, caller: Caller | None) -> Decision:
        """Decide about a canonical host and a port, for the program that asked for them (None if that is not known)."""
        if canonical_host(host) != host:
            raise ValueError(f"not a canonical host: {host!r}")
        if caller is None:
            return _unknown(host, port)
        allowing = elsewhere = changed = None
        for rule in self._about(host, port):
            if not rule.concerns(caller):
                elsewhere = elsewhere or rule
                changed = changed or ((rule, *change) if (change := rule.change(caller)) else None)
            elif rule.effect == "deny":
                return _denied(rule, host, port, caller)
            else:
                allowing = allowing or rule
        if allowing:
            return Allow(allowing.name, allowing.layer)
        if changed:
            return _changed(*changed, host, port, caller)
        return _default(elsewhere, host, port, caller)

    def _about(self, host: str, port: int) -> Iterator[Rule]:
        """Every rule whose endpoint covers the host and port, the most specific endpoint first.

        No test for addresses is needed: the last label of a wildcard is never numeric nor holds a colon (see `Endpoint`), so no end
        of an address is ever a key of the suffixes.
        """
        yield from self._hosts.get((host, port), ())
        dot = host.find(".")
        while dot >= 0:
            yield from self._suffixes.get((host[dot + 1 :], port), ())
            dot = host.find(".", dot + 1)


def _unknown(host: str, port: int) -> Deny:
    reason = f"{Endpoint(host, port)} was refused to an unknown program: the process that opened the connection could not be identified"
    return Deny(UNKNOWN, BUILT_IN, reason)


def _denied(rule: Rule, host: str, port: int, caller: Caller) -> Deny:
    reason = f"{caller} may not reach {Endpoint(host, port)}: rule {rule.name!r} ({rule.layer}) denies it"
    return Deny(rule.name, rule.layer, reason, rule.hint)


def _changed(rule: Rule, was: Binary, found: Binary, host: str, port: int, caller: Caller) -> Deny:
    what = f"the content of {was.path} has changed" if found.is_at(was) else f"{was.path} is another file now"
    reason = f"{caller} may not reach {Endpoint(host, port)}: {what} since rule {rule.name!r} ({rule.layer}) trusted it"
    return Deny(TRUST, BUILT_IN, reason, rule.hint or f"immure trust update {shlex.quote(was.path)}")


def _default(elsewhere: Rule | None, host: str, port: int, caller: Caller) -> Deny:
    endpoint = Endpoint(host, port)
    because = "no rule allows it"
    if elsewhere and elsewhere.effect == "allow":
        because = f"rule {elsewhere.name!r} ({elsewhere.layer}) allows it only to other programs"
    return Deny(DEFAULT, BUILT_IN, f"{caller} may not reach {endpoint}: {because}", f"immure run --allow {endpoint}")
