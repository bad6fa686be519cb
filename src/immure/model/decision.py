"""What policy answers. Forwarding needs an `Allow` in hand: there is no boolean to forget."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allow:
    """`rule` is the name of the rule that allows, `layer` where that rule comes from."""

    rule: str
    layer: str


@dataclass(frozen=True, slots=True)
class Deny:
    """`reason` says why in one sentence; `hint` is the smallest change that would allow it, or empty if none is offered."""

    rule: str
    layer: str
    reason: str
    hint: str = ""


Decision = Allow | Deny
