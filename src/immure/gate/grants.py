"""What a sandbox may reach and send: all that may change while it runs, in one value.

The broker composes it anew at every change and hands over the whole, so that a gate is never between two states: rules, credentials and
virtual endpoints change together, between two events of its loop. It travels in a memory file, because it holds secrets.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, get_args

from immure.model import Binary, Endpoint, Secret
from immure.model.path import PathPattern
from immure.policy import Rule
from immure.rewrite import Binding, Credential, Slot

_SLOTS: Final[dict[str, Any]] = {kind.__name__: kind for kind in get_args(Slot)}


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualEndpoint:
    """Requests that the broker answers itself and that never go further, such as a refresh of a login.

    `rule` says where it is and who may ask, and opens nothing else of that host. `path` is compared with the path of the target
    without its query. `credential` is passed back with each call, to say whose it is.
    """

    rule: Rule
    method: str
    path: str
    credential: str

    def __post_init__(self) -> None:
        if self.rule.endpoint.wildcard or not self.path.startswith("/") or not self.method.isupper():
            raise ValueError(f"not a virtual endpoint: {self.method} {self.rule.endpoint} {self.path}")

    @property
    def host(self) -> str:
        return self.rule.endpoint.host

    @property
    def port(self) -> int:
        return self.rule.endpoint.port


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """What the sandbox had and has no more, so that a refusal can say so. It allows nothing and forbids nothing.

    `placeholders` are dead, `rules` do not hold any more; `reason` is a clause ("the provider … was detached …"), `hint` the command that
    mends it.
    """

    placeholders: tuple[str, ...]
    rules: tuple[Rule, ...]
    reason: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """Nothing is granted that does not stand here."""

    rules: tuple[Rule, ...] = ()
    credentials: tuple[Credential, ...] = ()
    virtual: tuple[VirtualEndpoint, ...] = ()
    withdrawn: tuple[Withdrawal, ...] = ()

    @property
    def binaries(self) -> tuple[Binary, ...]:
        """All that are named, whose content the gate must know."""
        rules = (*self.rules, *(virtual.rule for virtual in self.virtual))
        lists = [*(rule.binaries for rule in rules), *(credential.binding.binaries for credential in self.credentials)]
        return tuple(binary for binaries in lists for binary in binaries or ())

    def encode(self) -> bytes:
        """For a memory file: the secrets are in it."""
        return json.dumps(self.content()).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Grants":
        """The inverse of `encode`. Raises ValueError, KeyError or TypeError for anything else."""
        return cls.of(json.loads(data))

    def content(self) -> dict[str, Any]:
        """As what JSON knows."""
        return {
            "rules": [_from_rule(rule) for rule in self.rules],
            "credentials": [_from_credential(credential) for credential in self.credentials],
            "virtual": [[_from_rule(v.rule), v.method, v.path, v.credential] for v in self.virtual],
            "withdrawn": [[w.placeholders, [_from_rule(rule) for rule in w.rules], w.reason, w.hint] for w in self.withdrawn],
        }

    @classmethod
    def of(cls, content: Any) -> "Grants":
        """The inverse of `content`. Raises as `decode` does."""
        return cls(
            rules=tuple(_to_rule(rule) for rule in content["rules"]),
            credentials=tuple(_to_credential(credential) for credential in content["credentials"]),
            virtual=tuple(
                VirtualEndpoint(rule=_to_rule(rule), method=method, path=path, credential=credential)
                for rule, method, path, credential in content["virtual"]
            ),
            withdrawn=tuple(
                Withdrawal(placeholders=tuple(placeholders), rules=tuple(_to_rule(rule) for rule in rules), reason=reason, hint=hint)
                for placeholders, rules, reason, hint in content["withdrawn"]
            ),
        )


def _from_binaries(binaries: tuple[Binary, ...] | None) -> list[list[Any]] | None:
    return None if binaries is None else [[b.path, b.device, b.inode, b.digest, b.stamp] for b in binaries]


def _to_binaries(content: list[list[Any]] | None) -> tuple[Binary, ...] | None:
    return None if content is None else tuple(Binary(path, device, inode, digest, tuple(s)) for path, device, inode, digest, s in content)


def _from_rule(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "layer": rule.layer,
        "effect": rule.effect,
        "endpoint": [rule.endpoint.host, rule.endpoint.port],
        "binaries": _from_binaries(rule.binaries),
        "parents": _from_binaries(rule.parents),
        "exact": rule.exact,
        "hint": rule.hint,
    }


def _to_rule(content: dict[str, Any]) -> Rule:
    binaries, parents = _to_binaries(content["binaries"]), _to_binaries(content["parents"])
    return Rule(**{**content, "endpoint": Endpoint(*content["endpoint"]), "binaries": binaries, "parents": parents})


def _from_credential(credential: Credential) -> dict[str, Any]:
    binding = credential.binding
    return {
        "name": credential.name,
        "placeholder": credential.placeholder,
        "secret": credential.secret.reveal(),
        "slots": [[type(slot).__name__, asdict(slot)] for slot in credential.slots],
        "endpoints": [[endpoint.host, endpoint.port] for endpoint in binding.endpoints],
        "methods": binding.methods,
        "paths": None if binding.paths is None else [pattern.text for pattern in binding.paths],
        "binaries": _from_binaries(binding.binaries),
        "foreign": credential.foreign,
    }


def _to_credential(content: dict[str, Any]) -> Credential:
    methods, paths = content["methods"], content["paths"]
    return Credential(
        name=content["name"],
        placeholder=content["placeholder"],
        secret=Secret(content["secret"]),
        slots=tuple(_SLOTS[kind](**fields) for kind, fields in content["slots"]),
        binding=Binding(
            endpoints=tuple(Endpoint(*endpoint) for endpoint in content["endpoints"]),
            methods=None if methods is None else tuple(methods),
            paths=None if paths is None else tuple(map(PathPattern, paths)),
            binaries=_to_binaries(content["binaries"]),
        ),
        foreign=content["foreign"],
    )
