"""A request's body: what its head says of it, and reading it in time.

Decided here: which bodies are taken at all (JSON in UTF-8, plain or gzip, with
a length or chunked, up to a size), and how slowly one may come: as fast as the
slowest line we serve, or 408.  aiohttp has no deadline for bodies.
"""

import asyncio
from typing import Final

from aiohttp import StreamReader, web
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import Struct
from multidict import CIMultiDictProxy

from gateway.board import Slot
from gateway.check import unfold
from gateway.clock import Clock
from gateway.config import Http
from gateway.errors import Refusal


class BodyHead(Struct, frozen=True):
    """What a request's head says of its body."""

    is_gzip: bool
    bytes_max: int  # allowed for this route, as sent and unfolded
    unfolded_bytes_max: int  # what it may take in memory: its declared length, or more where that is open


def read_head(headers: CIMultiDictProxy[str], bytes_max: int, gzip_ratio_max: int) -> BodyHead:
    """What the head says of the body.

    Raises:
        Refusal: unsupported-media-type, unsupported-encoding, length-required, body-too-large.
    """
    if headers.get("Content-Type") != "application/json" and not _is_json(headers.get("Content-Type", "")):
        raise Refusal("unsupported-media-type", "want Content-Type: application/json in UTF-8")
    encoding = ",".join(headers.getall("Content-Encoding")).strip().lower() if "Content-Encoding" in headers else ""
    if encoding not in ("", "identity", "gzip"):
        raise Refusal("unsupported-encoding", "want gzip or no Content-Encoding", headers=[("Accept-Encoding", "gzip")])
    length_text = headers.get("Content-Length")
    if length_text is not None:
        length = _length(length_text)
    elif "Transfer-Encoding" in headers:
        length = bytes_max  # chunked: as much as is allowed may come
    else:
        raise Refusal("length-required", "want Content-Length or chunked", close=True)
    if length > bytes_max:
        raise _too_large(bytes_max)
    return sized(length, bytes_max, gzip_ratio_max, is_gzip=encoding == "gzip")


def sized(length: int, bytes_max: int, gzip_ratio_max: int, *, is_gzip: bool) -> BodyHead:
    """What a body of this length may take."""
    return BodyHead(is_gzip, bytes_max, min(length * gzip_ratio_max, bytes_max) if is_gzip else length)


def _length(text: str) -> int:
    """The parser lets digits alone through, but any number of them, which int() does not take."""
    return int(text) if len(text) < _DIGITS_MAX else int(text.lstrip("0")[:_DIGITS_MAX] or "0")


def _too_large(bytes_max: int) -> Refusal:
    return Refusal("body-too-large", f"want at most {bytes_max} bytes", close=True)


def _broken() -> Refusal:
    return Refusal("bad-request", "the body's framing is broken", close=True)


def _is_json(content_type: str) -> bool:
    """application/json, with no charset or with UTF-8."""
    media_type, _, parameters = content_type.lower().partition(";")
    if media_type.strip() != "application/json":
        return False
    name, _, value = parameters.strip().partition("=")
    return not parameters.strip() or (name == "charset" and value.strip('"') in ("utf-8", "utf8"))


def body_until_s(settings: Http, received_bytes: int) -> float:
    """Seconds after its start at which a body with so many bytes received is too slow."""
    return min(settings.body_timeout_s, settings.body_grace_s + received_bytes / settings.body_rate_min)


class Bodies:
    """Reads the bodies of one worker."""

    def __init__(self, settings: Http, clock: Clock, slot: Slot) -> None:
        self._settings = settings
        self._monotonic_s = clock.monotonic_s
        self._bytes = slot.counter("sluicegate_body_bytes_total")

    def whole(self, request: web.BaseRequest, head: BodyHead) -> bytes | None:
        """The unfolded body where all of it is here, as nearly always; else None, and `read` waits for it.

        Raises:
            Refusal: body-too-large, bad-request (its framing), invalid-gzip, invalid-json (it is empty).
        """
        content = request.content
        if not content.is_eof():
            return None
        try:
            body = content.read_nowait()
        except (web.RequestPayloadError, HttpProcessingError):
            raise _broken() from None
        return self.unfolded(body, head)

    async def small(self, request: web.BaseRequest, bytes_max: int) -> bytes:
        """A body of another kind than JSON: a form's.

        Raises:
            Refusal: body-too-large, request-timeout, bad-request.
        """
        head = BodyHead(is_gzip=False, bytes_max=bytes_max, unfolded_bytes_max=bytes_max)
        body = self.whole(request, head)
        return await self.read(request, head) if body is None else body

    async def read(self, request: web.BaseRequest, head: BodyHead) -> bytes:
        """The unfolded body, read within its deadline.

        Raises:
            Refusal: request-timeout, and those of `whole`.
        """
        if "Expect" in request.headers and request.version == HttpVersion11:
            # Only now: the decision to take this request is made.
            assert request.transport is not None
            request.transport.write(_CONTINUE)
        try:
            body = await self._trickle(request.content, head.bytes_max)
        except (web.RequestPayloadError, HttpProcessingError):
            raise _broken() from None
        return self.unfolded(body, head)

    def unfolded(self, body: bytes, head: BodyHead) -> bytes:
        """What was sent, as it is read.  Raises Refusal: body-too-large, invalid-gzip, invalid-json (it is empty)."""
        if len(body) > head.bytes_max:
            raise _too_large(head.bytes_max)
        self._bytes.add(len(body))
        if body and not head.is_gzip:
            return body
        return unfold(body, is_gzip=head.is_gzip, bytes_max=head.bytes_max, ratio_max=self._settings.gzip_ratio_max)

    async def _trickle(self, content: StreamReader, bytes_max: int) -> bytes:
        """A body that is not here yet."""
        started_s = self._monotonic_s()
        body = bytearray()
        while len(body) <= bytes_max:
            patience_s = body_until_s(self._settings, len(body)) - (self._monotonic_s() - started_s)
            try:
                async with asyncio.timeout(patience_s):
                    chunk = await content.readany()
            except TimeoutError:
                raise Refusal("request-timeout", "the body did not arrive in time", close=True) from None
            if not chunk:
                break
            body += chunk
        return bytes(body)


_DIGITS_MAX: Final = 19  # of more than any length can be; cut there it still is
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
