"""Secrets with their placeholders, made ready to be found: one set of them serves many answers.

There are some twenty forms of a secret (`forms`), and nearly every answer holds none. So what matters is how soon that is known. A grid is
laid over the answer, and the eight-byte words on it are looked up in one set. The set has every word of the first bytes of every needle,
its head, that can come to lie on the grid; a head is so long that one always does. This costs the same however many secrets there are,
and the less the longer the shortest form is: of 36 bytes, every 24th byte has a word. (If a form has less than 15, words are of four
bytes.) For a login with a ChatGPT account and an API key, `bytes.find` for each form takes three times as long, and a regular
expression with all heads fourteen times (CPython 3.11).

Rules: what does not hold a word of a head holds no form. A secret too short to be told from chance, or that its own placeholder would
show again, is a Fault.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from struct import unpack_from
from typing import Literal

from immure.errors import Fault
from immure.rewrite.forms import Base64, Form, forms

MINIMUM_SECRET = 8
"""In bytes. Shorter ones would be found by chance and corrupt downloads."""

_COARSEST = 64
"""Bytes from one word of the grid to the next. A coarser grid would have more words to know and more ends to compare."""


class Pairs:
    """Secrets and their placeholders, in bytes; of two placeholders for one secret the first holds. Without any it is false."""

    __slots__ = ("_alphabet", "_beginnings", "_code", "_head", "_known", "_pairs", "_shared", "_step", "_width", "_words")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._pairs = tuple(dict.fromkeys(pairs))
        for secret, placeholder in self._pairs:
            if len(secret) < MINIMUM_SECRET or any(other in placeholder for other, _ in self._pairs):
                raise Fault("a secret is too short, or part of a placeholder, and cannot be restored", code="restore.secret")
        by_needle: dict[bytes, Form] = {}
        for form in chain.from_iterable(forms(*pair) for pair in self._pairs):
            by_needle.setdefault(form.needle, form)

        # Of a head's offsets as many follow one another as the grid has bytes between words, so one of them is on the grid.
        shortest = min(map(len, by_needle), default=MINIMUM_SECRET)
        self._code: Literal["Q", "I"]
        self._width, self._code = (8, "Q") if shortest >= 15 else (4, "I")
        stride = min((shortest - self._width + 1) // self._width * self._width, _COARSEST)
        self._step = stride // self._width
        self._head = stride + self._width - 1

        by_head: dict[bytes, list[Form]] = {}
        for needle in sorted(by_needle, key=len, reverse=True):
            by_head.setdefault(needle[: self._head], []).append(by_needle[needle])
        self._words: dict[int, list[tuple[int, bytes, list[Form]]]] = {}
        for offset in range(stride - 1, -1, -1):
            for head, alike in by_head.items():
                (word,) = unpack_from(self._code, head, offset)
                self._words.setdefault(word, []).append((offset, head, alike))
        self._known = frozenset(self._words)
        self._beginnings = frozenset(head[:length] for head in by_head for length in range(1, self._head))
        self._alphabet = frozenset(b"".join(by_head))
        self._shared = frozenset(chain.from_iterable(form.before for form in by_needle.values() if isinstance(form, Base64)))

    def __bool__(self) -> bool:
        return bool(self._pairs)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._pairs)

    def may_be_in(self, data: bytes) -> bool:
        """Whether a secret may be in the data, in any form. False is certain."""
        return not self._known.isdisjoint(self._grid(data))

    def found_in(self, buffer: bytearray, *, last: bool) -> Iterator[tuple[int, Form, bool]]:
        """Every form in the buffer from the left, the longer first: where it begins, and whether it is there to its end.

        Unless the buffer is the `last` there is, a form that it ends within is found too if the whole head is there. Changes made in the
        buffer to the right of what was found last are seen.
        """
        stride = self._step * self._width
        end = len(buffer)
        for index, word in enumerate(self._grid(buffer)):
            if word not in self._known:
                continue
            for offset, head, alike in self._words[word]:
                start = index * stride - offset
                if start < 0 or not buffer.startswith(head, start):
                    continue
                for form in alike:
                    if buffer.startswith(form.needle, start):
                        yield start, form, True
                    elif not last and end - start < len(form.needle) and form.needle.startswith(buffer[start:]):
                        yield start, form, False

    def begun_in(self, buffer: bytes | bytearray, start: int) -> int:
        """Where the first head begins that the buffer ends within (its length if there is none), from `start` on."""
        end = len(buffer)
        if end > start and buffer[-1] in self._alphabet:
            tail = bytes(buffer[max(start, end - self._head + 1) :])
            for at in range(len(tail)):
                if tail[at:] in self._beginnings:
                    return end - len(tail) + at
        return end

    def may_share(self, digit: int) -> bool:
        """Whether a byte may be a digit of base64 that has bits of a secret which begins behind it."""
        return digit in self._shared

    def _grid(self, data: bytes | bytearray) -> memoryview:
        return memoryview(data)[: len(data) & -self._width].cast(self._code)[:: self._step]
