"""What a secret looks like in an answer: as it is, and in each encoding that an upstream may have put it into.

Sought are

* the secret itself;
* percent-encoding (RFC 3986 section 2.1) of the characters that one or another kind of encoder escapes, of all that are neither letter
  nor digit, and of every one; and what becomes of each when it is encoded again, `%252D`;
* JSON strings (RFC 8259 section 7): with nothing escaped but what must be, with `\\/`, with `\\u00XX` for the characters that HTML-safe
  encoders escape, for all that are neither letter nor digit, and for every one;
* hexadecimal digits;
* base64 and base64url (RFC 4648 sections 4 and 5), with the secret beginning at the first, second or third byte of a quantum.

Hexadecimal digits are in capitals or not, but not mixed. A placeholder is put into the same form, and decodes to itself.

Rules: a form is sought by a fixed string, its needle. It has at least the length of the secret, so that a secret long enough to be told
from chance is so in every form. Not sought are other encodings, one form within another, and base64 broken into lines (RFC 2045
section 6.8): no needle holds a line feed, which therefore ends whatever may have begun.
"""

import string
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_OTHER: Final = frozenset(map(chr, range(256))) - frozenset(string.ascii_letters + string.digits)

_KEPT_BY_PERCENT: Final = (
    "-._~",  # RFC 3986 section 2.3
    "-._~/",  # the same for a path, as Python's quote()
    "-._~!*'()",  # encodeURIComponent
    "-._~!*'();/?:@&=+$,#",  # encodeURI
    "-._*",  # application/x-www-form-urlencoded
    "",
)
_ESCAPED_IN_JSON: Final = (
    "",
    "<>&",  # Go
    "<>&'=",  # Gson
    "<>&'\"",  # PHP, JSON_HEX_*
    "<>&'\"+`",  # .NET
    "<>&'\"\\=-;`",  # Django, escapejs
    _OTHER & frozenset(map(chr, range(128))),
)
_MUST: Final = {'"': '\\"', "\\": "\\\\"}

_ESCAPINGS: Final[tuple[tuple[str, frozenset[str], dict[str, str]], ...]] = (
    *[("\\u00", frozenset(chosen), _MUST | slash) for chosen in _ESCAPED_IN_JSON for slash in ({}, {"/": "\\/"})],
    *[(mark, _OTHER - set(kept), {}) for mark in ("%", "%25") for kept in _KEPT_BY_PERCENT],
)
"""What stands before two digits, the characters written so, and those of the others that are written in another way."""

_MARKS: Final = ("", "%", "%25", "\\u00")
"""What stands before two digits where every character is written so."""

