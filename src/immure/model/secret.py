"""A secret that does not print itself.

Rules: no `str`, `repr`, `format`, pickle or ordering of a Secret shows its value; the one way out is `reveal()`, so that every place
where a value leaves can be found by searching for that word.
"""

from hmac import compare_digest
from typing import NoReturn

from immure.errors import Fault


class Secret:
    """A real token or key. `reveal()` gives its text (ASCII, not empty)."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not text or not text.isascii() or not text.isprintable():
            raise Fault("a secret must be non-empty printable ASCII", code="secret.shape")
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and compare_digest(self._text, other._text)

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")
