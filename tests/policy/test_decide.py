"""Decisions: a table of what covers what, laws over any rules, and a slow evaluator that must agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.model import Allow, Binary, Caller, Decision, Deny, Endpoint
from immure.policy import Policy, Rule

NODE = Binary("/usr/bin/node", 1, 10)
CURL = Binary("/usr/bin/curl", 1, 11)
COPY_OF_NODE = Binary("/usr/bin/node", 2, 10)
LINK_TO_NODE = Binary("/tmp/x", 1, 10)


def rule(pattern: str, *, effect: str = "allow", binaries: tuple[Binary, ...] | None = None, name: str = "r", hint: str = "") -> Rule:
    return Rule(name=name, layer="test", effect=effect, endpoint=Endpoint.parse(pattern), binaries=binaries, hint=hint)  # type: ignore[arg-type]


def decide(rules: list[Rule], host: str, port: int = 443, binary: Binary | None = CURL) -> Decision:
    return Policy(rules).decide(host, port, Caller(binary, 7) if binary else None)


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
BINARIES = [NODE, CURL, COPY_OF_NODE]

rules_ = st.lists(
    st.builds(
        rule,
        st.sampled_from(PATTERNS),
        effect=st.sampled_from(["allow", "deny"]),
        binaries=st.none() | st.lists(st.sampled_from(BINARIES), max_size=2).map(tuple),
        name=st.sampled_from("pqr"),
    ),
    max_size=8,
)
flows = st.tuples(st.sampled_from(HOSTS), st.sampled_from([80, 443]), st.none() | st.sampled_from(BINARIES))
Flow = tuple[str, int, Binary | None]


def slowly(rules: list[Rule], flow: Flow) -> tuple[type[Decision], set[str]]:
    """What must come out, and the rules that may be named for it: read off the definition, one rule at a time."""
    host, port, binary = flow
    if binary is None:
        return Deny, {"unknown-program"}
    about = [each for each in rules if each.endpoint.matches(host, port)]
    about = [each for each in about if each.binaries is None or any(binary.same_file(other) for other in each.binaries)]
    denying = {each.name for each in about if each.effect == "deny"}
    allowing = {each.name for each in about if each.effect == "allow"}
    return (Deny, denying) if denying else (Allow, allowing) if allowing else (Deny, {"default"})


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
