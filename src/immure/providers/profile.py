"""A provider profile: one YAML file of this package, and what it turns into for one sandbox.

For a login it says which placeholders the agent holds, where each may be exchanged (credentials), what the agent may reach (rules),
and which requests the broker answers itself (virtual endpoints). Nothing in it names a file of the machine or a secret: the agent's
programs and the login are brought by the caller.

*Fails:* a profile is part of the product, so anything unknown, missing or of the wrong type in it is a Fault.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Final, cast, get_args

import yaml

from immure.errors import Fault
from immure.model import Binary, Endpoint
from immure.model.path import PathPattern
from immure.policy.rules import Rule
from immure.providers.login import Login, LoginKind
from immure.rewrite.binding import Binding
from immure.rewrite.credential import Credential, Foreign
from immure.rewrite.placeholder import MINIMUM_ENTROPY, Shape, is_shape, mint
from immure.rewrite.slot import AssertionSlot, BodyForm, FieldSlot, HeaderSlot, PathSlot, QuerySlot, Scheme, Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredCredential:
    """`name` is that of the login's secret, `variable` what carries the placeholder inside, `shape` what the placeholder looks like.

    Without slots it is never exchanged on the wire, and the rest says nothing. `binding` lacks the programs.
    """

    name: str
    login: LoginKind
    variable: str
    shape: Shape
    slots: tuple[Slot, ...]
    binding: Binding
    foreign: Foreign


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredEndpoint:
    """An endpoint that the agent's programs may reach: with a login of one kind, or (`switch`) if the user has turned it on."""

    rule: str
    endpoint: Endpoint
    login: LoginKind | None
    switch: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Virtual:
    """A request that never leaves the machine: the broker answers it. `rule` names the rule that lets the agent ask.

    `login` is the kind of login that it belongs to, None for all; `path` may name placeholders in braces.
    """

    rule: str
    endpoint: Endpoint
    method: str
    path: str
    login: LoginKind | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`binaries` are the names of the agent's own programs, as its installation calls them."""

    name: str
    binaries: tuple[str, ...]
    declared: tuple[DeclaredCredential, ...]
    endpoints: tuple[DeclaredEndpoint, ...]
    virtual: tuple[Virtual, ...]

    @property
    def layer(self) -> str:
        return f"profile {self.name}"

    def rules(self, login: Login | None, binaries: tuple[Binary, ...], switches: Collection[str] = ()) -> tuple[Rule, ...]:
        """The rules for a sandbox with this login (or none). A switch that is off is a deny rule, for any program."""
        rules = []
        for declared in self.endpoints:
            if declared.switch and declared.switch not in switches:
                rules.append(Rule(name=declared.rule, layer=self.layer, effect="deny", endpoint=declared.endpoint, hint=declared.hint))
            elif declared.switch or (login is not None and declared.login == login.kind):
                rules.append(Rule(name=declared.rule, layer=self.layer, effect="allow", endpoint=declared.endpoint, binaries=binaries))
        return tuple(rules)

    def virtual_for(self, login: Login | None, placeholders: Mapping[str, str]) -> tuple[Virtual, ...]:
        """What the broker answers a sandbox with this login, at the paths that it will ask for."""
        asked = [virtual for virtual in self.virtual if virtual.login is None or (login is not None and virtual.login == login.kind)]
        return tuple(replace(virtual, path=virtual.path.format_map(placeholders)) for virtual in asked)

    def virtual_rule(self, virtual: Virtual, binaries: tuple[Binary, ...]) -> Rule:
        """Who may ask for a virtual endpoint: the agent's own programs. It opens nothing else of its host."""
        return Rule(name=virtual.rule, layer=self.layer, effect="allow", endpoint=virtual.endpoint, binaries=binaries)

    def placeholders(self, login: Login, entropy: Callable[[int], bytes]) -> dict[str, str]:
        """New placeholders by credential name, for what this login holds. `entropy(n)` gives n random bytes."""
        return {declared.name: mint(declared.shape, entropy(MINIMUM_ENTROPY)) for declared in self._held(login)}

    def credentials(self, login: Login, placeholders: Mapping[str, str], binaries: tuple[Binary, ...]) -> tuple[Credential, ...]:
        """What the gate may exchange, for the agent's own programs only."""
        return tuple(
            Credential(
                name=self._qualified(declared),
                placeholder=placeholders[declared.name],
                secret=login.secrets[declared.name],
                slots=declared.slots,
                binding=replace(declared.binding, binaries=binaries),
                foreign=declared.foreign,
            )
            for declared in self._held(login)
            if declared.slots
        )

    def environment(self, placeholders: Mapping[str, str]) -> dict[str, str]:
        """The variables that carry the placeholders inside."""
        return {declared.variable: placeholders[declared.name] for declared in self.declared if declared.name in placeholders}

    def _held(self, login: Login) -> list[DeclaredCredential]:
        return [declared for declared in self.declared if declared.login == login.kind and declared.name in login.secrets]

    def _qualified(self, declared: DeclaredCredential) -> str:
        return f"{self.name}.{declared.name}"


