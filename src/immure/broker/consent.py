"""Whether something inside a sandbox may sign in: what the settings say, and what the user has answered on the host.

    always   it may
    ask      it waits, the user's terminal says so, and `immure login approve` lets one sign-in through
    never    it may not, which the terminal says

A sign-in that the user has typed on the host (`immure codex login`) has been approved by that.

Rules: an approval is good for one sign-in, and for a quarter of an hour; a denial stays until the user approves. Nothing of what is
shown comes from inside.

*Trust:* whatever runs inside decides when, and how often, to ask. *Fails:* closed, and with one line in a quarter of an hour.
"""

import time
from collections.abc import Callable
from math import inf
from typing import Final

from immure.config.settings import SignInInside

GOOD_FOR: Final = 15 * 60.0
"""Seconds; a device code lasts as long (`sign_in.DEVICE_LIFE`)."""


class Consent:
    """The consent of one sandbox. `say` is the user's terminal; `clock` gives seconds."""

    def __init__(
        self, standing: SignInInside, sandbox: str, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._standing = standing
        self._sandbox = sandbox
        self._say = say
        self._clock = clock
        self._quiet_until = -inf
        self._given_until = -inf
        self._denied = False

    @property
    def is_given(self) -> bool:
        return not self._denied and (self._standing == "always" or self._clock() < self._given_until)

    @property
    def is_refused(self) -> bool:
        return self._denied or (self._standing == "never" and not self.is_given)

    def ask(self) -> bool:
        """Something wants to sign in. Returns whether the user is told."""
        if self.is_given or self._denied or self._clock() < self._quiet_until:
            return False
        self._quiet_until = self._clock() + GOOD_FOR
        if self._standing == "never":
            self._say(f'something in {self._sandbox} asked to sign in to Codex: refused, because sign_in_inside is "never"')
        else:
            answers = f"`immure login approve {self._sandbox}` or `immure login deny {self._sandbox}`"
            self._say(f"something in {self._sandbox} asks to sign in to Codex. If that was you, answer on the host: {answers}")
        return True

    def approve(self, good_for: float = GOOD_FOR) -> None:
        """Let one sign-in through that comes within that many seconds."""
        self._denied, self._given_until = False, self._clock() + good_for

    def deny(self) -> None:
        """Refuse what waits, and what follows."""
        self._denied, self._given_until = True, -inf

    def use(self) -> None:
        """Somebody has signed in: whoever comes next must ask."""
        self._quiet_until = self._given_until = -inf
