"""Policy files: YAML to rules.

    version: 1
    rules:
      - name: npm
        endpoints: [registry.example.com, "*.example.com:443"]
        binaries:                    # optional: any program
          - /usr/bin/node
          - {path: /usr/bin/make, children: allow}
        effect: allow                # optional: allow | deny

Rules: what is not there allows nothing, so an empty file, or one without rules, is deny all; an empty list of binaries is nobody.
A rule that would say nothing (no endpoint, a denial of nobody) is refused, because its author meant something; so is a denial that is
easily slipped (of one content, of children).

*Trust:* the file may come with a repository that someone else wrote. *Fails:* PolicyError with file, line and what to write.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

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
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Program:
    """An entry of `binaries`. Its binary has a digest if the entry asks for one."""

    binary: Binary
    children: bool


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
    programs = None
    if "binaries" in keys:
        programs = [_program(document, entry, effect, identify) for entry in document.sequence(keys["binaries"])]
        if not programs and effect == "deny":
            raise document.wrong(keys["binaries"], "a rule that denies nobody", "leave out 'binaries' to deny every program")
    endpoints = document.sequence(keys["endpoints"])
    if not endpoints:
        raise document.wrong(keys["endpoints"], "a rule without an endpoint", "name a host, or remove the rule")
    for entry in endpoints:
        endpoint = _endpoint(document, entry)
        try:
            rule = Rule(name=name, layer=LAYER, effect=effect, endpoint=endpoint)
        except ValueError as error:
            raise document.wrong(keys["name"], str(error), "use letters, digits and hyphens") from None
        yield from [rule] if programs is None else _about(rule, programs, document)


def _about(rule: Rule, programs: list[_Program], document: Document) -> Iterator[Rule]:
    """The rule for programs that are pinned, and one more for those whose content the file itself gives: another change lifts it."""
    pinned = [program for program in programs if not program.binary.digest]
    given = [program for program in programs if program.binary.digest]
    for group, hint in ((pinned, ""), (given, f"if the change is meant, correct its sha256 in {document.name}")):
        if group or not programs:
            binaries = tuple(program.binary for program in group)
            parents = tuple(program.binary for program in group if program.children)
            yield replace(rule, binaries=binaries, parents=parents, exact=bool(hint), hint=hint)
        if not programs:
            return


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


def _program(document: Document, node: yaml.Node, effect: Effect, identify: Identify) -> _Program:
    if not isinstance(node, yaml.MappingNode):
        return _Program(binary=_binary(document, node, identify), children=False)
    keys = document.mapping(node, ("path", "sha256", "children"))
    if "path" not in keys:
        raise document.wrong(node, "a program without 'path'", "add to it: 'path: …'")
    binary = _binary(document, keys["path"], identify)
    if effect == "deny" and "sha256" in keys:
        raise document.wrong(keys["sha256"], "a denial of one content", "leave out 'sha256': a program is denied whatever is in it")
    if effect == "deny" and "children" in keys:
        hint = "leave out 'children': a process can leave its parents behind, so this would deny nothing"
        raise document.wrong(keys["children"], "a denial of children", hint)
    if "sha256" in keys:
        digest = document.text(keys["sha256"]).lower()
        if not _SHA256.fullmatch(digest):
            raise document.wrong(keys["sha256"], f"not a SHA-256: {digest!r}", f"write 64 hexadecimal digits: sha256sum {binary.path}")
        binary = replace(binary, digest=digest)
    if "children" in keys and (word := document.text(keys["children"])) != "allow":
        raise document.wrong(keys["children"], f"unknown word {word!r}", suggestion(word, ("allow",)))
    return _Program(binary=binary, children="children" in keys)


def _binary(document: Document, node: yaml.Node, identify: Identify) -> Binary:
    path = document.text(node)
    if not os.path.isabs(path):
        raise document.wrong(node, f"not an absolute path: {path!r}", "write the path from the root, as 'command -v PROGRAM' prints it")
    try:
        return identify(path)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise document.wrong(node, f"no program at {path!r}: {reason}", f"check it: ls -l {path}") from None
