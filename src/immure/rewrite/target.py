"""The places in a request target (RFC 9112 section 3.2): found, read without their escapes, and written anew.

Nothing but the place itself changes: what stands around it stays byte for byte.
"""

import re
from collections.abc import Callable
from urllib.parse import quote, unquote, unquote_plus

from immure.rewrite.placeholder import MARK, holds_placeholder

Exchange = Callable[[str], str]
"""From the value of a place to what stands there instead: the same if it is to stay."""

_DECODINGS = 3
_MARK = MARK.encode()
_PART_OF_MARK = re.compile(rb"%(?:[46][59d]|[57][25]|2[5d])")
"""One of the characters of the mark as an escape, or the escape of an escape: without any, and without the mark, there is none."""


def mentions_placeholder(target: bytes) -> bool:
    """Whether a placeholder of ours stands anywhere in a target, however it is escaped."""
    lower = target.lower()
    if _MARK in lower or (b"%" in lower and _PART_OF_MARK.search(lower)):
        return holds_placeholder(unescaped(target.decode("latin-1")))
    return False


def unescaped(text: str) -> str:
    """The text without percent escapes, nor those that appear when the first are gone."""
    for _ in range(_DECODINGS):
        if "%" not in text:
            break
        text = unquote(text, "latin-1")
    return text


def exchange_after(path: str, before: str, exchange: Exchange) -> str:
    """The path with what follows `before`, up to the next slash, exchanged. The same path if it does not begin so."""
    if not path.startswith(before):
        return path
    value, slash, rest = path[len(before) :].partition("/")
    if not value:
        return path
    old = unquote(value, "latin-1")
    new = exchange(old)
    return path if new == old else before + quote(new, safe="") + slash + rest


def exchange_parameter(query: str, name: str, exchange: Exchange) -> str:
    """The query, or the form (which is written alike), with the value of the parameter exchanged.

    Raises ValueError if there are several of that name, for nobody knows which of them a server takes.
    """
    items = query.split("&")
    found = [index for index, item in enumerate(items) if unquote_plus(item.partition("=")[0]) == name]
    if len(found) > 1:
        raise ValueError(f"there is more than one {name!r}")
    for index in found:
        key, equals, value = items[index].partition("=")
        old = unquote_plus(value, "latin-1")
        new = exchange(old) if old else old
        if new != old:
            items[index] = key + equals + quote(new, safe="")
    return "&".join(items)
