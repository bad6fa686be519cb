"""The `config.toml` that Codex finds inside: the user's own, without what may be a secret, and quiet.

Three things leave: tables that carry values to send (headers, query parameters, environments of MCP servers), settings whose name
says that they hold a secret, and any text that holds a known secret or looks like a token. A setting that *names* a variable stays:
the name is no secret, and the variable is not there. Whatever left is listed, so that the caller can say so.

Quiet means: no metrics, no update check, no plug-in or app directory fetched at each start, no daemon that would outlive the agent.
What the user's file says about one of these is respected, except the daemon: it copies 400 MB and cannot live inside.

Rules: leaving out too much costs a tool, leaving out too little costs a key. *Trust:* the user wrote the file, not thinking of an
agent that reads it. *Fails:* UsageError for a file that is not TOML, as Codex itself would refuse it.
"""

import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import tomli_w

from immure.errors import UsageError

FILE: Final = "config.toml"

_VALUES: Final = frozenset({"http_headers", "headers", "query_params", "env", "set"})
"""Tables that carry values outward, or into a program: of MCP servers, model providers, OTLP exporters, the shell environment."""
_SETTING: Final = re.compile(r"[\w-]+")
_NAMES_A_SECRET: Final = re.compile(r"token|secret|passw|api[_-]?key|authorization|credential|private[_-]?key|cookie", re.IGNORECASE)
_NAMES_A_VARIABLE: Final = re.compile(r"(?:^env_|_env$|_env_var$|^env_key$|_env_vars$|_credentials_store$)", re.IGNORECASE)
_TOKEN: Final = re.compile(
    r"""
      eyJ[\w-]{8,}\.[\w-]{4,}                          # JWT
    | \b(?:sk|pk|rk|at|rt)[-_](?=[\w-]*\d)[\w-]{16,}  # OpenAI, Anthropic, Stripe …
    | \bgh[oprsu]_\w{16,} | \bgithub_pat_\w{16,} | \bglpat-[\w-]{16,}
    | \bxox[a-z]-[\w-]{10,} | \bxapp-[\w-]{10,}        # Slack
    | \bA(?:KI|SI)A[0-9A-Z]{16}\b | \bAIza[\w-]{30,}   # AWS, Google
    | \bnpm_\w{30,} | \bpypi-[\w-]{16,} | \bhf_\w{20,}
    | \b(?:bearer|basic)\s+(?=\S*\d)[\w.~+/=-]{8,}   # an Authorization header
    | -----BEGIN[ A-Z]*PRIVATE\ KEY-----
    | ://[^/\s:@]*:[^/\s@]+@                           # a password in a URL
    """,
    re.VERBOSE | re.IGNORECASE,
)
_OPAQUE: Final = re.compile(r"[\w+=-]{32,}")
"""A run of 32 or more characters without a slash or a dot; a token only if it mixes cases and digits (a digest or a name does not)."""
_SERVER_NEEDS: Final = frozenset({"command", "args", "url"})

_QUIET: Final[dict[str, Any]] = {
    "check_for_update_on_startup": False,
    "analytics": {"enabled": False},
    "features": {"apps": False, "plugins": False, "api_key_model_discovery": False},
}
_FORCED: Final[dict[str, Any]] = {
    "cli_auth_credentials_store": "file",  # the file is where the placeholders are; there is no keyring inside
    "features": {"daemon_auto_start": False},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """`left_out` are the dotted names of settings that did not go in; they hold no values."""

    content: bytes
    left_out: tuple[str, ...]


def sandbox_config(text: str, known: Collection[str], *, path: str = FILE, telemetry: bool = False) -> SandboxConfig:
    """Make the file for inside from the text of the user's (empty if there is none) and the values of known secrets.

    `telemetry`: metrics were allowed, so the file does not turn them off. `path` is for messages. Raises UsageError.
    """
    try:
        own = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _malformed(path, str(error)) from None
    scrubber = _Scrubber(known)
    document: dict[str, Any] = scrubber.table(own)
    quiet = {name: value for name, value in _QUIET.items() if not (telemetry and name == "analytics")}
    _merge(document, quiet, path, force=False)
    _merge(document, _FORCED, path, force=True)
    return SandboxConfig(content=tomli_w.dumps(document).encode(), left_out=tuple(scrubber.left_out))


class _Scrubber:
    """Copies a document without what may be a secret, and remembers what it left out."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = tuple(known)
        self.left_out: list[str] = []

    def table(self, source: dict[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
        copy = {}
        for name, value in source.items():
            shown = "(a name that looks like a token)" if self._looks_secret(name) else name
            kept = None if shown != name else self._kept(value, (*path, name))
            if kept is None:
                self.left_out.append(".".join((*path, shown)))
            else:
                copy[name] = kept
        if path[-1:] == ("mcp_servers",):
            # Started without its arguments, a server is another program.
            lost = {name for name in copy for need in _SERVER_NEEDS if ".".join((*path, name, need)) in self.left_out}
            return {name: server for name, server in copy.items() if name not in lost}
        return copy

    def _kept(self, value: Any, path: tuple[str, ...]) -> Any:
        """A copy of the value at this place, or None if it must not go in (TOML has no null)."""
        if isinstance(value, dict):
            return None if path[-1].lower() in _VALUES else self.table(value, path)
        if isinstance(value, list):
            copies = [self._kept(item, path) for item in value]
            return None if None in copies else copies
        if isinstance(value, str) and (_says_secret(path) or self._looks_secret(value)):
            return None
        return value  # numbers and dates: `tool_output_token_limit` counts tokens of another kind

    def _looks_secret(self, text: str) -> bool:
        if any(value in text for value in self._known) or _TOKEN.search(text):
            return True
        return any(all(any(map(kind, run)) for kind in (str.islower, str.isupper, str.isdigit)) for run in _OPAQUE.findall(text))


def _says_secret(path: tuple[str, ...]) -> bool:
    """Whether a setting's name says that its text is a secret, and not the name of a variable. A path is not such a name."""
    if any(_NAMES_A_VARIABLE.search(name) for name in path[-2:]):
        return False
    return _SETTING.fullmatch(path[-1]) is not None and _NAMES_A_SECRET.search(path[-1]) is not None


def _merge(document: dict[str, Any], settings: dict[str, Any], path: str, *, force: bool) -> None:
    for name, value in settings.items():
        if isinstance(value, dict):
            below = document.setdefault(name, {})
            if not isinstance(below, dict):
                raise _malformed(path, f"{name} is not a table")
            _merge(below, value, path, force=force)
        elif force or name not in document:
            document[name] = value


def _malformed(path: str, why: str) -> UsageError:
    return UsageError(f"{path} is not a Codex configuration: {why}", code="codex.config", hint=f"correct it; Codex reads it too: {path}")
