"""Why a request is not sent on: something in a slot does not fit."""

from typing import Literal

RefusedKind = Literal["misplaced placeholder", "foreign credential", "unreadable slot"]


class Refused(Exception):
    """Nothing of the request may be sent. `reason` is a clause about what stands in the slot ("it is not for …").

    `credential_name` is that of the placeholder, None if this sandbox does not hold it; for the other kinds, whose slot it is. `shown` is
    what an unknown placeholder stood in, for who may know what has become of it: it is the agent's, and not to be shown.
    """

    def __init__(self, credential_name: str | None, reason: str, kind: RefusedKind = "misplaced placeholder", *, shown: str = "") -> None:
        super().__init__(reason)
        self.credential_name = credential_name
        self.reason = reason
        self.kind = kind
        self.shown = shown

    def sentence(self, host: str, reason: str = "") -> str:
        """What was not sent, where to, and why: for `reason`, if more is known than was here."""
        match self.kind:
            case "misplaced placeholder" if self.credential_name:
                what = f"credential {self.credential_name!r}"
            case "misplaced placeholder":
                what = "a placeholder"
            case "foreign credential":
                what = "a credential that is not immure's"
            case "unreadable slot":
                what = "the request"
        return f"{what} was not sent to {host}: {reason or self.reason}"
