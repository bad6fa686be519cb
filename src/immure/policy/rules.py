"""One rule: an endpoint, the programs it is about, and whether it allows or denies.

Where rules come from (a profile, a file, a flag) is said by their layer, not by their type. A rule that names several endpoints in
a file becomes several rules of one name.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from immure.model import Binary, Caller, Endpoint

Effect = Literal["allow", "deny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`binaries` None is any program; an empty tuple is no program at all, so that a list that came out empty never widens.

    `hint` is what to tell whoever the rule refuses, for a rule that something other than `--allow` lifts.
    """

    name: str
    layer: str
    effect: Effect
    endpoint: Endpoint
    binaries: tuple[Binary, ...] | None = None
    hint: str = ""

    def __post_init__(self) -> None:
        for text in (self.name, self.layer):
            if not text.strip() or not text.isprintable():
                raise ValueError(f"not a name of a rule or layer: {text!r}")
        if self.effect not in get_args(Effect):
            raise ValueError(f"not an effect: {self.effect!r}")

    def concerns(self, caller: Caller) -> bool:
        """Whether the rule is about this caller's program."""
        return self.binaries is None or any(caller.binary.same_file(binary) for binary in self.binaries)
