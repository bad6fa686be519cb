"""How much of the machine a sandbox may use, and how a person writes it. [pure]"""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Final, Literal

UNLIMITED: Final = "unlimited"
Amount = int | float | Literal["unlimited"] | None
"""None: nothing was said."""

_SIZE = re.compile(r"([1-9][0-9]{0,14})([KMGT]?)(?:i?B)?", re.IGNORECASE)
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LEAST = {"pids": 16, "memory": 16 << 20, "cpus": 0, "file_size": 4 << 20, "open_files": 64}
"""Below these not even the walls are made: bubblewrap has a few processes and descriptors, and writes the certificates that are trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`memory` and `file_size` in bytes, `cpus` in processors (1.5 is one and a half), `pids` in processes and threads."""

    pids: Amount = None
    memory: Amount = None
    cpus: Amount = None
    file_size: Amount = None
    open_files: Amount = None

    def over(self, other: "Limits") -> "Limits":
        """These, and those of `other` where nothing is said here."""
        return replace(other, **{one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None})

    def number(self, name: str) -> int | float | None:
        """The amount, or None where there is no limit."""
        value = getattr(self, name)
        return None if value == UNLIMITED else value


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise ValueError("write a whole number, or unlimited")
    return int(text)


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError("write a size such as 512M or 4G, or unlimited")
    return int(found[1]) * _FACTORS[found[2].upper()]


def _processors(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,2})?", text) or float(text) < 0.01:
        raise ValueError("write a number of processors such as 2 or 0.5, or unlimited")
    return float(text)


_READERS: dict[str, Callable[[str], int | float]] = {
    "pids": _count,
    "memory": _size,
    "cpus": _processors,
    "file_size": _size,
    "open_files": _count,
}
NAMES: Final = tuple(_READERS)


def read_limit(name: str, text: str) -> Amount:
    """One amount. Raises ValueError with what to write."""
    if text == UNLIMITED:
        return UNLIMITED
    amount = _READERS[name](text)
    if amount < _LEAST[name]:
        least = f"{_LEAST[name] >> 20}M" if _READERS[name] is _size else str(_LEAST[name])
        raise ValueError(f"write at least {least}: with less nothing can be started")
    return amount
