"""Inward: every secret that went out with a request becomes its placeholder again, wherever and in whatever form (`forms`) the answer
repeats it.

A stream is restored as it flows. Only bytes that may be the beginning of a secret wait for the next piece: never more than one form's
length, and none at the end of a server-sent event, since no form holds a line feed.

Rules: of two forms that begin at the same byte the longer is taken, of two that overlap the first; the result does not depend on how the
stream is cut. A caller must have taken compression off.

*Trust:* the upstream chooses the bytes and how they are cut. *Fails:* a secret too short to be told from ordinary text is a Fault.
"""

from collections.abc import Sequence

from immure.rewrite.pairs import Pairs


class Restorer:
    """Restores one stream. Feed it every piece in order, then `finish()`; what they return, joined, is the restored stream."""

    __slots__ = ("_held", "_pairs")

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; return what is certain by now."""
        buffer = self._held + data if self._held else data
        certain, self._held = _restored(buffer, self._pairs, last=False)
        return certain

    def finish(self) -> bytes:
        """Return what still waited: no more of the stream will come."""
        certain, self._held = _restored(self._held, self._pairs, last=True)
        return certain


def restore_headers(headers: Sequence[tuple[bytes, bytes]], pairs: Pairs) -> tuple[tuple[bytes, bytes], ...]:
    """Header or trailer fields with every secret restored, in names (where an upstream may choose to repeat one) as in values."""
    return tuple((_restored(name, pairs, last=True)[0], _restored(value, pairs, last=True)[0]) for name, value in headers)


def _restored(data: bytes, pairs: Pairs, *, last: bool) -> tuple[bytes, bytes]:
    """What can be passed on of the data, restored, and what must wait to see what follows (nothing if it is the `last`)."""
    if pairs.may_be_in(data):
        return _exchanged(bytearray(data), pairs, last=last)
    begun = len(data) if last else _with_shared(data, 0, pairs.begun_in(data, 0), pairs)
    return data[:begun], data[begun:]


def _exchanged(buffer: bytearray, pairs: Pairs, *, last: bool) -> tuple[bytes, bytes]:
    done = 0
    parts: list[bytes | bytearray] = []
    for start, form, whole in pairs.found_in(buffer, last=last):
        if start < done:
            continue
        exchanged = form.exchanged(buffer, start, done, last) if whole else None
        if exchanged is None:
            begun = start
            break
        placeholder, end = exchanged
        parts += buffer[done:start], placeholder
        done = end
    else:
        begun = len(buffer) if last else pairs.begun_in(buffer, done)
    if not last:
        begun = _with_shared(buffer, done, begun, pairs)
    parts.append(buffer[done:begun])
    return b"".join(parts), bytes(buffer[begun:])


def _with_shared(buffer: bytes | bytearray, done: int, begun: int, pairs: Pairs) -> int:
    """Where waiting begins, if a form begins at `begun`: a digit of base64 before it may change with it."""
    return begun - 1 if begun > done and pairs.may_share(buffer[begun - 1]) else begun
