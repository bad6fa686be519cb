"""What comes back to a client that a secret was used for: the body of an answer, decoded and with every secret turned back, pulled in
bounded pieces.

An encoded body is asked for in codings that are known here, so that the long way keeps its compression, and goes to the client without:
what the client accepts would have to be made anew, for the few steps that are left of the way.

Rules: a turn of the loop passes on `TURN` octets of one exchange and a piece, however much more stands behind what was fed. The rest
waits where it was decoded from until the client has room, and the upstream is not read meanwhile.

*Trust:* the upstream chooses every byte. *Fails:* an objection before anything is passed on; `PeerError` while a body comes.
"""

from typing import Final, Protocol

from immure.rewrite import Pairs, Restorer
from immure.wire import coding
from immure.wire.coding import Decoder
from immure.wire.head import Framing, Response

TURN: Final = 64 * 1024
_STEP: Final = 1024
"""What a step is taken for beside the octets that it gives out, so that steps which give out nothing come to an end too."""


class Inward(Protocol):
    """A stream on its way to the client: fed what arrives, asked for what may be passed on."""

    @property
    def waiting(self) -> bool:
        """Whether `next_piece` can go on before more is fed."""

    def feed(self, data: bytes) -> None: ...

    def end(self) -> None:
        """No more will be fed."""

    def next_piece(self) -> bytes:
        """What comes next, which may be nothing. Raises PeerError."""


def pull(inward: Inward, pieces: list[bytes]) -> bool:
    """Append what may be passed on in this turn; return whether more is waiting. Raises PeerError after what came before it."""
    done = 0
    while inward.waiting:
        if done >= TURN:
            return True
        piece = inward.next_piece()
        if piece:
            pieces.append(piece)
        done += len(piece) + _STEP
    return False


class Restoration:
    """The body of one answer, which was encoded as `codings` say; none of `pairs`' secrets comes out of it."""

    __slots__ = ("_decoder", "_ended", "_fed", "_pairs", "_restorer", "waiting")

    def __init__(self, pairs: Pairs, codings: tuple[bytes, ...]) -> None:
        self._pairs = pairs
        self._decoder = Decoder(codings) if codings else None
        self._fed: list[bytes] = []  # of a body that is not encoded
        self._restorer: Restorer | None = None  # begun for a body that comes in pieces
        self._ended = False
        self.waiting = False

    def feed(self, data: bytes) -> None:
        if self._decoder is not None:
            self._decoder.feed(data)
        else:
            self._fed.append(data)
        self.waiting = True

    def end(self) -> None:
        self._ended = self.waiting = True

    def next_piece(self) -> bytes:
        decoder = self._decoder
        if decoder is None:
            data = b"".join(self._fed)
            self._fed.clear()
            self.waiting = False
        else:
            data = decoder.next_piece()
            self.waiting = decoder.waiting
            if self._ended and not self.waiting:
                decoder.close()
        return self._restored(data, whole=self._ended and not self.waiting)

    def _restored(self, body: bytes, *, whole: bool) -> bytes:
        """The next piece of the body without secrets; `whole` if it is the last."""
        restorer = self._restorer
        if restorer is None:
            if whole and not self._pairs.may_be_in(body):
                return body
            restorer = self._restorer = Restorer(self._pairs)
        return restorer.feed(body) + (restorer.finish() if whole else b"")


def objection(response: Response, codings: tuple[bytes, ...]) -> str | None:
    """Why secrets in the body of an answer could not be found, or None."""
    if response.framing is Framing.NONE:
        return None
    if response.status == 206:
        return "it is a part of something, and was not asked for as one"
    return coding.objection(codings)
