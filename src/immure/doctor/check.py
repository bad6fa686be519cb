"""One thing that was tried, and what came of it. [pure]"""

from dataclasses import dataclass
from typing import Literal

from immure.errors import ImmureError

Status = Literal["ok", "warning", "failed"]
"""A warning is about something that not every launch needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`id` is stable. `detail` says what was found, and never who you are: reports are shown to others. `fix` is empty if all is well."""

    id: str
    status: Status
    detail: str
    fix: str = ""

    @classmethod
    def of(cls, id: str, error: ImmureError, status: Status = "failed") -> "Check":  # noqa: A002
        return cls(id=id, status=status, detail=error.what, fix=error.hint)