@cache
def load_profile(name: str) -> Profile:
    """The profile of that name. Raises KeyError if there is none."""
    file = resources.files("immure.providers").joinpath(f"{name}.yaml")
    if not (name.isascii() and name.replace("-", "_").isidentifier() and file.is_file()):
        raise KeyError(name)
    return parse_profile(file.read_text(encoding="utf-8"))


def parse_profile(text: str) -> Profile:
    """Read a profile. Raises Fault."""
    try:
        return _profile(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError, TypeError, Fault) as error:
        raise Fault(f"a provider profile of this package is wrong: {error}", code="profile.invalid") from error


_REQUIRED: Final = object()


def _profile(node: Any) -> Profile:
    fields = _fields(node, name=_REQUIRED, binaries=_REQUIRED, credentials=_REQUIRED, endpoints=_REQUIRED, virtual=[])
    return Profile(
        name=_text(fields["name"]),
        binaries=tuple(_text(name) for name in _list(fields["binaries"])),
        declared=tuple(_credential(item) for item in _list(fields["credentials"])),
        endpoints=tuple(_endpoint(item) for item in _list(fields["endpoints"])),
        virtual=tuple(_virtual(item) for item in _list(fields["virtual"])),
    )


def _credential(node: Any) -> DeclaredCredential:
    known = {"name": _REQUIRED, "login": _REQUIRED, "variable": _REQUIRED, "shape": _REQUIRED}
    optional: dict[str, Any] = {"slots": [], "endpoints": [], "methods": None, "paths": None, "foreign": "refuse"}
    fields = _fields(node, **known, **optional)
    methods, paths = fields["methods"], fields["paths"]
    return DeclaredCredential(
        name=_text(fields["name"]),
        login=_login(fields["login"]),
        variable=_text(fields["variable"]),
        shape=_shape(fields["shape"]),
        slots=tuple(_slot(item) for item in _list(fields["slots"])),
        binding=Binding(
            endpoints=tuple(Endpoint.parse(_text(item)) for item in _list(fields["endpoints"])),
            methods=None if methods is None else tuple(_text(item) for item in _list(methods)),
            paths=None if paths is None else tuple(PathPattern(_text(item)) for item in _list(paths)),
        ),
        foreign=cast(Foreign, _one_of(fields["foreign"], get_args(Foreign))),
    )


def _shape(node: Any) -> Shape:
    text = _text(node)
    if not is_shape(text):
        raise ValueError(f"{text!r} is not a shape of placeholders")
    return text


def _slot(node: Any) -> Slot:
    match node:
        case {"header": "authorization", "scheme": "assertion"} if len(node) == 2:
            return AssertionSlot()
        case {"header": str(header), "scheme": str(scheme)} if len(node) == 2:
            return HeaderSlot(header=header, scheme=cast(Scheme, scheme))
        case {"query": str(parameter)} if len(node) == 1:
            return QuerySlot(parameter=parameter)
        case {"path": str(before)} if len(node) == 1:
            return PathSlot(before=before)
        case {"field": str(field), "form": str(form)} if len(node) == 2:
            return FieldSlot(field=field, form=cast(BodyForm, form))
    raise ValueError(f"{node!r} is not a slot")


def _endpoint(node: Any) -> DeclaredEndpoint:
    fields = _fields(node, rule=_REQUIRED, endpoint=_REQUIRED, login=None, switch=None, hint=None)
    if (fields["login"] is None) == (fields["switch"] is None):
        raise ValueError("an endpoint belongs to a login or to a switch")
    return DeclaredEndpoint(
        rule=_text(fields["rule"]),
        endpoint=Endpoint.parse(_text(fields["endpoint"])),
        login=None if fields["login"] is None else _login(fields["login"]),
        switch="" if fields["switch"] is None else _text(fields["switch"]),
        hint="" if fields["hint"] is None else _text(fields["hint"]),
    )


def _virtual(node: Any) -> Virtual:
    fields = _fields(node, rule=_REQUIRED, endpoint=_REQUIRED, method=_REQUIRED, path=_REQUIRED, login=None)
    return Virtual(
        rule=_text(fields["rule"]),
        endpoint=Endpoint.parse(_text(fields["endpoint"])),
        method=_text(fields["method"]),
        path=_text(fields["path"]),
        login=None if fields["login"] is None else _login(fields["login"]),
    )


def _login(node: Any) -> LoginKind:
    return cast(LoginKind, _one_of(node, get_args(LoginKind)))


def _fields(node: Any, **known: Any) -> dict[str, Any]:
    """The fields of a mapping, defaults filled in. Raises ValueError for one that is unknown or missing."""
    if not isinstance(node, dict):
        raise TypeError(f"expected a mapping, not {node!r}")
    fields = known | node
    wrong = [name for name, value in fields.items() if name not in known or value is _REQUIRED]
    if wrong:
        raise ValueError(f"unknown or missing: {', '.join(map(str, wrong))}")
    return fields


def _list(node: Any) -> list[Any]:
    if not isinstance(node, list):
        raise TypeError(f"expected a list, not {node!r}")
    return node


def _text(node: Any) -> str:
    if not isinstance(node, str) or not node:
        raise TypeError(f"expected text, not {node!r}")
    return node


def _one_of(node: Any, values: tuple[str, ...]) -> str:
    if node not in values:
        raise ValueError(f"{node!r} is not one of {', '.join(values)}")
    return cast(str, node)
