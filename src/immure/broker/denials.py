"""What was denied in one sandbox, for `--log-denials`: gathered from its audit trail, listed when it has ended.

Rules: one line for what happened more than once, in the words of `immure logs`. The list is cut, never the trail.

*Trust:* programs and paths are an agent's: nothing of them is shown that `immure logs` would not show.
"""

import json
from typing import Any, Final

from immure.audit.render import render

MOST: Final = 100
_DENIED: Final = b'"action_id":2,'
_CLASSES: Final = (1001, 4001, 4002)
"""Files, connections and requests; a finding stands beside the request that it is of."""


class Denials:
    """The denied among the events of one sandbox."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}
        self._times: dict[str, int] = {}
        self._more = 0

    def add(self, lines: bytes) -> None:
        """Whole lines of the trail."""
        for line in lines.splitlines():
            if _DENIED in line and _is_listed(json.loads(line)):
                shown = render(line)
                self._count(shown.partition(" ")[2], shown)

    def _count(self, key: str, shown: str) -> None:
        """`key` is what is shown without its time."""
        if key in self._times:
            self._times[key] += 1
        elif len(self._times) < MOST:
            self._times[key] = 1
            self._lines[key] = shown
        else:
            self._more += 1

    def text(self) -> str:
        """For standard error."""
        if not self._times:
            return "immure: nothing was denied\n"
        shown = [f"{line} ({self._times[key]} times)" if self._times[key] > 1 else line for key, line in self._lines.items()]
        more = [f"and {self._more} more: immure logs"] if self._more else []
        return "\n".join(["immure: denied:", *shown, *more]) + "\n"


def _is_listed(event: dict[str, Any]) -> bool:
    return event.get("action_id") == 2 and event.get("class_uid") in _CLASSES
