"""What an attack has come to, from what it did inside and what its control did. [pure]

Rules: stopped is only what was stopped in a way that was foreseen, and could have succeeded as far as its control tells. Anything else
that did not succeed has proved nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from immure.attack.attack import ABSENT, IF_THE_HOST_ALLOWS, OUTSIDE, Attack

Outcome = tuple[bool, str]
Verdict = Literal["stopped", "reached", "unproven", "known"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """`found` is what the attack got, or the word for what stopped it. `known`: nothing stops it, and none claims to."""

    id: str
    title: str
    stopped_by: str | None
    verdict: Verdict
    found: str
    control: str


def judge(attack: Attack, inside: Mapping[str, Outcome], outside: Mapping[str, Outcome]) -> Result:
    has_worked, found = inside.get(attack.id, (False, "not made"))
    is_alive, control = _control(attack, inside, outside)
    verdict: Verdict
    if attack.stopped_by is None:
        verdict = "known" if has_worked else "unproven"
    elif has_worked:
        verdict = "reached"
    else:
        verdict = "stopped" if is_alive and found in attack.words | {ABSENT} else "unproven"
    return Result(id=attack.id, title=attack.title, stopped_by=attack.stopped_by, verdict=verdict, found=found, control=control)


def _control(attack: Attack, inside: Mapping[str, Outcome], outside: Mapping[str, Outcome]) -> tuple[bool, str]:
    if attack.stopped_by is None:
        return True, "none is needed"
    if attack.control not in (OUTSIDE, IF_THE_HOST_ALLOWS):
        has_worked, found = inside.get(attack.control, (False, "not made"))
        doing = attack.control.replace("_", " ")
        return has_worked, f"inside one can {doing}" if has_worked else f"inside one cannot {doing}: {found}"
    has_worked, found = outside.get(attack.id, (False, "not made"))
    if has_worked:
        return True, "outside it works"
    if found == ABSENT:
        return True, "the host has no such thing"
    if attack.control == OUTSIDE:
        return False, f"outside it fails too: {found}"
    if found in attack.words:
        return True, f"the host refuses it too: {found}"
    return True, f"outside it gets as far as {found}"
