"""What a command line asks of Codex as far as its login is concerned: to sign in, and how; to sign out; to show; or none of these.

Rules: Codex itself reads the words, and runs them unchanged. This reading is only to know beforehand what it will need, and it errs to
one side: whatever would have Codex take a secret from its standard input is seen, wherever it stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Way = Literal["browser", "device", "api_key", "access_token"]

_FROM_INPUT: Final[dict[str, Way]] = {"--with-api-key": "api_key", "--with-access-token": "access_token"}
# Options before the verb that take the next word as their value (seen with Codex 0.169); `--name=value` is one word.
_WITH_VALUE: Final = frozenset(
    "-c --config --enable --disable --remote --remote-auth-token-env -i --image -m --model --local-provider -p --profile -s --sandbox"
    " -C --cd --add-dir -a --ask-for-approval".split()
)
_HELP: Final = frozenset({"-h", "--help", "-V", "--version"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginCommand:
    """`way` is set for a sign-in and for nothing else."""

    verb: Literal["login", "status", "logout"]
    way: Way | None = None


def login_command(words: Sequence[str]) -> LoginCommand | None:
    """What `codex WORDS…` does to its login; None if it is something else."""
    if "login" in words:
        for option, way in _FROM_INPUT.items():
            if option in words:
                return LoginCommand(verb="login", way=way)
    verb, rest = _verb(words)
    if verb == "logout":
        return LoginCommand(verb="logout")
    if verb != "login" or not _HELP.isdisjoint(rest):
        return None
    following, _ = _verb(rest)
    if following:
        return LoginCommand(verb="status") if following == "status" else None
    return LoginCommand(verb="login", way="device" if "--device-auth" in rest else "browser")


def _verb(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The first word that is neither an option nor the value of one, and what follows it."""
    skipped = False
    for index, word in enumerate(words):
        if skipped:
            skipped = False
        elif word.startswith("-"):
            skipped = word in _WITH_VALUE
        else:
            return word, words[index + 1 :]
    return "", ()
