"""What a program may do with files and the network: paths with their access, of which the most specific one decides. [pure]"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Access = Literal["read", "write", "deny"]
_PRECEDENCE: tuple[Access, ...] = get_args(Access)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """`access` by absolute path; "/" is all that has no entry of its own, and without it nothing is shown but what has one.

    `protected` are names that may only be read at the top of every directory that may be written, unless `access` says otherwise.
    `patterns` close what matches them, down to `depth` directories below their fixed part (None: all the way). `system` shows the
    operating system. `network` is whether there is one at all: who may reach what is for policy to say.
    """

    access: Mapping[str, Access]
    protected: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    depth: int | None = None
    system: bool = False
    network: bool = False

    def __post_init__(self) -> None:
        for path in self.access:
            if not path.startswith("/"):
                raise ValueError(f"{path!r} is no absolute path")

    @property
    def writes(self) -> bool:
        """Whether anything may be written."""
        return "write" in self.access.values()


def stronger(first: Access, second: Access | None) -> Access:
    """What holds when a path has two: a denial before all, and writing before reading."""
    return first if second is None else max(first, second, key=_PRECEDENCE.index)


def above(path: str) -> tuple[str, ...]:
    """The directories that a path lies in, nearest first, "/" last."""
    names = path.split("/")[1:-1]
    return (*(f"/{'/'.join(names[:end])}" for end in range(len(names), 0, -1)), *(["/"] if path != "/" else []))
