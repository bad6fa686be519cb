"""One direction of an HTTP/1 connection, as events: a head, pieces of payload, the end of the message, the next head.

    reader.feed(bytes as they come)
    while event := reader.next_event(): Request | Response | bytes | End

The reader pulls: what follows a message stays in it until the owner asks, so that pipelined requests wait their turn.

Rules: the events do not depend on how the bytes were cut, but for where the pieces of payload are parted. After a `PeerError` a reader
is of no more use, for nobody knows where the next message would begin.

*Trust:* the peer chooses every byte. *Fails:* `PeerError`.
"""

from typing import Final, NamedTuple

from immure.errors import PeerError
from immure.wire.body import Body, ChunkedBody, LengthBody, OpenBody
from immure.wire.head import MAX_TARGET, Framing, Headers, Memory, Request, Response, parse_request, parse_response, refuse_beginning

_EMPTY_LINE: Final = b"\r\n\r\n"


class End(NamedTuple):
    """The message is complete."""

    trailers: Headers = ()


_END = End()


class _Reader:
    """The bytes that have not been read, and the body that is being read, if any."""

    __slots__ = ("_body", "_buffer", "_ended", "_memory", "_scanned")

    def __init__(self) -> None:
        self._memory = Memory()
        self._buffer = b""
        self._scanned = 0
        self._body: Body | None = None
        self._ended = False

    @property
    def waiting(self) -> int:
        """Octets that were fed and not yet given out."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data

    def _head(self) -> bytes | None:
        """Take a whole head off the buffer, if there is one."""
        buffer = self._buffer
        end = buffer.find(_EMPTY_LINE, max(0, self._scanned - 3))
        if end < 0:
            refuse_beginning(buffer, self._scanned)
            self._scanned = len(buffer)
            return None
        end += 4
        if end > MAX_TARGET:
            refuse_beginning(buffer[:end], end)
        head, self._buffer = buffer[:end], buffer[end:]
        self._scanned = 0
        return head

    def _begin(self, framing: Framing, length: int | None) -> None:
        match framing:
            case Framing.NONE:
                self._ended = True
            case Framing.LENGTH:
                self._body = LengthBody(length or 0)
            case Framing.CHUNKED:
                self._body = ChunkedBody()
            case Framing.UNTIL_CLOSE | Framing.TUNNEL:
                self._body = OpenBody()

    def _continue(self) -> bytes | End | None:
        """The next event of the message whose head is out."""
        if self._ended:
            self._ended = False
            body, self._body = self._body, None
            return End(body.trailers) if body and body.trailers else _END
        if not self._buffer or self._body is None:
            return None
        payload, rest = self._body.feed(self._buffer)
        self._buffer = b""
        if rest is not None:
            self._buffer = rest
            self._ended = True
        return payload or (self._continue() if self._ended else None)


class RequestReader(_Reader):
    """What a client sends."""

    __slots__ = ()

    def next_event(self) -> Request | bytes | End | None:
        """The next event, or None until more is fed. Raises PeerError."""
        if self._ended or self._body is not None:
            return self._continue()
        if not self._buffer:
            return None
        head = self._head()
        if head is None:
            return None
        request = parse_request(head, self._memory)
        self._begin(request.framing, request.length)
        return request

    def switch(self) -> None:
        """From here on the client speaks another protocol: everything is payload."""
        self._ended, self._body = False, OpenBody()


class ResponseReader(_Reader):
    """What an upstream sends. It must be told of each request before its answer is read; interim answers (1xx) have no `End`."""

    __slots__ = ("_method", "_upgrade")

    def __init__(self) -> None:
        super().__init__()
        self._method: bytes | None = None
        self._upgrade = b""

    def expect(self, method: bytes, upgrade: bytes = b"") -> None:
        self._method, self._upgrade = method, upgrade

    def next_event(self) -> Response | bytes | End | None:
        """The next event, or None until more is fed. Raises PeerError."""
        if self._ended or self._body is not None:
            return self._continue()
        if not self._buffer:
            return None
        if self._method is None:
            raise PeerError("an answer that nobody asked for")
        head = self._head()
        if head is None:
            return None
        response = parse_response(head, self._method, self._upgrade, self._memory)
        if response.status >= 200 or response.status == 101:
            self._method = None
            self._begin(response.framing, response.length)
        return response

    def close(self) -> End:
        """The connection has ended: the end of a body that says so, else a PeerError."""
        if isinstance(self._body, OpenBody):
            self._body = None
            return _END
        raise PeerError("the connection ended in the middle of a message")
