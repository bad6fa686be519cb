"""Why a request is not sent on: something in a slot does not fit."""


class Refused(Exception):
    """Nothing of the request may be sent. `reason` is a clause about what was in the slot ("it is not for …").

    `credential_name` is None for a placeholder that this sandbox does not hold. `foreign`: what was in the slot is no placeholder of
    ours but a credential that the program brought along, and `credential_name` that which the slot is for.
    """

    def __init__(self, credential_name: str | None, reason: str, *, foreign: bool = False) -> None:
        super().__init__(reason)
        self.credential_name = credential_name
        self.reason = reason
        self.foreign = foreign

    def sentence(self, host: str) -> str:
        """What was not sent, where to, and why."""
        if self.foreign:
            return f"a credential that is not immure's was not sent to {host}: {self.reason}"
        whose = f"credential {self.credential_name!r}" if self.credential_name else "a placeholder"
        return f"{whose} was not sent to {host}: {self.reason}"
