"""Find secrets in bytes, whole or in pieces: any 16 consecutive characters of a secret count as the secret.

Rules: a finding names the secret and never shows it. Of a JSON Web Token (RFC 7519) only the signature is searched for: header and
claims are text that anyone may write, and a sandbox holds its own version of them. Encoded forms (base64 of a token, its hexadecimal
digits) are not searched for.

How it stays fast enough for the memory of a large process, at about 300 MB/s: a secret consists of few kinds of characters, so a piece
of it can only lie in a run of at least 16 of them. One `bytes.translate` and `bytes.find` leave such runs, some percent of real
memory. Of a run it is enough to look up every eighth position among all 8-byte pieces of the secrets, since any 16 consecutive bytes
hold one that begins there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

WINDOW = 16
_WORD = WINDOW // 2
_OTHER = b"\xff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """`length` consecutive characters of the secret called `secret`, at `offset` bytes into `place`."""

    secret: str
    place: str
    offset: int
    length: int

    def __str__(self) -> str:
        return f"{self.length} characters of {self.secret} in {self.place} at {self.offset}"


class Needles:
    """What to search for: secrets by name. Raises ValueError for one that is too short to be told from chance, or not ASCII."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._texts = {
            name: text.rpartition(".")[2].encode("ascii") if text.count(".") == 2 else text.encode("ascii")
            for name, text in secrets.items()
        }
        for name, text in self._texts.items():
            if len(text) < WINDOW:
                raise ValueError(f"{name} is shorter than {WINDOW} characters")
        self._words: dict[bytes, list[tuple[str, int]]] = {}
        for name, text in self._texts.items():
            for at in range(len(text) - _WORD + 1):
                self._words.setdefault(text[at : at + _WORD], []).append((name, at))
        alphabet = frozenset(b"".join(self._texts.values()))
        self._runs = bytes(0 if byte in alphabet else _OTHER[0] for byte in range(256))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._texts)

    def search(self, data: bytes, place: str, *, base: int = 0) -> list[Leak]:
        """The leaks in `data`, each longest piece once; `base` is the offset of the data within the place."""
        found: dict[tuple[str, int], Leak] = {}
        for start, end in self._candidates(data):
            for at in range(start, end - _WORD + 1, _WORD):
                for name, origin in self._words.get(data[at : at + _WORD], ()):
                    offset, length = _extend(data, at, self._texts[name], origin)
                    if length >= WINDOW:
                        found[name, offset] = Leak(secret=name, place=place, offset=base + offset, length=length)
        return list(found.values())

    def _candidates(self, data: bytes) -> Iterator[tuple[int, int]]:
        """The runs of at least WINDOW bytes that occur in some secret."""
        marked = data.translate(self._runs)
        end = 0
        while (start := marked.find(bytes(WINDOW), end)) >= 0:
            end = marked.find(_OTHER, start + WINDOW)
            if end < 0:
                end = len(data)
            yield start, end


def _extend(data: bytes, at: int, text: bytes, origin: int) -> tuple[int, int]:
    """The longest agreement of data and text around one common word: its offset in the data and its length."""
    left = 0
    while left < min(at, origin) and data[at - left - 1] == text[origin - left - 1]:
        left += 1
    right = _WORD
    while at + right < len(data) and origin + right < len(text) and data[at + right] == text[origin + right]:
        right += 1
    return at - left, left + right
