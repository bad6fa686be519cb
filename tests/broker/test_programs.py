"""The programs that rules name: trusted at a launch, and again while a sandbox runs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from immure.broker.programs import named, trusted_again, trusted_rules, trusted_rules_again
from immure.broker.trust import Trust
from immure.errors import PolicyError, UsageError
from immure.model import Binary, Endpoint
from immure.policy import Rule

NOW = 1_790_000_000


class User:
    """With a program, a file of trust, and what was said."""

    def __init__(self, directory: Path) -> None:
        self.program = directory / "program"
        self.program.write_text("first")
        self.trust = Trust(str(directory / "state" / "trust.db"))
        self.said: list[str] = []

    @property
    def binary(self) -> Binary:
        """As a rule names it, before it is trusted."""
        status = self.program.stat()
        return Binary(str(self.program), status.st_dev, status.st_ino)

    @property
    def rule(self) -> Rule:
        return Rule(name="one", layer="test", effect="allow", endpoint=Endpoint("a.com", 443), binaries=(self.binary,))

    def launch(self, *rules: Rule) -> tuple[Rule, ...]:
        return trusted_rules(rules, self.trust, NOW, self.said.append)

    def replace(self, content: str) -> None:
        new = self.program.with_suffix(".new")
        new.write_text(content)
        new.rename(self.program)

    def digest(self) -> str:
        return self.trust.measured(str(self.program)).digest

    def again(self, *rules: Rule) -> tuple[Rule, ...]:
        return trusted_rules_again(rules, self.trust.current(named(rules)))


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


def test_a_rule_gets_the_digest_of_its_programs_and_the_first_use_is_said_once(user: User) -> None:
    expected = replace(user.rule, binaries=(replace(user.binary, digest=user.digest()),))
    assert user.launch(user.rule, user.rule) == (expected, expected)
    assert user.launch(user.rule) == (expected,)
    assert user.said == [f"immure: trusted from now on as it is (see immure trust list): {user.program}\n"]


def test_parents_are_trusted_too(user: User) -> None:
    (rule,) = user.launch(replace(user.rule, parents=(user.binary,)))
    assert rule.parents == rule.binaries == (replace(user.binary, digest=user.digest()),)


UNTOUCHED: dict[str, Callable[[Rule], Rule]] = {
    "a rule for any program": lambda rule: replace(rule, binaries=None),
    "a rule for nobody": lambda rule: replace(rule, binaries=()),
    "a denial": lambda rule: replace(rule, effect="deny"),
}


@pytest.mark.parametrize("change", UNTOUCHED.values(), ids=UNTOUCHED)
def test_what_is_no_matter_of_trust(change: Callable[[Rule], Rule], user: User) -> None:
    rule = change(user.rule)
    assert user.launch(rule) == (rule,)
    assert user.trust.pins() == ()
    assert user.said == []


def exact(rule: Rule, digest: str) -> Rule:
    binaries = tuple(replace(binary, digest=digest) for binary in rule.binaries or ())
    return replace(rule, binaries=binaries, exact=True, hint="correct it")


def test_a_digest_that_a_rule_gives_is_held_to_and_not_pinned(user: User) -> None:
    rule = exact(user.rule, user.digest())
    assert user.launch(rule) == (rule,)
    user.replace("second")
    with pytest.raises(PolicyError, match=f"the SHA-256 of this one is {user.digest()}") as caught:
        user.launch(rule)
    assert (caught.value.code, caught.value.hint) == ("policy.digest", "correct it")
    assert user.trust.pins() == ()


def test_a_program_that_has_changed_stops_the_launch(user: User) -> None:
    user.launch(user.rule)
    user.replace("second")
    with pytest.raises(UsageError, match="has changed"):
        user.launch(user.rule)


def test_what_is_trusted_since_is_added_to_what_a_sandbox_was_started_with(user: User) -> None:
    given = exact(user.rule, user.digest())
    rules = user.launch(user.rule, given, replace(user.rule, effect="deny"))
    before = rules[0].binaries
    assert user.again(*rules) == rules
    user.replace("second")
    assert user.again(*rules) == rules, "nobody has said that it is right"
    user.trust.update(str(user.program), NOW)
    first, *others = user.again(*rules)
    assert first.binaries == (*(before or ()), replace(user.binary, digest=user.digest()))
    assert others == list(rules[1:])
    assert user.again(first, *others) == (first, *others), "once is enough"


def test_a_program_that_is_gone_stays_trusted_as_it_was(user: User) -> None:
    rules = user.launch(user.rule)
    user.program.unlink()
    assert user.again(*rules) == rules
    assert trusted_again(rules[0].binaries or (), {}) == rules[0].binaries
