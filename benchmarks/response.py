"""The least HTTP/1.1 response parser a load generator needs: status line and Content-Length.

Pure: bytes in, statuses out, however the bytes were cut.  Not a client: no chunked bodies, no
HEAD, no interim answers.  Whatever it does not know is an error, because a benchmark that
misreads its answers measures nothing.
"""

# No arm answers with more than a few hundred bytes of headers.
HEAD_BYTES_MAX = 16_384
HEAD_END = b"\r\n\r\n"
LENGTH_FIELD = b"\r\ncontent-length:"
STATUS_LINE_BYTES_MIN = len(b"HTTP/1.1 202")


class UnreadableResponseError(ValueError):
    """The server answered something this parser does not know."""


class ResponseReader:
    """Feeds on what one connection receives."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        """Start between two answers."""
        self._rest = b""

    def feed(self, received: bytes) -> list[int]:
        """Return the statuses of the answers that `received` completes, in order."""
        pending = self._rest + received if self._rest else received
        statuses: list[int] = []
        start = 0
        while start < len(pending):
            head_end = pending.find(HEAD_END, start)
            if head_end < 0:
                if len(pending) - start > HEAD_BYTES_MAX:
                    raise UnreadableResponseError(f"no end of headers in {HEAD_BYTES_MAX} bytes")
                break
            head = pending[start:head_end]
            end = head_end + len(HEAD_END) + content_length(head)
            if end > len(pending):
                break
            statuses.append(status_code(head))
            start = end
        self._rest = pending[start:]
        return statuses


def status_code(head: bytes) -> int:
    """Return the status of `HTTP/1.1 202 Accepted`."""
    if len(head) < STATUS_LINE_BYTES_MIN or not head.startswith(b"HTTP/1."):
        raise UnreadableResponseError(f"status line {head[:40]!r}: want HTTP/1.x and a status")
    return int(head[9:12])


def content_length(head: bytes) -> int:
    """Return the length of the body that follows; an answer without one is unreadable here."""
    lowered = head.lower()
    field = lowered.find(LENGTH_FIELD)
    if field < 0:
        raise UnreadableResponseError(f"no Content-Length after {head[:40]!r}: want one")
    begin = field + len(LENGTH_FIELD)
    end = lowered.find(b"\r\n", begin)
    return int(lowered[begin:] if end < 0 else lowered[begin:end])
