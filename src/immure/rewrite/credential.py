"""A credential of one sandbox: the placeholder inside, the secret outside, and where the one may become the other.

*Fails:* what is not declared here is not sent.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from immure.errors import Fault
from immure.model import Secret
from immure.rewrite.assertion import Signatory
from immure.rewrite.binding import Binding
from immure.rewrite.pairs import MINIMUM_SECRET
from immure.rewrite.placeholder import is_placeholder
from immure.rewrite.slot import AssertionSlot, FieldSlot, Slot

Foreign = Literal["refuse", "allow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """The secret of an `AssertionSlot` is a `Signatory`, and its placeholder that of the agent in it.

    `foreign`: whether the endpoints it is bound to may be sent another credential than a placeholder, one that the agent brought.
    """

    name: str
    placeholder: str
    secret: Secret
    slots: tuple[Slot, ...]
    binding: Binding
    foreign: Foreign = "refuse"

    def __post_init__(self) -> None:
        wrong = ""
        if not is_placeholder(self.placeholder):
            wrong = "its placeholder is not one of ours"
        elif not self.slots:
            wrong = "it has no slot"
        elif self.is_signed and len(self.slots) > 1:
            wrong = "what signs has no other slot"
        elif self.foreign not in get_args(Foreign):
            wrong = f"{self.foreign!r} is not what to do with others"
        elif len(self.secret.reveal()) < MINIMUM_SECRET:
            wrong = f"its secret is shorter than {MINIMUM_SECRET} characters"
        elif any(isinstance(slot, FieldSlot) for slot in self.slots) and not (self.binding.methods and self.binding.paths):
            wrong = "a slot in bodies needs methods and paths, for a body is taken whole before it is sent on"
        if wrong:
            raise Fault(f"credential {self.name!r} cannot be used: {wrong}", code="credential.shape")

    @property
    def places(self) -> str:
        """Its slots, in words."""
        return " or ".join(dict.fromkeys(slot.position for slot in self.slots))

    @property
    def is_signed(self) -> bool:
        """Whether what it puts into a request is good for that request alone."""
        return any(isinstance(slot, AssertionSlot) for slot in self.slots)

    @property
    def pairs(self) -> tuple[tuple[bytes, bytes], ...]:
        """Secrets and placeholders, as restoration wants them."""
        if self.is_signed:
            return Signatory.of(self.secret).pairs(self.placeholder)
        return ((self.secret.reveal().encode(), self.placeholder.encode()),)
