"""What can go wrong, and whose doing it is.

Every failure that a user sees says what happened, to what, and (`hint`) the command that mends it; it carries a stable `code`
for scripts and the exit status of the command that failed. The class names the culprit:

    UsageError   you: a flag, a file you named, a login that is not there
    PolicyError  the rules: a policy that cannot be enforced as written
    HostError    the machine: kernel, missing program, full disk
    PeerError    the agent or an upstream: bytes that are not what the protocol allows
    Fault        us: a bug

No message may hold a secret: name the credential, never its value.

Rule: imports nothing, because the client that starts in 13 ms reads the exit statuses.
"""

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_LAUNCH = 125
"""immure itself failed: before the program started, or because a part of the wall died under it."""
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127


class ImmureError(Exception):
    """Base of all errors meant for a person. `str()` is the one-line description without the hint."""

    exit_status: int = EXIT_FAILURE

    def __init__(self, what: str, *, code: str, hint: str = "", exit_status: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.code = code
        self.hint = hint
        self.status = self.exit_status if exit_status is None else exit_status

    def render(self) -> str:
        """The text for a terminal: one `error:` line and, if there is one, one `hint:` line, each ended by a newline."""
        lines = f"error: {self.what} [{self.code}]\n"
        return lines + f"hint: {self.hint}\n" if self.hint else lines


class UsageError(ImmureError):
    exit_status = EXIT_USAGE


class PolicyError(ImmureError):
    exit_status = EXIT_USAGE


class HostError(ImmureError):
    exit_status = EXIT_LAUNCH


class Fault(ImmureError):
    exit_status = EXIT_LAUNCH


class PeerError(Exception):
    """The other side broke the protocol. `status` is the HTTP status that answers it (RFC 9110 section 15)."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
