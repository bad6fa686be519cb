"""Decisions: a table of what covers what, laws over any rules, and a slow evaluator that must agree."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.model import Allow, Binary, Caller, Decision, Deny, Endpoint, Process
from immure.policy import Policy, Rule

NODE = Binary("/usr/bin/node", 1, 10)
CURL = Binary("/usr/bin/curl", 1, 11)
COPY_OF_NODE = Binary("/usr/bin/node", 2, 10)
LINK_TO_NODE = Binary("/tmp/x", 1, 10)
TRUSTED, OTHER = "a" * 64, "b" * 64
PINNED_CURL = replace(CURL, digest=TRUSTED, stamp=(5, 6, 7))
SHELL = Binary("/usr/bin/dash", 1, 12)


def rule(
    pattern: str,
    *,
    effect: str = "allow",
    binaries: tuple[Binary, ...] | None = None,
    parents: tuple[Binary, ...] = (),
    name: str = "r",
    hint: str = "",
) -> Rule:
    endpoint = Endpoint.parse(pattern)
    return Rule(name=name, layer="test", effect=effect, endpoint=endpoint, binaries=binaries, parents=parents, hint=hint)  # type: ignore[arg-type]


def decide(
    rules: list[Rule], host: str, port: int = 443, binary: Binary | None = CURL, ancestors: tuple[Binary, ...] = (), script: str = ""
) -> Decision:
    above = tuple(Process(ancestor, 100 + number) for number, ancestor in enumerate(ancestors))
    return Policy(rules).decide(host, port, Caller(binary, 7, script, above) if binary else None)


COVERED = [
    # pattern, host, port, covered
    ("a.com", "a.com", 443, True),
    ("a.com", "a.com", 80, False),
    ("a.com:80", "a.com", 80, True),
    ("a.com", "b.a.com", 443, False),
    ("a.com", "xa.com", 443, False),
    ("*.a.com", "a.com", 443, False),
    ("*.a.com", "b.a.com", 443, True),
    ("*.a.com", "c.b.a.com", 443, True),
    ("*.a.com", "xa.com", 443, False),
    ("*.a.com", "a.com.evil.com", 443, False),
    ("*.a.com", "b.a.com", 8443, False),
    ("*.com", "a.com", 443, True),
    ("_dmarc.a.com", "_dmarc.a.com", 443, True),
    ("*.xn--bcher-kva.example", "www.xn--bcher-kva.example", 443, True),
    ("169.254.169.254", "169.254.169.254", 443, True),
    ("[::1]:443", "::1", 443, True),
    ("*.com", "169.254.169.254", 443, False),
    ("*.com", "::ffff:a9fe:a9fe", 443, False),
]


@pytest.mark.parametrize(("pattern", "host", "port", "covered"), COVERED)
def test_what_a_pattern_covers(pattern: str, host: str, port: int, covered: bool) -> None:
    assert isinstance(decide([rule(pattern)], host, port), Allow) is covered
    assert isinstance(decide([rule(pattern, effect="deny"), rule(f"{_bracketed(host)}:{port}")], host, port), Deny) is covered


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@pytest.mark.parametrize(
    "host", ["A.com", "a.com.", "*.a.com", "", "a..com", "a.com\x00.evil.com", "0x7f000001", "127.1", "\uff41.com", "[::1]"]
)
def test_a_host_that_is_not_canonical_is_never_looked_up(host: str) -> None:
    with pytest.raises(ValueError, match=r"not a |permitted|Expected|At least|Octet"):
        decide([rule("*.com"), rule("a.com")], host)


def test_no_rules_allow_nothing() -> None:
    assert decide([], "attacker.example.com") == Deny(
        "default",
        "built-in",
        "/usr/bin/curl may not reach attacker.example.com:443: no rule allows it",
        "immure run --allow attacker.example.com:443",
    )


def test_the_hint_is_a_flag_that_can_be_read_back() -> None:
    for host, port in [("a.com", 443), ("a.com", 8080), ("10.0.0.1", 443), ("::1", 22)]:
        decision = decide([], host, port)
        assert isinstance(decision, Deny)
        assert Endpoint.parse(decision.hint.removeprefix("immure run --allow ")) == Endpoint(host, port)


def test_an_unknown_program_is_denied_even_by_a_rule_for_any() -> None:
    decision = decide([rule("a.com")], "a.com", binary=None)
    assert isinstance(decision, Deny)
    assert decision.rule == "unknown-program"
    assert "unknown program" in decision.reason


PROGRAMS = [
    # binaries of the rule, program, allowed
    (None, CURL, True),
    ((), CURL, False),
    ((NODE,), NODE, True),
    ((NODE,), CURL, False),
    ((CURL, NODE), NODE, True),
    ((NODE,), COPY_OF_NODE, False),
    ((NODE,), LINK_TO_NODE, True),
]


@pytest.mark.parametrize(("binaries", "program", "allowed"), PROGRAMS)
def test_a_program_is_the_file_it_is_and_not_its_path(binaries: tuple[Binary, ...] | None, program: Binary, allowed: bool) -> None:
    assert isinstance(decide([rule("a.com", binaries=binaries)], "a.com", binary=program), Allow) is allowed


def test_a_rule_for_other_programs_is_named() -> None:
    decision = decide([rule("a.com", binaries=(NODE,), name="npm")], "a.com")
    assert isinstance(decision, Deny)
    assert decision.reason == "/usr/bin/curl may not reach a.com:443: rule 'npm' (test) allows it only to other programs"
    assert decision.rule == "default"


def test_a_denial_for_other_programs_is_not_taken_for_an_allowance() -> None:
    decision = decide([rule("a.com", effect="deny", binaries=(NODE,))], "a.com")
    assert isinstance(decision, Deny)
    assert decision.reason == "/usr/bin/curl may not reach a.com:443: no rule allows it"


def test_of_several_rules_the_same_one_is_named_in_any_order() -> None:
    for effect in ("allow", "deny"):
        rules = [rule("a.com", effect=effect, name=name) for name in "pq"]
        assert decide(rules, "a.com") == decide(rules[::-1], "a.com")


def test_a_denying_rule_is_named_with_its_own_hint() -> None:
    decision = decide([rule("*.a.com"), rule("t.a.com", effect="deny", name="telemetry", hint="set telemetry = true")], "t.a.com")
    assert decision == Deny(
        "telemetry", "test", "/usr/bin/curl may not reach t.a.com:443: rule 'telemetry' (test) denies it", "set telemetry = true"
    )


CONTENTS = [
    # what a rule trusts, what was found, allowed
    (CURL, CURL, True),
    (CURL, replace(CURL, digest=OTHER), True),
    (PINNED_CURL, PINNED_CURL, True),
    (PINNED_CURL, replace(PINNED_CURL, stamp=(5, 6, 8)), True),
    (PINNED_CURL, replace(PINNED_CURL, digest=""), True),
    (PINNED_CURL, replace(CURL, digest=OTHER, stamp=(5, 6, 8)), False),
    (PINNED_CURL, replace(CURL, digest="", stamp=(5, 6, 8)), False),
    (PINNED_CURL, CURL, False),
    (replace(PINNED_CURL, stamp=()), CURL, False),
    (PINNED_CURL, replace(PINNED_CURL, inode=99), False),
]


@pytest.mark.parametrize(("trusted", "found", "allowed"), CONTENTS)
def test_a_program_is_the_content_that_was_trusted(trusted: Binary, found: Binary, allowed: bool) -> None:
    decision = decide([rule("a.com", binaries=(trusted,), name="c")], "a.com", binary=found)
    assert isinstance(decision, Allow) is allowed
    assert decision.rule == ("c" if allowed else "trust")


def test_a_program_that_has_changed_is_refused_with_what_mends_it() -> None:
    rules = [rule("a.com", binaries=(replace(PINNED_CURL, path="/opt/my curl"),), name="c")]
    changed = decide(rules, "a.com", binary=replace(CURL, path="/opt/my curl", digest=OTHER))
    what = "/opt/my curl may not reach a.com:443: the content of /opt/my curl has changed since rule 'c' (test) trusted it"
    assert changed == Deny("trust", "built-in", what, "immure trust update '/opt/my curl'")
    replaced = decide(rules, "a.com", binary=Binary("/opt/my curl", 1, 99, TRUSTED))
    assert isinstance(replaced, Deny)
    assert replaced.reason.endswith("/opt/my curl is another file now since rule 'c' (test) trusted it")


def test_a_rule_that_gives_the_digest_says_what_mends_it() -> None:
    given = replace(rule("a.com", binaries=(PINNED_CURL,)), exact=True, hint="correct it in policy.yaml")
    decision = decide([given], "a.com", binary=replace(CURL, digest=OTHER))
    assert isinstance(decision, Deny)
    assert (decision.rule, decision.hint) == ("trust", "correct it in policy.yaml")


@pytest.mark.parametrize("found", [CURL, replace(CURL, digest=OTHER), replace(CURL, inode=99), replace(CURL, path="/tmp/x")])
def test_a_denial_holds_whatever_has_become_of_the_program(found: Binary) -> None:
    decision = decide([rule("a.com"), rule("a.com", effect="deny", binaries=(PINNED_CURL,), name="d")], "a.com", binary=found)
    assert (type(decision), decision.rule) == (Deny, "d")


ANCESTORS = [
    # ancestors of curl, whether a rule for node and its children covers it
    ((), False),
    ((NODE,), True),
    ((SHELL, NODE), True),
    ((SHELL, NODE, SHELL), True),
    ((SHELL,), False),
    ((COPY_OF_NODE,), False),
]


@pytest.mark.parametrize(("ancestors", "covered"), ANCESTORS)
def test_a_rule_for_a_program_and_its_children(ancestors: tuple[Binary, ...], covered: bool) -> None:
    rules = [rule("a.com", binaries=(NODE,), parents=(NODE,))]
    assert isinstance(decide(rules, "a.com", ancestors=ancestors), Allow) is covered
    assert isinstance(decide(rules, "a.com", binary=NODE), Allow)
    assert isinstance(decide([rule("a.com", binaries=(NODE,))], "a.com", ancestors=ancestors), Deny), "children are not meant by default"


def test_the_children_of_a_program_that_has_changed_are_refused() -> None:
    trusted = replace(NODE, digest=TRUSTED)
    decision = decide([rule("a.com", binaries=(trusted,), parents=(trusted,))], "a.com", ancestors=(replace(NODE, digest=OTHER),))
    assert isinstance(decision, Deny)
    assert (decision.rule, decision.hint) == ("trust", "immure trust update /usr/bin/node")


def test_a_script_is_named_and_decides_nothing() -> None:
    decision = decide([], "a.com", binary=NODE, script="/work/x.js")
    assert isinstance(decision, Deny)
    assert decision.reason == "/usr/bin/node (which says it runs '/work/x.js') may not reach a.com:443: no rule allows it"
    assert isinstance(decide([rule("a.com", binaries=(NODE,))], "a.com", binary=NODE, script="/work/x.js"), Allow)


def test_a_denial_for_one_program_leaves_the_others() -> None:
    rules = [rule("a.com"), rule("a.com", effect="deny", binaries=(CURL,))]
    assert isinstance(decide(rules, "a.com", binary=CURL), Deny)
    assert isinstance(decide(rules, "a.com", binary=NODE), Allow)


def test_the_work_does_not_grow_with_the_number_of_rules() -> None:
    crowd = [rule(f"host{number}.example.com", name=f"r{number}") for number in range(5_000)]
    crowd += [rule(f"*.zone{number}.example.com", name=f"w{number}") for number in range(5_000)]
    policy = Policy(crowd)
    assert [each.name for each in policy._about("host7.example.com", 443)] == ["r7"]
    assert [each.name for each in policy._about("a.b.zone7.example.com", 443)] == ["w7"]


PATTERNS = ["a.com", "b.a.com", "*.a.com", "*.b.a.com", "*.com", "10.0.0.1", "[::1]:443", "a.com:80", "*.a.com:80"]
HOSTS = ["a.com", "b.a.com", "c.b.a.com", "xa.com", "10.0.0.1", "::1", "com"]
BINARIES = [NODE, CURL, COPY_OF_NODE, PINNED_CURL, replace(CURL, digest=OTHER), replace(CURL, stamp=(5, 6, 7))]
binaries_ = st.lists(st.sampled_from(BINARIES), max_size=2).map(tuple)

rules_ = st.lists(
    st.builds(rule, st.sampled_from(PATTERNS), effect=st.just("deny"), binaries=st.none() | binaries_, name=st.sampled_from("pqr"))
    | st.builds(rule, st.sampled_from(PATTERNS), binaries=st.none(), name=st.sampled_from("pqr"))
    | st.builds(rule, st.sampled_from(PATTERNS), binaries=binaries_, parents=binaries_, name=st.sampled_from("pqr")),
    max_size=8,
)
flows = st.tuples(st.sampled_from(HOSTS), st.sampled_from([80, 443]), st.none() | st.sampled_from(BINARIES), binaries_)
Flow = tuple[str, int, Binary | None, tuple[Binary, ...]]


def is_trusted(trusted: Binary, found: Binary) -> bool:
    same = (trusted.device, trusted.inode) == (found.device, found.inode)
    untouched = trusted.stamp == found.stamp != ()
    return same and (not trusted.digest or trusted.digest == found.digest or untouched)


def is_left(named: Binary, found: Binary) -> bool:
    return (named.device, named.inode) == (found.device, found.inode) or named.path == found.path


def covers(each: Rule, binary: Binary, ancestors: tuple[Binary, ...]) -> bool:
    if each.binaries is None:
        return True
    if each.effect == "deny":
        return any(is_left(named, binary) for named in each.binaries)
    by_parent = any(is_trusted(parent, ancestor) for parent in each.parents for ancestor in ancestors)
    return by_parent or any(is_trusted(trusted, binary) for trusted in each.binaries)


def slowly(rules: list[Rule], flow: Flow) -> tuple[type[Decision], set[str]]:
    """What must come out, and the rules that may be named for it: read off the definition, one rule at a time."""
    host, port, binary, ancestors = flow
    if binary is None:
        return Deny, {"unknown-program"}
    about = [each for each in rules if each.endpoint.matches(host, port)]
    covering = [each for each in about if covers(each, binary, ancestors)]
    denying = {each.name for each in covering if each.effect == "deny"}
    allowing = {each.name for each in covering if each.effect == "allow"}
    pairs = [(named, binary) for each in about if each.effect == "allow" for named in each.binaries or ()]
    pairs += [(parent, ancestor) for each in about for parent in each.parents for ancestor in ancestors]
    changed = any(is_left(named, found) and not is_trusted(named, found) for named, found in pairs)
    return (Deny, denying) if denying else (Allow, allowing) if allowing else (Deny, {"trust"} if changed else {"default"})


@given(rules_, flows)
def test_a_slow_evaluator_agrees(rules: list[Rule], flow: Flow) -> None:
    kind, names = slowly(rules, flow)
    decision = decide(rules, *flow)
    assert type(decision) is kind
    assert decision.rule in names


@given(rules_, rules_, flows)
def test_adding_a_deny_never_widens(rules: list[Rule], more: list[Rule], flow: Flow) -> None:
    denials = [each for each in more if each.effect == "deny"]
    if isinstance(decide(rules, *flow), Deny):
        assert isinstance(decide(rules + denials, *flow), Deny)


@given(rules_, rules_, flows)
def test_adding_an_allow_never_narrows(rules: list[Rule], more: list[Rule], flow: Flow) -> None:
    allowances = [each for each in more if each.effect == "allow"]
    if isinstance(decide(rules, *flow), Allow):
        assert isinstance(decide(rules + allowances, *flow), Allow)


@given(rules_.flatmap(lambda rules: st.tuples(st.just(rules), st.permutations(rules))), flows)
def test_the_order_changes_nothing(orders: tuple[list[Rule], list[Rule]], flow: Flow) -> None:
    rules, shuffled = orders
    assert decide(rules, *flow) == decide(shuffled, *flow)
