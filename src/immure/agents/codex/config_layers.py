"""The layers of Codex's configuration on this host, lowest first, as far as permission profiles are concerned.

    /etc/codex/config.toml            the administrator's defaults
    $CODEX_HOME/config.toml           yours
    -c key=value                      on the command line
    /etc/codex/managed_config.toml    the administrator's last word

A trusted project's own `.codex/config.toml` would stand between yours and the command line. It is not read: when it holds a setting
that matters here, you are asked to say what you mean.

*Trust:* all of them are yours or the administrator's, but for a project's file. *Fails:* UsageError with the file.
"""

import os
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from immure.agents.codex.config_file import FILE
from immure.agents.codex.permissions import SETTINGS, Layer, override
from immure.errors import UsageError

MACHINE: Final = "/etc/codex"


def layers(codex_home: str, overrides: Sequence[str], directory: str, machine: str = MACHINE) -> tuple[Layer, ...]:
    """Those that count for a working directory. Raises UsageError."""
    own = _layer(f"{codex_home}/{FILE}")
    if own is not None:
        _check_project(own, directory, codex_home)
    files = (_layer(f"{machine}/{FILE}"), own)
    last = _layer(f"{machine}/managed_config.toml")
    found = (*files, *(override(text) for text in overrides), last)
    return tuple(layer for layer in found if layer is not None)


def requirements(machine: str = MACHINE) -> Layer | None:
    """What the administrator requires of every profile. Raises UsageError."""
    return _layer(f"{machine}/requirements.toml")


def _layer(path: str) -> Layer | None:
    try:
        with open(path, "rb") as file:
            content: dict[str, Any] = tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", code="codex.config", hint=f"ls -l {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = "correct it; Codex reads it too"
        raise UsageError(f"{path} is not a Codex configuration: {error}", code="codex.config", hint=hint) from None
    return Layer(name=path, content=content)


def _check_project(own: Layer, directory: str, codex_home: str) -> None:
    """Raises UsageError if a project that Codex trusts has settings of its own that would count."""
    projects = own.content.get("projects", {})
    trusted = {name for name, project in projects.items() if isinstance(project, dict) and project.get("trust_level") == "trusted"}
    if not trusted:
        return
    for path in _upwards(directory):
        file = f"{path.rstrip('/')}/.codex"
        if os.path.realpath(file) == os.path.realpath(codex_home):
            continue
        project = _layer(f"{file}/{FILE}")
        if project is not None and (found := [name for name in SETTINGS if name in project.content]):
            raise UsageError(
                f"{project.name}: {found[0]}: settings of a project are not taken for its walls",
                code="codex.permissions",
                hint=f"move it to {own.name}, where only you write",
            )


def _upwards(directory: str) -> Iterator[str]:
    while True:
        yield directory
        if directory == os.path.dirname(directory):
            return
        directory = os.path.dirname(directory)
