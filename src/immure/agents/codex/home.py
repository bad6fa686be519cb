"""Codex's home inside the sandbox: the files that stand in it at the start, and the variables that lead to it.

It is a directory of its own, written anew for each sandbox and never the user's: Codex replaces `auth.json` by rename(2), which a file
mounted alone forbids, and writes its history and helpers beside it. It must not lie below /tmp, where Codex refuses to put helpers.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from immure.agents.codex import config_file, login_file
from immure.agents.codex.id_token import synthetic_id_token
from immure.errors import UsageError
from immure.model import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """`files` by name, to be written with mode 0600; `left_out` names the settings of the user's config.toml that did not go in."""

    files: Mapping[str, bytes]
    left_out: tuple[str, ...]


def environment(home: str) -> dict[str, str]:
    """The variables for Codex, `home` being the agent's home directory inside."""
    return {"CODEX_HOME": home + "/.codex"}


def stage(
    codex_home: str,
    *,
    secrets: Mapping[str, Secret],
    claims: Mapping[str, Any],
    placeholders: Mapping[str, str],
    now: float,
    agent_token: str | None = None,
    telemetry: bool = False,
) -> Home:
    """The files for a login and its placeholders, with the settings of the user's `codex_home`. Raises UsageError.

    `secrets` and `placeholders` by credential name, `claims` of the real id_token; `now` in seconds since the epoch. Without
    placeholders there is no `auth.json`. `agent_token` is the JWT for inside, if the login is an agent identity.
    """
    config = config_file.sandbox_config(
        _read(os.path.join(codex_home, config_file.FILE)),
        [secret.reveal() for secret in secrets.values()],
        path=os.path.join(codex_home, config_file.FILE),
        telemetry=telemetry,
    )
    files = {config_file.FILE: config.content}
    if placeholders:
        token = agent_token or _id_token(secrets, claims, placeholders)
        files[login_file.FILE] = login_file.login_file(placeholders, token, now)
    return Home(files=files, left_out=config.left_out)


def _id_token(secrets: Mapping[str, Secret], claims: Mapping[str, Any], placeholders: Mapping[str, str]) -> str | None:
    if "access_token" not in placeholders:
        return None
    account = secrets.get("account_id")
    return synthetic_id_token(claims, account.reveal() if account else None, placeholders.get("account_id"))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text", code="codex.config", hint="correct it; Codex reads it too") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", code="codex.config", hint=f"ls -l {path}") from None
