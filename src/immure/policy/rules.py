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

    `parents` are programs whose children it is about as well, and theirs: whatever has one of them among its ancestors. Only an allow
    has them, because a process can leave its ancestors behind.

    `exact`: whoever wrote the rule gave the digests, so they are no matter of trust, and only a change of the rule changes them.

    `hint` is what to tell whoever the rule refuses, for a rule that something other than `--allow` or a new trust lifts.
    """

    name: str
    layer: str
    effect: Effect
    endpoint: Endpoint
    binaries: tuple[Binary, ...] | None = None
    parents: tuple[Binary, ...] = ()
    exact: bool = False
    hint: str = ""

    def __post_init__(self) -> None:
        for text in (self.name, self.layer):
            if not text.strip() or not text.isprintable():
                raise ValueError(f"not a name of a rule or layer: {text!r}")
        if self.effect not in get_args(Effect):
            raise ValueError(f"not an effect: {self.effect!r}")
        if self.parents and (self.effect == "deny" or self.binaries is None):
            raise ValueError(f"not a rule about children: {self.name!r}")

    def concerns(self, caller: Caller) -> bool:
        """Whether the rule is about this caller's program.

        What is denied is denied to a program whatever has become of it: its file with another content, another file at its path.
        """
        if self.binaries is None:
            return True
        if self.effect == "deny":
            return any(caller.binary.resembles(binary) for binary in self.binaries)
        return any(caller.binary.same_file(binary) for binary in self.binaries) or any(
            ancestor.binary.same_file(parent) for parent in self.parents for ancestor in caller.ancestors
        )

    def change(self, caller: Caller) -> tuple[Binary, Binary] | None:
        """A program that the rule allows, and what the caller or one of its ancestors has in its place; None if that is not why."""
        if self.effect == "deny":
            return None
        pairs = [(trusted, caller.binary) for trusted in self.binaries or ()]
        pairs += [(trusted, ancestor.binary) for trusted in self.parents for ancestor in caller.ancestors]
        return next(((trusted, found) for trusted, found in pairs if found.resembles(trusted) and not found.same_file(trusted)), None)
