"""Which sandbox a person means: an id, or as much of its beginning as no other has, with or without `sb-`."""

from collections.abc import Collection
from typing import Final

from immure.errors import UsageError

PREFIX: Final = "sb-"


def find(text: str, identifiers: Collection[str]) -> str:
    """The one that `text` means. Raises UsageError, which names those that it may mean."""
    begin = PREFIX + text.removeprefix(PREFIX)
    found = [identifier for identifier in sorted(identifiers) if identifier.startswith(begin) and begin != PREFIX]
    if begin in found:
        return begin
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{text!r} may be {' or '.join(found)}", code="sandbox.ambiguous", hint="name more of it")
    hint = f"running: {', '.join(sorted(identifiers))}" if identifiers else "none is running; immure run or immure codex starts one"
    raise UsageError(f"no running sandbox is called {text!r}", code="sandbox.unknown", hint=hint)
