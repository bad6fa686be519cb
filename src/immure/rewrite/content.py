"""A field of a body that is a JSON object or a form: found, read, and written anew.

Nothing but the value itself changes: a body that was read and written again could mean something else to its reader, and would no
longer be the one that the program made.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, assert_never

from immure.rewrite.slot import BodyForm
from immure.rewrite.target import Exchange, exchange_parameter

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


def forms_of(headers: Sequence[tuple[bytes, bytes]]) -> set[BodyForm]:
    """What the fields of a head say that the body is, if it is anything that a slot may be in. Several, if they say several things."""
    forms: set[BodyForm] = set()
    for name, value in headers:
        if name.lower() == b"content-type":
            kind = value.partition(b";")[0].strip().lower()
            if kind == b"application/x-www-form-urlencoded":
                forms.add("form")
            elif kind == b"application/json" or kind.endswith(b"+json"):  # RFC 6839 section 3.1
                forms.add("json")
    return forms


def exchange_field(body: bytes, form: BodyForm, name: str, exchange: Exchange) -> bytes:
    """The body with the value of the field exchanged. Raises ValueError for one that is not in the form, or has the field twice."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    match form:
        case "form":
            return exchange_parameter(text, name, exchange).encode("utf-8")
        case "json":
            return _exchange_member(text, name, exchange).encode("utf-8")
        case other:
            assert_never(other)


def _exchange_member(text: str, name: str, exchange: Exchange) -> str:
    found = [(value, start, end) for key, value, start, end in _members(text) if key == name]
    if len(found) > 1:
        raise ValueError(f"there is more than one {name!r}")
    for value, start, end in found:
        old = value if isinstance(value, str) else text[start:end]
        new = exchange(old) if value not in (None, "") else old
        if new != old:
            return text[:start] + json.dumps(new) + text[end:]
    return text


def _members(text: str) -> Iterator[tuple[str, Any, int, int]]:
    """Name, value, and where the value begins and ends, of each member of the object. Raises ValueError."""
    at = _after(text, 0, "{")
    comma = False
    while not text.startswith("}", at) or comma:
        name, at = _value(text, at)
        if not isinstance(name, str):
            raise ValueError("it is not a JSON object")
        start = _after(text, at, ":")
        value, end = _value(text, start)
        yield name, value, start, end
        at = _skip(text, end)
        if comma := text.startswith(",", at):
            at = _skip(text, at + 1)
        elif not text.startswith("}", at):
            raise ValueError("it is not a JSON object")
    if _skip(text, at + 1) < len(text):
        raise ValueError("it is not one JSON object")


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None


def _after(text: str, at: int, mark: str) -> int:
    """Past the mark that has to come next, and the space around it."""
    at = _skip(text, at)
    if not text.startswith(mark, at):
        raise ValueError("it is not a JSON object")
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
