"""Where on a host a request goes: the one canonical form of a path, and patterns over it.

Rules: every comparison of paths is made on the result of `canonical_path`, and a path that was judged is sent in that form. What a
server could read as a way up, however often it decodes and whichever characters it takes for a separator, has no canonical form.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

_PLAIN = re.compile(r"(?:/(?:[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9_~!$&'()*+,=:@.-]*)?)+", re.ASCII)
"""Paths that are canonical at first sight, which are nearly all: nothing is escaped, and no segment begins with a dot."""
_TRIPLET = re.compile(r"%([0-9A-Fa-f]{2})")
_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})|[?#\x00-\x20\x7f]")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]", re.ASCII)
_UPWARD = re.compile(rb"(?:\A|[/\\])\.\.?(?:;[^/\\]*)?(?=[/\\]|\Z)")
"""A dot segment, also with the parameters that servlet containers take off before they look (CVE-2020-17523), or by backslashes."""
_DECODINGS = 4
"""How many servers in a row are taken to decode a path."""


def canonical_path(path: str) -> str:
    """The path with unreserved characters unescaped, other escapes in capitals, and without dot segments (RFC 3986 section 6.2.2).

    `path` begins with "/" and is without query. Raises ValueError for one that servers may read in different ways.
    """
    if _PLAIN.fullmatch(path):
        return path
    if not path.startswith("/") or not path.isascii() or _BROKEN.search(path):
        raise ValueError(f"not a path: {path!r}")
    segments: list[str] = []
    *parents, last = _TRIPLET.sub(_unescaped, path).split("/")[1:]
    for segment in parents:
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
            segments.append(segment)
    if last == "..":
        del segments[-1:]
    segments.append("" if last in (".", "..") else last)
    canonical = "/" + "/".join(segments)
    _refuse_other_readings(canonical)
    return canonical


def _unescaped(triplet: re.Match[str]) -> str:
    character = chr(int(triplet[1], 16))
    return character if _UNRESERVED.fullmatch(character) else triplet[0].upper()


def _refuse_other_readings(path: str) -> None:
    reading = path.encode("ascii")
    for _ in range(_DECODINGS):
        if _UPWARD.search(reading) or b"\0" in reading:
            raise ValueError(f"a path that can be read in two ways: {path!r}")
        decoded = unquote_to_bytes(reading)
        try:
            decoded.decode()
        except UnicodeDecodeError:  # overlong forms of a dot or a slash are no UTF-8 (RFC 3629 section 10)
            raise ValueError(f"a path that is not UTF-8: {path!r}") from None
        if decoded == reading:
            return
        reading = decoded
    raise ValueError(f"a path that is escaped too often: {path!r}")


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A canonical path, for itself alone; or `/prefix/**`, for all that is below `/prefix/`."""

    text: str
    _below: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_below", self.text.removesuffix("**") if self.text.endswith("/**") else "")
        path = self._below or self.text
        if "*" in path or canonical_path(path) != path:
            raise ValueError(f"not a pattern of paths: {self.text!r}")

    def matches(self, path: str) -> bool:
        """Whether a canonical path lies within this pattern."""
        return path.startswith(self._below) if self._below else path == self.text

    def __str__(self) -> str:
        return self.text