_STANDARD: Final = b"+/"
_URL: Final = b"-_"
_DIGITS: Final = (string.ascii_uppercase + string.ascii_lowercase + string.digits).encode()
_VALUES: Final = {digit: value for alphabet in (_STANDARD, _URL) for value, digit in enumerate(_DIGITS + alphabet)}
_GOES_ON: Final = frozenset(_VALUES) | frozenset(b"%")
"""What follows within a run of base64. In a URL that may be `%2B`, `%2F` or `%3D`."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Spelled:
    """A form in which every character is written by itself."""

    needle: bytes
    placeholder: bytes

    def exchanged(self, _buffer: bytearray, start: int, _done: int, _last: bool) -> tuple[bytes, int] | None:
        """See Base64."""
        return self.placeholder, start + len(self.needle)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Base64:
    """A form in which a digit may hold bits of the secret and of a neighbour.

    The needle is the digits that hold bits of the secret only. `before` and `after` are what becomes of a digit shared with a neighbour,
    by digit, if its other bits are the secret's; they are empty where none is shared. `within` is the placeholder where bytes follow:
    filled with `-` so that they keep their place in the quantum. `ending` is the placeholder where the run ends.
    """

    needle: bytes
    before: dict[int, int]
    after: dict[int, int]
    within: bytes
    ending: bytes
    padding: int
    """How many `=` the run has if it ends with the secret, and is padded."""
    ending_padding: int

    def exchanged(self, buffer: bytearray, start: int, done: int, last: bool) -> tuple[bytes, int] | None:
        """What stands for the needle at `start`, and the end of what it stands for; None if it depends on what is yet to come.

        Digits shared with a neighbour are changed in place. Everything before `done` has been exchanged already; `last` says that
        nothing is to come.
        """
        end = start + len(self.needle)
        shared = self.after.get(buffer[end]) if end < len(buffer) else None
        run = end if shared is None else end + 1
        following = bytes(buffer[run : run + 2])
        if not last and (not following or (following == b"=" and self.padding == 2)):
            return None
        if start > done:
            buffer[start - 1] = self.before.get(buffer[start - 1], buffer[start - 1])
        if following and following[0] in _GOES_ON:
            if shared is not None:
                buffer[end] = shared
            return self.within, end
        padded = min(len(following) - len(following.lstrip(b"=")), self.padding)
        equals = self.ending_padding if padded or not self.padding else 0
        return self.ending + b"=" * equals, run + padded


Form = Spelled | Base64


def forms(secret: bytes, placeholder: bytes) -> Iterator[Form]:
    """Every form of a secret, the secret itself first. Some may have the same needle: the first is meant."""
    yield from _escaped(secret.decode("latin-1"), placeholder.decode("latin-1"))
    for mark in _MARKS:
        for digits in (str.upper, str.lower):
            needle, written = ((mark + digits(text.hex(" ")).replace(" ", mark)).encode() for text in (secret, placeholder))
            yield Spelled(needle=needle, placeholder=written)
    for offset in range(3):
        for alphabet in (_STANDARD, _URL):
            yield _base64(secret, placeholder, offset, alphabet)


def _escaped(secret: str, placeholder: str) -> Iterator[Spelled]:
    present = {*secret, *placeholder}
    seen = {frozenset[tuple[str, str]](): None}
    for mark, escaped, otherwise in _ESCAPINGS:
        for digits in ("%02X", "%02x"):
            written = {char: otherwise[char] for char in otherwise.keys() & present}
            written |= {char: mark + digits % ord(char) for char in escaped & present}
            seen[frozenset(written.items())] = None
    for changes in seen:
        by_code = str.maketrans(dict(changes))
        yield Spelled(needle=secret.translate(by_code).encode("latin-1"), placeholder=placeholder.translate(by_code).encode("latin-1"))


def _base64(secret: bytes, placeholder: bytes, offset: int, alphabet: bytes) -> Base64:
    """The form of a secret that begins `offset` bytes into a quantum."""
    filled = placeholder + b"-" * ((len(secret) - len(placeholder)) % 3)
    sought, within, ending = (b64encode(bytes(offset) + text, alphabet) for text in (secret, filled, placeholder))
    first = (0, 2, 3)[offset]  # the first digit without a bit of what is before
    end, end_within = ((offset + len(text)) * 8 // 6 for text in (secret, filled))
    spare = (0, 4, 2)[(offset + len(secret)) % 3]  # bits that the last digit has for what follows
    return Base64(
        needle=sought[first:end],
        before=_shared(sought[first - 1], within[first - 1], (0, 0b110000, 0b111100)[offset], alphabet) if offset else {},
        after=_shared(sought[end], within[end_within], (1 << spare) - 1, alphabet) if spare else {},
        within=within[first:end_within],
        ending=ending[first:].rstrip(b"="),
        padding=sought.count(b"="),
        ending_padding=ending.count(b"="),
    )


def _shared(old: int, new: int, others: int, alphabet: bytes) -> dict[int, int]:
    """Each digit that has the bits of `old`, apart from those of the mask `others`, and the digit with the bits of `new` instead."""
    digits = _DIGITS + alphabet
    bits = _VALUES[new]
    return {digit: digits[bits | value & others] for digit, value in _VALUES.items() if value & ~others == _VALUES[old]}
