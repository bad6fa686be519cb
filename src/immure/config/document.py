"""A YAML document, read strictly: mappings of known keys, lists and texts, each with the line it stands on.

YAML 1.1 lets a file say something other than what it shows: 012 is ten, 1:30 is ninety, `no` is false, the second of two equal keys
wins, an alias repeats what stands elsewhere. Here values are what they look like, or the file is refused.

*Trust:* whoever wrote the file. *Fails:* PolicyError with file, line and what to write; work is bounded by size and depth.
"""

from difflib import get_close_matches

import yaml

from immure.errors import PolicyError

LARGEST = 1 << 20
"""In bytes. A policy of ten thousand rules is smaller."""
_DEEPEST = 8
"""Nesting of blocks and brackets. Composing recurses, in C, so depth is checked before it."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT = "tag:yaml.org,2002:str"
_NUMBER = "tag:yaml.org,2002:int"
_NULL = "tag:yaml.org,2002:null"


class Document:
    """One file, by the name that errors call it. `root` is None if it holds no document, or an empty one."""

    __slots__ = ("name", "root")

    def __init__(self, content: bytes, name: str) -> None:
        self.name = name
        if len(content) > LARGEST:
            raise self._at(None, f"longer than {LARGEST} bytes", "split off what is not policy")
        try:
            self._check_events(content)
            root = yaml.compose(content, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            raise self._not_yaml(error) from None
        except yaml.YAMLError as error:
            raise self._at(None, f"not YAML: {str(error).splitlines()[0]}", "save the file as UTF-8 text") from None
        self.root = None if root is None or self.is_nothing(root) else root

    def mapping(self, node: yaml.Node, keys: tuple[str, ...]) -> dict[str, yaml.Node]:
        """The values by key, of these keys alone and each at most once."""
        if not isinstance(node, yaml.MappingNode):
            raise self.wrong(node, "not a mapping", f"write lines of 'key: value'; known keys: {', '.join(keys)}")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self.text(key)
            if name not in keys:
                raise self.wrong(key, f"unknown key {name!r}", suggestion(name, keys))
            if name in found:
                raise self.wrong(key, f"the key {name!r} is repeated", f"its first value is on line {line_of(found[name])}: keep one")
            found[name] = value
        return found

    def sequence(self, node: yaml.Node) -> list[yaml.Node]:
        """The items of a list. Nothing at all is no list: whoever wrote `binaries:` may have meant any program or none."""
        if not isinstance(node, yaml.SequenceNode):
            raise self.wrong(node, "not a list", "write [item, item], or '- item' on lines of their own")
        return list(node.value)

    def text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.wrong(node, "not a text", "write one value here")
        if self.is_nothing(node):
            raise self.wrong(node, "nothing where a text belongs", "write a value here")
        if node.tag != _TEXT:
            raise self.wrong(node, f"YAML does not read {node.value} as text", f'put it in quotes: "{node.value}"')
        return str(node.value)

    def is_nothing(self, node: yaml.Node) -> bool:
        return node.tag == _NULL

    def is_number(self, node: yaml.Node, digits: str) -> bool:
        """Whether a number is written with exactly these digits."""
        return (node.tag, node.value) == (_NUMBER, digits)

    def wrong(self, node: yaml.Node, what: str, hint: str) -> PolicyError:
        return self._at(line_of(node), what, hint)

    def _at(self, line: int | None, what: str, hint: str) -> PolicyError:
        where = self.name if line is None else f"{self.name}:{line}"
        return PolicyError(f"{where}: {what}", code="policy.file", hint=hint)

    def _check_events(self, content: bytes) -> None:
        """Refuse what the tree of nodes no longer shows: an alias stands in it as the node that it repeats."""
        depth = 0
        for event in yaml.parse(content, Loader=_Loader):
            line = event.start_mark.line + 1 if event.start_mark else None
            if isinstance(event, yaml.NodeEvent) and event.anchor:
                raise self._at(line, "an anchor or alias (& or *)", _QUOTE_WILDCARD)
            if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag:
                raise self._at(line, f"a tag ({event.tag})", "remove it: values are what they look like")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise self._at(line, "nested too deeply", "a policy is a list of rules")

    def _not_yaml(self, error: yaml.MarkedYAMLError) -> PolicyError:
        mark = error.problem_mark or error.context_mark
        hint = _QUOTE_WILDCARD if "alias" in (error.context or "") else "see https://yaml.org for its syntax"
        return self._at(mark.line + 1 if mark else None, f"not YAML: {error.problem or error.context}", hint)


_QUOTE_WILDCARD = 'write values out, and a pattern that begins with * in quotes: "*.example.com"'


def line_of(node: yaml.Node) -> int:
    """Counted from 1, as editors do."""
    return int(node.start_mark.line) + 1


def suggestion(text: str, known: tuple[str, ...]) -> str:
    """What to write instead of an unknown word."""
    close = get_close_matches(text, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
