"""Why a login cannot be used: because it has ended, which only a new sign-in mends, or because it cannot be renewed just now."""

from datetime import datetime
from typing import Final

from immure.broker import login_name
from immure.errors import HostError, UsageError

_WHY: Final = {
    "expired": "has expired",
    "reused": "has been renewed by another program that holds a copy of it",
    "invalidated": "was revoked",
    "invalid_grant": "is no longer accepted",
    "refused": "is no longer accepted",
    "interrupted": "was being renewed when immure or the network stopped, and the answer that held the new token was lost",
    "replaced": "was replaced by a sign-in to another account",
    "removed": "is no longer in the vault",
    "single": "cannot be renewed: it came without a refresh token",
}


class LoginEnded(UsageError):
    """Only a new sign-in helps. `cause` is a word of the table above, `when` the renewal that was interrupted."""

    def __init__(self, cause: str, login: str, when: float | None = None) -> None:
        at = f" ({datetime.fromtimestamp(when):%Y-%m-%d %H:%M})" if cause == "interrupted" and when is not None else ""
        super().__init__(
            f"{login_name.described(login)} {_WHY[cause]}{at}",
            code="login.ended",
            hint=f"sign in on the host: {login_name.advice(login)}; then start again",
        )
        self.cause = cause


class LoginUnavailable(HostError):
    """The issuer could not be asked, or would not answer now. `wanted` is what the login was to be: renewed, or used."""

    def __init__(self, reason: str, wanted: str = "renewed") -> None:
        super().__init__(
            f"the Codex login cannot be {wanted} now: {reason}",
            code="login.unavailable",
            hint="check the network, or the [[upstream]] of auth.openai.com in config.toml, and try again",
        )
