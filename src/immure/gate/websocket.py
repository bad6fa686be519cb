"""The frames of a WebSocket that a secret opened: outward as they came, inward with every secret turned back into its placeholder.

What the upstream sends is framed anew, since a placeholder has another length: a message goes on as it arrives, in fragments, and only
bytes that may be the beginning of a secret wait for its next fragment; none waits when the message has ended. A message that the
upstream has compressed goes on decompressed, and in a turn of the loop no more of it than of a body. Nothing here reads or writes a
socket.

Rules: the frames of either side are checked before they are passed on. Secrets that are rotated while the WebSocket is open are looked
for from the next message on, beside those before them. What seems to be a secret cut off by the end of a control frame is left out:
servers cut a reason to the 123 octets that fit.

*Trust:* both sides choose every byte of their direction. *Fails:* `PeerError`, when all that came before has been given out; `farewell`
is what to tell both.
"""

from collections.abc import Callable, Iterator

from immure.rewrite import Pairs, Restorer
from immure.rewrite.pairs import MINIMUM_SECRET
from immure.wire.permessage_deflate import Inflater
from immure.wire.websocket import MAX_CONTROL, Control, FrameReader, Head, Opcode, closing, write_control, write_data, write_head


class WebSocket:
    """Both directions of one; what the upstream sends is fed, and pulled as `Inward`.

    `pairs` are the secrets that it was opened beside, `current` gives those that hold now, `inflater` is there if permessage-deflate
    was agreed on.
    """

    __slots__ = (
        *("_client", "_compressed", "_current", "_final", "_inflater", "_known", "_opcode", "_pairs", "_restorer", "_sought", "_upstream"),
        "waiting",
    )

    def __init__(self, pairs: Pairs, current: Callable[[], Pairs], inflater: Inflater | None = None) -> None:
        self._client = FrameReader(masked=True, compressed=inflater is not None)
        self._upstream = FrameReader(masked=False, compressed=inflater is not None)
        self._inflater = inflater
        self._current = current
        self._known = self._pairs = self._sought = pairs
        # The message that the upstream is sending. The restorer serves one after another, for nothing is left in it after the last frame.
        self._restorer = Restorer(self._sought)
        self._compressed: Inflater | None = None  # what decompresses it
        self._opcode = Opcode.CONTINUATION  # of the next fragment that the client gets
        self._final = False  # its last frame has begun
        self.waiting = False

    def outward(self, data: bytes) -> Iterator[bytes]:
        """What the client sent, for the upstream. Raises PeerError."""
        reader = self._client
        reader.feed(data)
        while (event := reader.next_event()) is not None:
            if isinstance(event, bytes):
                yield event
            elif isinstance(event, Head):
                yield write_head(event)
            else:
                yield write_control(event)

    def feed(self, data: bytes) -> None:
        self._upstream.feed(data)
        self.waiting = True

    def end(self) -> None:
        """A message that the upstream did not end has no end."""

    def next_piece(self) -> bytes:
        inflater = self._compressed
        if inflater is not None and inflater.waiting:
            return self._restored(inflater.next_piece())
        event = self._upstream.next_event()
        if event is None:
            self.waiting = False
            return b""
        if isinstance(event, bytes):
            return self._payload(event)
        if isinstance(event, Control):
            return self._control(event)
        if event.opcode is not Opcode.CONTINUATION:
            self._begin(event)
        self._final = event.final
        return b"" if event.length else self._payload(b"")

    def _begin(self, head: Head) -> None:
        self._opcode = head.opcode
        self._look_for(self._secrets())
        self._compressed = self._inflater if head.compressed else None
        if self._compressed is not None:
            self._compressed.begin_message()

    def _payload(self, payload: bytes) -> bytes:
        inflater = self._compressed
        if inflater is None:
            return self._restored(payload)
        inflater.feed(payload)
        if self._final and not self._upstream.left:
            inflater.end_message()
        return b""

    def _secrets(self) -> Pairs:
        current = self._current()
        if current is not self._known:
            self._known = current
            self._pairs = Pairs((*self._pairs, *current))
        return self._pairs

    def _look_for(self, pairs: Pairs) -> None:
        if pairs is not self._sought:
            self._sought, self._restorer = pairs, Restorer(pairs)

    def _restored(self, payload: bytes) -> bytes:
        inflater = self._compressed
        last = self._final and not self._upstream.left and (inflater is None or not inflater.waiting)
        certain = self._restorer.feed(payload)
        if last:
            certain += self._restorer.finish()
        elif not certain:
            return b""
        opcode, self._opcode = self._opcode, Opcode.CONTINUATION
        return write_data(opcode, certain, final=last)

    def _control(self, control: Control) -> bytes:
        if not control.payload:
            return write_control(control)
        restorer = Restorer(self._secrets())  # not that of the message that it may stand in the middle of
        payload = restorer.feed(control.payload)
        held = restorer.finish()
        if len(held) < MINIMUM_SECRET:
            payload += held
        end = MAX_CONTROL
        while control.opcode is Opcode.CLOSE and len(payload) > end and payload[end] & 0xC0 == 0x80:
            end -= 1  # a reason is UTF-8 (RFC 6455 section 5.5.1), and not to be cut within a character
        return write_control(control._replace(payload=payload[:end]))

    def farewell(self, code: int, reason: str, key: bytes) -> tuple[bytes, bytes]:
        """What tells client and upstream why it ends: a Close each, or nothing where none can be said any more. The reason is the client's.

        `key` masks what the upstream gets: four bytes that nobody can foresee (RFC 6455 section 10.3).
        """
        to_client = b"" if self._upstream.closed else write_control(Control(Opcode.CLOSE, closing(code, reason), b""))
        if self._client.closed or self._client.left:
            return to_client, b""
        return to_client, write_control(Control(Opcode.CLOSE, closing(code), key))
