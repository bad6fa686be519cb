"""Policy files: YAML to rules.

    version: 1
    rules:
      - name: npm
        endpoints: [registry.example.com, "*.example.com:443"]
        binaries: [/usr/bin/node]    # optional: any program
        effect: allow                # optional: allow | deny

Rules: what is not there allows nothing, so an empty file, or one without rules, is deny all; an empty list of binaries is nobody.
A rule that would say nothing (no endpoint, a denial of nobody) is refused, because its author meant something.

*Trust:* the file may come with a repository that someone else wrote. *Fails:* PolicyError with file, line and what to write.
"""

import os
from collections.abc import Callable, Iterator

import yaml

from immure.config.document import LARGEST, Document, line_of, suggestion
from immure.errors import PolicyError
from immure.model import Binary, Endpoint
from immure.policy import Rule
from immure.policy.rules import Effect

LAYER = "policy file"

Identify = Callable[[str], Binary]
"""Which file the absolute path of a program is. Raises OSError if it is none."""

_EFFECTS: dict[str, Effect] = {"allow": "allow", "deny": "deny"}


def load_policy(path: str, identify: Identify) -> tuple[Rule, ...]:
    """The rules of a policy file. Raises PolicyError."""
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        what = f"the policy {path} cannot be read: {os.strerror(error.errno or 0)}"
        raise PolicyError(what, code="policy.file", hint=f"check it: ls -l {path}") from None
    return read_policy(content, path, identify)


def read_policy(content: bytes, name: str, identify: Identify) -> tuple[Rule, ...]:
    """The rules of a policy file's content; `name` is what errors call the file. Raises PolicyError."""
    document = Document(content, name)
    if document.root is None:
        return ()
    top = document.mapping(document.root, ("version", "rules"))
    version = top.get("version")
    if version is None or not document.is_number(version, "1"):
        raise document.wrong(version or document.root, "not a policy of version 1", "begin the file with: version: 1")
    rules = top.get("rules")
    if rules is None or document.is_nothing(rules):
        return ()
    return tuple(_rules(document, rules, identify))


def _rules(document: Document, node: yaml.Node, identify: Identify) -> Iterator[Rule]:
    lines: dict[str, int] = {}
    for entry in document.sequence(node):
        keys = document.mapping(entry, ("name", "endpoints", "binaries", "effect"))
        for key in ("name", "endpoints"):
            if key not in keys:
                raise document.wrong(entry, f"a rule without {key!r}", f"add a line to the rule: '{key}: …'")
        name = document.text(keys["name"])
        if name in lines:
            what = f"the name {name!r} is taken by the rule on line {lines[name]}"
            raise document.wrong(keys["name"], what, "give each rule a name of its own: the audit trail tells them apart by it")
        lines[name] = line_of(keys["name"])
        yield from _rule(document, name, keys, identify)


def _rule(document: Document, name: str, keys: dict[str, yaml.Node], identify: Identify) -> Iterator[Rule]:
    effect = _effect(document, keys["effect"]) if "effect" in keys else "allow"
    binaries = None
    if "binaries" in keys:
        binaries = tuple(_binary(document, entry, identify) for entry in document.sequence(keys["binaries"]))
        if not binaries and effect == "deny":
            raise document.wrong(keys["binaries"], "a rule that denies nobody", "leave out 'binaries' to deny every program")
    endpoints = document.sequence(keys["endpoints"])
    if not endpoints:
        raise document.wrong(keys["endpoints"], "a rule without an endpoint", "name a host, or remove the rule")
    for entry in endpoints:
        endpoint = _endpoint(document, entry)
        try:
            yield Rule(name=name, layer=LAYER, effect=effect, endpoint=endpoint, binaries=binaries)
        except ValueError as error:
            raise document.wrong(keys["name"], str(error), "use letters, digits and hyphens") from None


def _effect(document: Document, node: yaml.Node) -> Effect:
    text = document.text(node)
    if text not in _EFFECTS:
        raise document.wrong(node, f"unknown effect {text!r}", suggestion(text, tuple(_EFFECTS)))
    return _EFFECTS[text]


def _endpoint(document: Document, node: yaml.Node) -> Endpoint:
    text = document.text(node)
    try:
        return Endpoint.parse(text)
    except ValueError as error:
        hint = 'write HOST or HOST:PORT, with "*." before it for every name below it'
        raise document.wrong(node, f"not an endpoint: {text!r} ({error})", hint) from None


def _binary(document: Document, node: yaml.Node, identify: Identify) -> Binary:
    path = document.text(node)
    if not os.path.isabs(path):
        raise document.wrong(node, f"not an absolute path: {path!r}", "write the path from the root, as 'command -v PROGRAM' prints it")
    try:
        return identify(path)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise document.wrong(node, f"no program at {path!r}: {reason}", f"check it: ls -l {path}") from None
