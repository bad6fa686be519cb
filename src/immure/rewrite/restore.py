"""Inward: every secret that went out with a request becomes its placeholder again, wherever the answer repeats it.

A stream is restored as it flows. Only bytes that may be the beginning of a secret wait for the next piece: never more than one
secret's length, and none at the end of a server-sent event, since a secret holds no line feed.

Rules: of two secrets that begin at the same byte the longer is taken; the result does not depend on how the stream is cut. Secrets
are found as they are, not in an encoding of them: a caller must have asked the upstream for an unencoded body.

*Trust:* the upstream chooses the bytes and how they are cut. *Fails:* a secret too short to be told from ordinary text is a Fault.
"""

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush

from immure.errors import Fault

Pairs = Sequence[tuple[bytes, bytes]]
"""Secret and placeholder."""

MINIMUM_SECRET = 8
"""In bytes. Shorter ones would be found by chance and corrupt downloads."""


class Restorer:
    """Restores one stream. Feed it every piece in order, then `finish()`; what they return, joined, is the restored stream."""

    __slots__ = ("_beginnings", "_held", "_pairs")

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = _checked(pairs)
        self._beginnings = frozenset(secret[:length] for secret, _ in pairs for length in range(1, MINIMUM_SECRET))
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; return what is certain by now."""
        buffer = self._held + data if self._held else data
        begun = self._begun(buffer, 0)
        done = 0
        parts: list[bytes] = []
        for start, secret, placeholder in _occurrences(buffer, self._pairs):
            if begun < done:
                begun = self._begun(buffer, done)
            if start >= begun:
                break
            parts += buffer[done:start], placeholder
            done = start + len(secret)
        if begun < done:
            begun = self._begun(buffer, done)
        self._held = buffer[begun:]
        parts.append(buffer[done:begun])
        return b"".join(parts)

    def finish(self) -> bytes:
        """Return what still waited: no more of the stream will come."""
        held, self._held = self._held, b""
        return _restored(held, self._pairs)

    def _begun(self, buffer: bytes, start: int) -> int:
        """Where the first secret begins that the buffer ends within (its length if there is none), from `start` on.

        The last few bytes are compared with the beginnings of secrets, anything longer is found by its first bytes, so that the time
        does not grow with the length of the secrets.
        """
        end = len(buffer)
        first = end
        for secret, _ in self._pairs:
            head = secret[:MINIMUM_SECRET]
            at = buffer.find(head, max(start, end - len(secret) + 1))
            while -1 < at < first:
                if secret.startswith(buffer[at:]):
                    first = at
                else:
                    at = buffer.find(head, at + 1)
        for length in range(min(MINIMUM_SECRET - 1, end - start), end - first, -1):
            if buffer[-length:] in self._beginnings:
                return end - length
        return first


def restore_headers(headers: Sequence[tuple[bytes, bytes]], pairs: Pairs) -> tuple[tuple[bytes, bytes], ...]:
    """Header or trailer fields with every secret restored, in names (where an upstream may choose to repeat one) as in values."""
    checked = _checked(pairs)
    return tuple((_restored(name, checked), _restored(value, checked)) for name, value in headers)


def _checked(pairs: Pairs) -> Pairs:
    for secret, placeholder in pairs:
        if len(secret) < MINIMUM_SECRET or any(other in placeholder for other, _ in pairs):
            raise Fault("a secret is too short, or part of a placeholder, and cannot be restored", code="restore.secret")
    return tuple(pairs)


def _restored(data: bytes, pairs: Pairs) -> bytes:
    done = 0
    parts: list[bytes] = []
    for start, secret, placeholder in _occurrences(data, pairs):
        parts += data[done:start], placeholder
        done = start + len(secret)
    return b"".join([*parts, data[done:]]) if parts else data


def _occurrences(data: bytes, pairs: Pairs) -> Iterator[tuple[int, bytes, bytes]]:
    """Every secret in the data with its place, from the left, the longer first, none overlapping the one before.

    Each secret is searched for once over the data, in C; without any, that is all the work there is.
    """
    ahead = [(at, -len(secret), secret, placeholder) for secret, placeholder in pairs if (at := data.find(secret)) >= 0]
    heapify(ahead)
    end = 0
    while ahead:
        at, order, secret, placeholder = heappop(ahead)
        if at >= end:
            yield at, secret, placeholder
            end = at + len(secret)
        at = data.find(secret, end)
        if at >= 0:
            heappush(ahead, (at, order, secret, placeholder))
