"""The login of the user's own Codex where it keeps it in the desktop's keyring and not in a file: read, never written.

Codex stores the text of `auth.json` under the service `Codex Auth` and a name made of its home (codex-rs/login, `storage.rs`). The
entries of two libraries differ in what they are found by, so writing there would make a second entry beside Codex's own.

*Trust:* the keyring is the user's own. *Fails:* UsageError with the command that signs in.
"""

import hashlib
import os
from collections.abc import Callable
from typing import Final, Protocol

from immure.agents.codex.login_file import ImportedLogin, parse_login, sign_in
from immure.errors import UsageError

SERVICE: Final = "Codex Auth"


class Keyring(Protocol):
    """The one call of a `keyring` backend that is made here; it may raise anything."""

    def get_password(self, service: str, username: str) -> str | None: ...


def entry(codex_home: str) -> str:
    """The name under which Codex keeps the login of a home."""
    return f"cli|{hashlib.sha256(os.path.realpath(codex_home).encode()).hexdigest()[:16]}"


def read_keyring(codex_home: str, find: Callable[[], Keyring | None]) -> ImportedLogin:
    """The login of a home in the keyring that `find` gives. Raises UsageError, code `login.missing` if there is none."""
    command = sign_in(codex_home)
    keyring = find()
    try:
        text = keyring.get_password(SERVICE, entry(codex_home)) if keyring is not None else None
    except Exception:  # backends raise the errors of their own libraries, which share no base class
        text = None
    if text is None:
        where = "no keyring answers here" if keyring is None else "the keyring gives none for it"
        raise UsageError(
            f"no Codex login to import: {codex_home}/auth.json does not exist, and {where}",
            code="login.missing",
            hint=f"{command}, or sign in for immure alone: immure login codex",
        )
    return parse_login(text, f"the keyring's entry {SERVICE!r}", command)
