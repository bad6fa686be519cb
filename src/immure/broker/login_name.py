"""What a login is called: in the vault and the audit trail by its name, to a person in words.

A login that was imported is named after the Codex home it came from; one that was made by `immure login` has a fixed name, so that
there is one of each kind. A home is an absolute path, so the two cannot meet.
"""

import os
from collections.abc import Mapping
from typing import Final

from immure.agents.codex.login_file import sign_in
from immure.providers import LoginKind

_PREFIX: Final = "codex "
OWN: Final[Mapping[LoginKind, str]] = {
    "chatgpt": "codex subscription",
    "personal_access_token": "codex access token",
    "agent_identity": "codex agent identity",
    "api_key": "codex API key",
}
"""The logins that are immure's own, those before others that are used first."""
_SIGN_IN: Final = {
    OWN["chatgpt"]: "immure login codex",
    OWN["personal_access_token"]: "immure login codex --with-access-token",
    OWN["agent_identity"]: "immure login codex --with-access-token",
    OWN["api_key"]: "immure login codex --with-api-key",
}


def command(kind: LoginKind) -> str:
    """The command that makes a login of this kind that is immure's own."""
    return _SIGN_IN[OWN[kind]]


def of_home(codex_home: str) -> str:
    """The name of the login that is imported from a Codex home."""
    return _PREFIX + os.path.realpath(codex_home)


def home_of(name: str) -> str | None:
    """The Codex home that a login was imported from; None for one of our own."""
    return None if name in _SIGN_IN else name.removeprefix(_PREFIX)


def described(name: str) -> str:
    home = home_of(name)
    return f"the Codex login of {home}" if home is not None else f"the {name.replace('codex', 'Codex', 1)} of `immure login`"


def advice(name: str) -> str:
    """The command that signs in anew."""
    home = home_of(name)
    return _SIGN_IN[name] if home is None else sign_in(home)
