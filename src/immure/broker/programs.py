"""The programs that the rules and credentials of a sandbox name, as they are trusted: at its launch, and when that changes while it runs.

A denial is left as it is: it holds for a program whatever is in it. So is a rule that gives the digests of its programs itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from immure.broker.trust import Trust
from immure.errors import PolicyError
from immure.model import Binary
from immure.policy import Rule

Say = Callable[[str], None]
Binaries = tuple[Binary, ...]


def trusted(binaries: Sequence[Binary], trust: Trust, now: float, say: Say) -> dict[str, Binary]:
    """Programs by their paths, each with the digest under which it is trusted; pinned if this is its first use. Raises UsageError."""
    if not binaries:
        return {}
    found, new = trust.settle((binary.path for binary in binaries), now)
    if new:
        say(f"immure: trusted from now on as it is (see immure trust list): {', '.join(binary.path for binary in new)}\n")
    return found


def trusted_rules(rules: Sequence[Rule], trust: Trust, now: float, say: Say) -> tuple[Rule, ...]:
    """Rules whose programs are trusted, or have the digest that the rule gives. Raises UsageError or PolicyError."""
    found = trusted([binary for rule in rules if _is_pinned(rule) for binary in rule.binaries or ()], trust, now, say)
    made = [_checked(rule, trust) if rule.exact else rule for rule in rules]
    return tuple(_replaced(rule, lambda binaries: tuple(found[binary.path] for binary in binaries)) for rule in made)


def trusted_again(binaries: Binaries, current: Mapping[str, Binary]) -> Binaries:
    """With what the user has come to trust since. What the sandbox was started with stays good until it ends."""
    more = (current[binary.path] for binary in binaries if binary.path in current)
    return tuple(dict.fromkeys([*binaries, *more]))


def trusted_rules_again(rules: Sequence[Rule], current: Mapping[str, Binary]) -> tuple[Rule, ...]:
    return tuple(_replaced(rule, lambda binaries: trusted_again(binaries, current)) for rule in rules)


def named(rules: Sequence[Rule]) -> set[str]:
    """The paths of the programs that are a matter of trust."""
    return {binary.path for rule in rules if _is_pinned(rule) for binary in rule.binaries or ()}


def _is_pinned(rule: Rule) -> bool:
    return rule.effect == "allow" and not rule.exact


def _replaced(rule: Rule, by: Callable[[Binaries], Binaries]) -> Rule:
    if rule.binaries is None or not _is_pinned(rule):
        return rule
    return replace(rule, binaries=by(rule.binaries), parents=by(rule.parents))


def _checked(rule: Rule, trust: Trust) -> Rule:
    """A rule that gives the digests of its programs, with these as they were found to be."""
    found = {binary: _matching(rule, binary, trust) for binary in rule.binaries or ()}
    return replace(rule, binaries=tuple(found.values()), parents=tuple(found[parent] for parent in rule.parents))


def _matching(rule: Rule, binary: Binary, trust: Trust) -> Binary:
    found = trust.readable(binary.path)
    if found.digest != binary.digest:
        what = f"rule {rule.name!r} asks for another {binary.path}: the SHA-256 of this one is {found.digest}"
        raise PolicyError(what, code="policy.digest", hint=rule.hint)
    return found
