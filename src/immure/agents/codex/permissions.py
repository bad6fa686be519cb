"""Codex's permission profiles: from its configuration to what a program may do. [pure]

    default_permissions = "lab"
    [permissions.lab]
    extends = ":workspace"                    # or :read-only, or another profile
    workspace_roots = { "~/other" = true }    # beside the working directory
    [permissions.lab.filesystem]
    ":minimal" = "read"                       # the operating system; ":root", ":tmpdir" ($TMPDIR) and ":slash_tmp" (/tmp) are the others
    "~/.ssh" = "deny"                         # read, write or deny
    [permissions.lab.filesystem.":workspace_roots"]
    "." = "write"
    "**/*.env" = "deny"                       # a pattern can only deny
    [permissions.lab.network]
    enabled = true

Of several layers of configuration a higher one overrides key by key, and so does a profile that which it extends. Who is chosen: the
profile that is asked for by name, else what the highest layer says that has `default_permissions` or `sandbox_mode`. A file's
`sandbox_mode` counts only if some layer has `default_permissions`: `codex sandbox` takes it for a setting of its sessions.

Rules: this agrees with `codex sandbox` 0.169, or is stricter. What it would ignore with a warning (a key or a special path that it
does not know) is an error here, and so is what these walls cannot express.

*Trust:* the files are the user's, or the administrator's. *Fails:* UsageError with file, key and what to write instead.
"""

import posixpath
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from immure.errors import UsageError
from immure.model.permissions import Access, Permissions, stronger

READ_ONLY: Final = ":read-only"
WORKSPACE: Final = ":workspace"
FULL_ACCESS: Final = ":danger-full-access"
PROTECTED: Final = (".git", ".agents", ".codex", ".aws")
"""Read-only at the top of whatever may be written, unless a profile says otherwise of the path itself."""

SETTINGS: Final = ("default_permissions", "sandbox_mode", "sandbox_workspace_write", "permissions")
_MODES: Final = {"read-only": READ_ONLY, "workspace-write": WORKSPACE, "danger-full-access": FULL_ACCESS}
_WORKSPACE_WRITE: Final = ("writable_roots", "network_access", "exclude_tmpdir_env_var", "exclude_slash_tmp")
_PROFILE: Final = ("description", "extends", "workspace_roots", "filesystem", "network")
_ACCESS: Final[dict[str, Access]] = {"read": "read", "write": "write", "deny": "deny", "none": "deny"}
_PARENTS: Final[dict[str, dict[str, Any]]] = {
    READ_ONLY: {"filesystem": {":root": "read"}},
    WORKSPACE: {
        "filesystem": {
            ":root": "read",
            ":workspace_roots": {".": "write", ".git": "read", ".agents": "read", ".codex": "read"},
            ":slash_tmp": "write",
            ":tmpdir": "write",
        }
    },
}
_SPECIAL: Final = (":root", ":minimal", ":workspace_roots", ":tmpdir", ":slash_tmp")
_SCAN_DEPTH: Final = "glob_scan_max_depth"
_ENFORCED_ELSEWHERE: Final = ("permissions", "network_proxy", "experimental_network")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One source of configuration, `name` being what messages call it. `is_typed`: it was given on the command line."""

    name: str
    content: Mapping[str, Any]
    is_typed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a profile is resolved: the working directory, the home directory, and the value of TMPDIR ("" for none)."""

    directory: str
    home: str
    tmpdir: str


class _Choice(NamedTuple):
    profile: str
    is_mode: bool = False


def override(text: str) -> Layer:
    """The layer of a `-c key=value`; a value that is not TOML is a text. Raises UsageError."""
    key, equals, value = text.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names) or '"' in key or "'" in key:
        raise UsageError(
            f"-c {text}: not of the form key=value", code="codex.permissions", hint="""-c sandbox_mode=read-only, -c 'a.b={"c d"=1}'"""
        )
    try:
        content: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        content = value.strip()
    for name in reversed(names):
        content = {name: content}
    return Layer(name=f"-c {key.strip()}", content=content, is_typed=True)


