"""A slot: the one kind of place in a request where a placeholder may become a secret.

    HeaderSlot      a field, as `Bearer …`, as user or password of `Basic …`, or bare
    QuerySlot       a parameter of the query
    PathSlot        the segment of the path that follows a given beginning: all of it, or its end (`/bot…`)
    FieldSlot       a field of a body that is a JSON object or a form
    AssertionSlot   Authorization, with something that was signed by the agent and is signed anew

Each says what becomes of a value when it is filled: `filled` returns None if the placeholder is not all that the place holds, for what
stands beside it was not declared. `position` names the place in messages. Values are text as it is read, without base64 (but for a
header's), percent or JSON escapes.
"""

import binascii
import re
from dataclasses import dataclass
from typing import Literal, get_args

from immure.errors import Fault
from immure.model.path import canonical_path
from immure.rewrite.assertion import is_assertion, shown

Scheme = Literal["bearer", "basic", "raw"]
BodyForm = Literal["json", "form"]

_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
"""A field name (RFC 9110 section 5.6.2), in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderSlot:
    """`header` is the lower-case field, `scheme` the form of its value."""

    header: str
    scheme: Scheme

    def __post_init__(self) -> None:
        if not _HEADER.fullmatch(self.header):
            raise _wrong(f"{self.header!r} is not a field name in lower case")
        if self.header in ("cookie", "proxy-authorization"):
            raise _wrong(f"{self.header} is never a slot")
        if self.scheme not in get_args(Scheme):
            raise _wrong(f"{self.scheme!r} is not a scheme")

    def filled(self, value: str, placeholder: str, secret: str) -> str | None:
        if self.scheme == "raw":
            return secret if value == placeholder else None
        word, _, rest = value.partition(" ")
        if word.lower() != self.scheme:  # in any letter case (RFC 9110 section 11.1)
            return None
        if self.scheme == "bearer":
            return f"Bearer {secret}" if rest.lstrip(" ") == placeholder else None
        user, colon, password = _decoded(rest).partition(":")
        if not colon or (user != placeholder) is (password != placeholder):
            return None
        pair = f"{secret}:{password}" if user == placeholder else f"{user}:{secret}"
        return f"Basic {binascii.b2a_base64(pair.encode('latin-1'), newline=False).decode()}"

    @property
    def position(self) -> str:
        return self.header


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySlot:
    parameter: str

    def __post_init__(self) -> None:
        if not self.parameter:
            raise _wrong("a parameter without a name")

    def filled(self, value: str, placeholder: str, secret: str) -> str | None:
        return secret if value == placeholder else None

    @property
    def position(self) -> str:
        return f"the query parameter {self.parameter!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSlot:
    """`before` is all of the path that stands before the placeholder: `/bot`, or `/v1/keys/`."""

    before: str

    def __post_init__(self) -> None:
        if not self.before.startswith("/") or canonical_path(self.before) != self.before:
            raise _wrong(f"{self.before!r} is not the beginning of a path")

    def filled(self, value: str, placeholder: str, secret: str) -> str | None:
        return secret if value == placeholder else None

    @property
    def position(self) -> str:
        return f"the path after {self.before!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSlot:
    """`field` is a member of the JSON object itself, not of one within it; or the name of a field of a form."""

    field: str
    form: BodyForm

    def __post_init__(self) -> None:
        if not self.field:
            raise _wrong("a field without a name")
        if self.form not in get_args(BodyForm):
            raise _wrong(f"{self.form!r} is not a form of bodies")

    def filled(self, value: str, placeholder: str, secret: str) -> str | None:
        return secret if value == placeholder else None

    @property
    def position(self) -> str:
        return f"the field {self.field!r} of a {self.form} body"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionSlot:
    """What it is filled with is of one moment, and never the secret itself: see `rewrite.assertion`."""

    @property
    def position(self) -> str:
        return "authorization"


Slot = HeaderSlot | QuerySlot | PathSlot | FieldSlot | AssertionSlot


def revealed(value: str) -> str:
    """A header's value with what Basic (RFC 7617) or an assertion hides in base64 shown beside it, as the far end would read it."""
    if is_assertion(value):
        return f"{value} {shown(value)}"
    word, _, rest = value.partition(" ")
    return f"{value} {_decoded(rest)}" if word.lower() == "basic" else value


def _decoded(pair: str) -> str:
    """User and password, or nothing if it is not base64. Servers accept it without the padding too."""
    try:
        return binascii.a2b_base64(pair.rstrip("=") + "==").decode("latin-1")
    except ValueError:
        return ""


def _wrong(why: str) -> Fault:
    return Fault(f"a slot cannot be: {why}", code="credential.shape")
