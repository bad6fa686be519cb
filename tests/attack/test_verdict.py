"""How an attack is judged: only what failed as foreseen, and could have succeeded, was stopped."""

import pytest

from immure.attack.attack import ABSENT, IF_THE_HOST_ALLOWS, OUTSIDE, Attack
from immure.attack.verdict import Outcome, judge

WORKS: Outcome = (True, "it")
REFUSED: Outcome = (False, "EPERM")
OTHER: Outcome = (False, "ENOENT")
GONE: Outcome = (False, ABSENT)

# control, inside, control's outcome → verdict
CASES = {
    "it failed as foreseen, and outside it works": (OUTSIDE, REFUSED, WORKS, "stopped"),
    "it got what it wanted": (OUTSIDE, WORKS, WORKS, "reached"),
    "it got what it wanted, and outside nobody does": (OUTSIDE, WORKS, REFUSED, "reached"),
    "it failed for another reason": (OUTSIDE, OTHER, WORKS, "unproven"),
    "it fails outside too": (OUTSIDE, REFUSED, REFUSED, "unproven"),
    "it was not made": (OUTSIDE, None, WORKS, "unproven"),
    "its control was not made": (OUTSIDE, REFUSED, None, "unproven"),
    "there is no such target": (OUTSIDE, GONE, GONE, "stopped"),
    "there is a target outside, and none was found": (OUTSIDE, GONE, OTHER, "unproven"),
    "the host refuses it as well": (IF_THE_HOST_ALLOWS, REFUSED, REFUSED, "stopped"),
    "the host lets it get further": (IF_THE_HOST_ALLOWS, REFUSED, OTHER, "stopped"),
    "the host allows it": (IF_THE_HOST_ALLOWS, REFUSED, WORKS, "stopped"),
    "what it comes close to works": ("neighbour", REFUSED, WORKS, "stopped"),
    "what it comes close to does not work": ("neighbour", REFUSED, OTHER, "unproven"),
}


def made(control: str, stopped_by: str | None) -> Attack:
    return Attack(
        id="group/it", group="group", title="It", stopped_by=stopped_by, words=frozenset({"EPERM"}), control=control, program=lambda: None
    )


@pytest.mark.parametrize(("control", "inside", "other", "verdict"), CASES.values(), ids=CASES)
def test_a_verdict(control: str, inside: Outcome | None, other: Outcome | None, verdict: str) -> None:
    own = {"group/it": inside} if inside else {}
    beside = {"neighbour": other} if other else {}
    outside = {"group/it": other} if other else {}
    assert judge(made(control, "a wall"), {**own, **beside}, outside).verdict == verdict


@pytest.mark.parametrize(("inside", "verdict"), [(WORKS, "known"), (REFUSED, "unproven")])
def test_what_is_known_not_to_be_stopped(inside: Outcome, verdict: str) -> None:
    assert judge(made(OUTSIDE, None), {"group/it": inside}, {}).verdict == verdict