def resolve(layers: Sequence[Layer], profile: str | None, place: Place, requirements: Layer | None = None) -> Permissions:
    """What the named profile, or the one that the layers (lowest first) choose, permits. Raises UsageError.

    `requirements` are the administrator's, if they are to be kept.
    """
    configuration = _Configuration(layers)
    choice = _Choice(profile) if profile is not None else configuration.choice()
    if choice is None:
        choice = _Choice(requirements.content.get("default_permissions", READ_ONLY) if requirements else READ_ONLY)
    permissions = configuration.resolve(choice, place)
    if requirements is not None:
        _require(requirements, choice.profile, permissions)
    return permissions


class _Configuration:
    """The layers, lowest first, as one."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self._content: dict[str, Any] = {}
        for layer in layers:
            self._content = _merged(self._content, layer.content)

    def choice(self) -> _Choice | None:
        modes = any("default_permissions" in layer.content for layer in self._layers)
        for layer in reversed(self._layers):
            if "default_permissions" in layer.content:
                return _Choice(self._text("default_permissions"))
            if "sandbox_mode" in layer.content and (modes or layer.is_typed):
                mode = self._text("sandbox_mode")
                if mode not in _MODES:
                    raise self.wrong("sandbox_mode", f"unknown mode {mode!r}", _suggestion(mode, _MODES))
                return _Choice(_MODES[mode], is_mode=True)
        if "permissions" in self._content and "sandbox_mode" not in self._content:
            raise self.wrong("permissions", "there are profiles, but none is the default", 'give default_permissions = "NAME", or -P NAME')
        return None

    def resolve(self, choice: _Choice, place: Place) -> Permissions:
        name = choice.profile
        for own in self._content.get("permissions", {}):
            if own.startswith(":"):
                raise self.wrong(f"permissions.{own}", "names that begin with a colon are Codex's own", "give the profile another name")
        if name == FULL_ACCESS:
            return Permissions(access={"/": "write"}, system=True, network=True)
        profile = dict(_PARENTS[name]) if name in _PARENTS else self._profile(name, ())
        network = False
        if choice.is_mode and name == WORKSPACE:
            profile, network = self._workspace_write(place)
        compiler = _Compiler(self, f"permissions.{name}", place, profile.get("workspace_roots", {}))
        compiler.filesystem(profile.get("filesystem", {}))
        return compiler.permissions(network=self._network(name, profile) or network)

    def _profile(self, name: str, seen: tuple[str, ...]) -> dict[str, Any]:
        """A profile with all that it extends."""
        if name in seen:
            raise self.wrong(f"permissions.{name}.extends", f"goes in a circle: {' -> '.join([*seen, name])}", "end it in :read-only")
        table = self._content.get("permissions", {})
        if name not in table:
            key = f"permissions.{seen[-1]}.extends" if seen else "permissions"
            known = (READ_ONLY, WORKSPACE, *([] if seen else [FULL_ACCESS]), *table)
            raise self.wrong(key, f"no profile {name!r}", _suggestion(name, known))
        content = self._table(f"permissions.{name}", table[name], _PROFILE)
        parent = content.get("extends")
        if parent is None:
            return content
        if parent in _PARENTS:
            return _merged(_PARENTS[parent], content)
        if not isinstance(parent, str) or parent == FULL_ACCESS:
            raise self.wrong(f"permissions.{name}.extends", f"{parent!r} cannot be extended", "extend :read-only or :workspace")
        return _merged(self._profile(parent, (*seen, name)), content)

    def _workspace_write(self, place: Place) -> tuple[dict[str, Any], bool]:
        """The profile of sandbox_mode "workspace-write", and whether it has a network."""
        key = "sandbox_workspace_write"
        table = self._table(key, self._content.get(key, {}), _WORKSPACE_WRITE)
        roots = table.get("writable_roots", [])
        if not isinstance(roots, list) or not all(isinstance(root, str) for root in roots):
            raise self.wrong(f"{key}.writable_roots", "not a list of paths", 'write ["/path", "~/path"]')
        switches = {name: table.get(name, False) for name in _WORKSPACE_WRITE[1:]}
        for name, value in switches.items():
            if not isinstance(value, bool):
                raise self.wrong(f"{key}.{name}", f"not true or false: {value!r}", "write true or false")
        filesystem = dict(_PARENTS[WORKSPACE]["filesystem"])
        if switches["exclude_tmpdir_env_var"]:
            del filesystem[":tmpdir"]
        if switches["exclude_slash_tmp"]:
            del filesystem[":slash_tmp"]
        for root in roots:
            filesystem[self.path(f"{key}.writable_roots", root, place)] = "write"
        return {"filesystem": filesystem}, switches["network_access"]

    def _network(self, name: str, profile: Mapping[str, Any]) -> bool:
        key = f"permissions.{name}.network"
        table = profile.get("network", {})
        for other in set(table) - {"enabled"} if isinstance(table, dict) else ():
            raise self.wrong(f"{key}.{other}", "the gate goes by its own rules", "leave it out, and use --allow and --policy")
        value = self._table(key, table, ("enabled",)).get("enabled", False)
        if not isinstance(value, bool):
            raise self.wrong(f"{key}.enabled", f"not true or false: {value!r}", "write true or false")
        return value

    # What values may look like

    def path(self, key: str, text: str, place: Place) -> str:
        """An absolute path without `.` and `..`, as Codex reads it."""
        if text == "~" or text.startswith("~/"):
            text = place.home + text[1:]
        if not text.startswith("/") or "\0" in text:
            raise self.wrong(key, f"{text!r} is not an absolute path", "begin it with / or ~/")
        return "/" + posixpath.normpath(text).lstrip("/")

    def access(self, key: str, value: object) -> Access:
        if not isinstance(value, str) or value not in _ACCESS:
            raise self.wrong(key, f"unknown access {value!r}", "write read, write or deny")
        return _ACCESS[value]

    def _text(self, key: str) -> str:
        value = self._content[key]
        if not isinstance(value, str):
            raise self.wrong(key, f"not a text: {value!r}", "write it in quotes")
        return value

    def _table(self, key: str, value: object, known: Iterable[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(key, "not a table", f"write [{key}] on a line of its own")
        for name in value:
            if name not in known:
                raise self.wrong(f"{key}.{name}", "unknown key", _suggestion(name, known))
        return value

    def wrong(self, key: str, what: str, hint: str) -> UsageError:
        """An error at a key, in the highest layer that says anything of it."""
        top = key.split(".")[0]
        source = next((layer.name for layer in reversed(self._layers) if top in layer.content), "the permission profile")
        return UsageError(f"{source}: {key}: {what}", code="codex.permissions", hint=hint)


class _Compiler:
    """Turns the tables of one profile into paths."""

    def __init__(self, configuration: _Configuration, key: str, place: Place, roots: object) -> None:
        self._configuration = configuration
        self._key = f"{key}.filesystem"
        self._place = place
        self._roots = [place.directory, *self._more_roots(f"{key}.workspace_roots", roots)]
        self._access: dict[str, Access] = {}
        self._patterns: list[str] = []
        self._depth: int | None = None
        self._system = False

    def _more_roots(self, key: str, table: object) -> Iterable[str]:
        if not isinstance(table, dict) or not all(isinstance(value, bool) for value in table.values()):
            raise self._configuration.wrong(key, "not a table of paths", 'write "/path" = true')
        for path, wanted in table.items():
            if wanted:
                yield self._configuration.path(key, path if path[:1] in "/~" else f"{self._place.directory}/{path}", self._place)

    def permissions(self, *, network: bool) -> Permissions:
        return Permissions(
            access=self._access,
            protected=PROTECTED,
            patterns=tuple(self._patterns),
            depth=self._depth,
            system=self._system or "/" in self._access,
            network=network,
        )

    def filesystem(self, table: object) -> None:
        if not isinstance(table, dict):
            raise self._configuration.wrong(self._key, "not a table", f"write [{self._key}] on a line of its own")
        for name, value in table.items():
            if name == _SCAN_DEPTH:
                self._limit(value)
            elif isinstance(value, dict):
                self._scoped(name, value)
            else:
                self._entry(name, self._configuration.access(f"{self._key}.{name}", value))

    def _limit(self, value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._configuration.wrong(f"{self._key}.{_SCAN_DEPTH}", f"not a number from 1: {value!r}", "write 3, or leave it out")
        self._depth = value

    def _entry(self, name: str, access: Access) -> None:
        key = f"{self._key}.{name}"
        if name == ":minimal":
            if access != "read":
                raise self._configuration.wrong(key, f"the operating system cannot be given to {access}", 'write ":minimal" = "read"')
            self._system = True
            return
        for base in self._bases(key, name):
            self._put(key, base, access)

    def _scoped(self, name: str, table: Mapping[str, Any]) -> None:
        for below, value in table.items():
            key = f"{self._key}.{name}.{below}"
            access = self._configuration.access(key, value)
            if below == ".":
                self._entry(name, access)
                continue
            if name.startswith(":") and name != ":workspace_roots":
                raise self._configuration.wrong(key, f"{name} takes no entries of its own", f'write "{name}" = "{access}"')
            if not all(part not in ("", ".", "..") for part in below.split("/")):
                raise self._configuration.wrong(key, "not a path below it", "write names without . and ..")
            for base in self._bases(key, name):
                self._put(key, f"{base}/{below}", access)

    def _bases(self, key: str, name: str) -> Sequence[str]:
        match name:
            case ":workspace_roots":
                return self._roots
            case ":root":
                return ["/"]
            case ":slash_tmp":
                return ["/tmp"]  # noqa: S108
            case ":tmpdir":
                return [posixpath.normpath(self._place.tmpdir)] if self._place.tmpdir.startswith("/") else []
        if name.startswith(":"):
            raise self._configuration.wrong(key, f"unknown path {name!r}", _suggestion(name, _SPECIAL))
        return [self._configuration.path(key, name, self._place)]

    def _put(self, key: str, path: str, access: Access) -> None:
        if any(sign in path for sign in "*?[]"):
            if access == "deny":
                self._patterns.append(path)
                return
            path = path.removesuffix("/**")
            if any(sign in path for sign in "*?[]"):
                raise self._configuration.wrong(key, f"a pattern cannot be given to {access}", "name the path, or PATH/**")
        if path == "/" and access == "deny":
            return  # what has no entry is not shown
        self._access[path] = stronger(access, self._access.get(path))


def _require(requirements: Layer, profile: str, permissions: Permissions) -> None:
    """Raises UsageError if the administrator does not allow the profile."""
    content = requirements.content
    for key in _ENFORCED_ELSEWHERE:
        if key in content:
            raise UsageError(
                f"{requirements.name}: {key}: these walls cannot keep it", code="codex.requirements", hint="use `codex sandbox` for it"
            )
    unlimited = permissions.access.get("/") == "write"
    mode = "danger-full-access" if unlimited else "workspace-write" if permissions.writes else "read-only"
    modes = content.get("allowed_sandbox_modes", list(_MODES))
    profiles = content.get("allowed_permission_profiles", {profile: True})
    if mode not in modes or profiles.get(profile) is not True:
        raise UsageError(
            f"{requirements.name} does not allow the permission profile {profile} ({mode})",
            code="codex.requirements",
            hint=f"choose one that it allows: {', '.join([name for name, allowed in profiles.items() if allowed] or modes)}",
        )


def _merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Tables key by key, all else by its upper value."""
    merged = dict(lower)
    for name, value in upper.items():
        below = merged.get(name)
        merged[name] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _suggestion(text: str, known: Iterable[str]) -> str:
    close = get_close_matches(text, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
