"""Values → HTTP answers: the headers every one has, and problem+json.

Decided here: how a refusal, a receipt or a document looks on the wire.
Every answer has `Request-Id`, our own `Server` and a `Cache-Control`.
Source: RFC 9457 (problem details), RFC 9110.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from http import HTTPStatus
from itertools import count
from typing import Final, cast

import msgspec
from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpVersion10
from msgspec import Struct

from gateway.core.receipt import Durability, Entry, Receipt
from gateway.cors import ALLOWED
from gateway.errors import PROBLEMS, Refusal

SERVER: Final = "sluicegate"
_JSON: Final = "application/json"
PROBLEM_JSON: Final = "application/problem+json"
# Heads begin in a few ways only: (status, content type, cache) → their first lines.
_BEGINNINGS: Final[dict[tuple[int, str, str], str]] = {}
_ALL_ACCEPTED: Final = b'{"durability":"%b","accepted":%d,"ack_through":%b,"results":[],"receipt":"%b"}'
_encode = msgspec.json.Encoder().encode


def etag(body: bytes) -> str:
    """The tag of exactly this body (RFC 9110, section 8.8.3)."""
    return f'"{blake2b(body, digest_size=12).hexdigest()}"'


class Answer:
    """One complete answer, written as it is in one piece.

    aiohttp's own Response is built for streaming, compressing and cookies; making and writing
    each of our small answers through it takes a third of a bare request's time.  Of an answer
    aiohttp's connection asks three things: `prepare`, `write_eof` and `keep_alive`.
    """

    __slots__ = ("body", "head", "keep_alive", "status")

    def __init__(self, status: int, head: bytes, body: bytes, *, closes: bool = False) -> None:
        """Args: head: status line and headers without the connection's, each line ended; closes: end the connection after it."""
        self.status = status
        self.head = head
        self.body = body
        self.keep_alive = False if closes else None  # None: as the client wants it

    def force_close(self) -> None:
        """End the connection after this answer."""
        self.keep_alive = False

    def add_headers(self, lines: bytes) -> None:
        """Further headers, each line ended."""
        self.head += lines

    def text(self, connection: bytes = b"") -> bytes:
        """All of it.  Args: connection: a line on what becomes of it, where it is kept; none: HTTP/1.1 keeps it by default."""
        return b"%b%b\r\n%b" % (self.head, b"Connection: close\r\n" if self.keep_alive is False else connection, self.body)

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write all of it; nothing is left for `write_eof`.  Raises ConnectionResetError where nobody listens any more."""
        if self.keep_alive is None:
            self.keep_alive = request.keep_alive
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if request.method == "HEAD":
            self.body = b""
        transport.write(self.text(b"Connection: keep-alive\r\n" if request.version == HttpVersion10 else b""))
        if request.protocol.writing_paused:
            # A client that pipelines and does not read must not fill our memory.
            # connections.py bounds how long.
            await request.writer.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""
        assert not data

    def as_response(self) -> web.StreamResponse:
        """Itself, in aiohttp's words."""
        return cast("web.StreamResponse", self)


class Replies:
    """Makes the answers of one worker; numbers them under the worker's name."""

    def __init__(self, worker: str) -> None:
        """Args: worker: the name drawn at start; `Request-Id` is `<worker>-<number>`."""
        self._prefix = f"{worker}-"
        self._numbers = count(1)

    def _head(self, status: int, content_type: str, length: int, cache: str, more: Sequence[tuple[str, str]]) -> bytes:
        """Status line and headers, all but the connection's."""
        begun = _BEGINNINGS.get((status, content_type, cache))
        if begun is None:
            phrase = HTTPStatus(status).phrase
            begun = f"HTTP/1.1 {status} {phrase}\r\nServer: {SERVER}\r\nContent-Type: {content_type}\r\nCache-Control: {cache}\r\n"
            _BEGINNINGS[status, content_type, cache] = begun
        framing = "" if status in (HTTPStatus.NOT_MODIFIED, HTTPStatus.NO_CONTENT) else f"Content-Length: {length}\r\n"
        others = "".join([f"{name}: {value}\r\n" for name, value in more]) if more else ""
        return f"{begun}Request-Id: {self._prefix}{next(self._numbers)}\r\nDate: {rfc822_formatted_time()}\r\n{framing}{others}".encode()

    def _answer(
        self,
        status: int,
        content_type: str,
        body: bytes,
        cache: str = "no-store",
        more: Sequence[tuple[str, str]] = (),
        *,
        closes: bool = False,
    ) -> Answer:
        return Answer(status, self._head(status, content_type, len(body), cache, more), body, closes=closes)

    def receipt(self, told: Receipt, receipt: bytes, retry_after_s: int | None) -> Answer:
        """202 for a sync of which something is durable; `retry_after_s` where something is not."""
        if not told.results:
            # Nearly all of them: formatting this costs a quarter of encoding it.
            ack_through = b"null" if told.ack_through is None else b"%d" % told.ack_through
            return self._answer(202, _JSON, _ALL_ACCEPTED % (told.durability.encode(), told.accepted, ack_through, receipt))
        more = () if retry_after_s is None else (("Retry-After", str(retry_after_s)),)
        return self._answer(202, _JSON, _encode({"durability": told.durability, **_told(told), "receipt": receipt.decode()}), more=more)

    @staticmethod
    def none_durable(told: Receipt, retry_after_s: int) -> Refusal:
        """503 for a sync of which nothing is known to be durable, though some of it is valid."""
        detail = "nothing of this request is known to be stored"
        is_shed = {entry.code for entry in told.results if entry.status == "retry"} == {"overloaded"}
        return Refusal("overloaded" if is_shed else "not-durable", detail, retry_after_s=retry_after_s, members={"outcome": told.outcome, **_told(told)})

    @staticmethod
    def none_valid(told: Receipt) -> Refusal:
        """422 for a sync without one valid sample."""
        errors = [{"pointer": entry.pointer, "detail": entry.detail or entry.code} for entry in told.results]
        return Refusal("invalid", "no sample is valid", members={"errors": errors, **_told(told)})

    def signed_up(self, signup_id: str, durability: Durability, receipt: bytes) -> Answer:
        """202 for an application that is durable."""
        return self._answer(202, _JSON, _encode({"durability": durability, "signup_id": signup_id, "receipt": receipt.decode()}))

    def json(self, status: int, members: Mapping[str, object] | Struct, more: Sequence[tuple[str, str]] = ()) -> Answer:
        """What a room or a receipt says, to one person."""
        return self._answer(status, _JSON, _encode(members), more=more)

    def preflight(self, methods: Sequence[str]) -> Answer:
        """204: what a browser asks before it lets a page call."""
        return self._answer(204, _JSON, b"", more=[("Access-Control-Allow-Methods", ", ".join(methods)), *ALLOWED])

    def page(self, body: bytes, more: Sequence[tuple[str, str]], status: int = 200) -> Answer:
        """A page for one person."""
        return self._answer(status, "text/html; charset=utf-8", body, more=more)

    def elsewhere(self, where: str, more: Sequence[tuple[str, str]]) -> Answer:
        """303: look there."""
        return self._answer(303, "text/plain", b"", more=[("Location", where), *more])

    def document(self, content_type: str, body: bytes, *, etag: str, max_age_s: int, if_none_match: str) -> Answer:
        """200 with a cacheable document, or 304 where the caller has it already, as If-None-Match says."""
        tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
        is_known = etag in tags or "*" in tags
        more = [("ETag", etag)]
        if content_type.startswith("text/html"):
            # Pages come in two languages, and do nothing but stand there.
            more += [("Vary", "Accept-Language"), ("Content-Security-Policy", "default-src 'none'")]
        return self._answer(304 if is_known else 200, content_type, b"" if is_known else body, f"public, max-age={max_age_s}", more)

    def refusal(self, refusal: Refusal) -> Answer:
        """problem+json, with the headers its status asks for."""
        return self._answer(refusal.problem.status, PROBLEM_JSON, problem_json(refusal), more=_headers(refusal), closes=refusal.close)

    def raw(self, refusal: Refusal, *, closes: bool = True) -> bytes:
        """The same as bytes, for a client whose request never began, or never reached a handler."""
        body = problem_json(refusal)
        connection = b"Connection: close\r\n" if closes else b""
        return b"%b%b\r\n%b" % (self._head(refusal.problem.status, PROBLEM_JSON, len(body), "no-store", _headers(refusal)), connection, body)


def _headers(refusal: Refusal) -> Sequence[tuple[str, str]]:
    if refusal.retry_after_s is None:
        return refusal.headers
    return [*refusal.headers, ("Retry-After", str(refusal.retry_after_s))]


def problem_json(refusal: Refusal) -> bytes:
    """The document of a refusal."""
    if refusal.members:
        return _encode({**_document(refusal.problem.code, refusal.detail), **refusal.members})
    return _plain_problem(refusal.problem.code, refusal.detail)


@lru_cache
def _plain_problem(code: str, detail: str) -> bytes:
    """What a crowd is told, a thousand times a second."""
    return _encode(_document(code, detail))


def _document(code: str, detail: str) -> dict[str, object]:
    problem = PROBLEMS[code]
    return {
        "type": f"/problems/{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "code": problem.code,
        "retryable": problem.retryable,
    }


def _told(told: Receipt) -> dict[str, object]:
    return {"accepted": told.accepted, "ack_through": told.ack_through, "results": [_entry(entry) for entry in told.results]}


def _entry(entry: Entry) -> dict[str, object]:
    members = msgspec.structs.asdict(entry)
    if entry.detail is None:
        del members["detail"]
    return members


_PAGE: Final = """<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">
<title>{title}</title></head><body><main><h1>{title}</h1><p>{remedy}</p><p><code>{code}</code> · HTTP {status}</p></main></body></html>
"""


def problem_page(code: str, lang: str) -> bytes:
    """The page behind a problem's `type`, in "ko" or "en".  Raises KeyError for an unknown code."""
    problem = PROBLEMS[code]
    title, remedy = (problem.title_ko, problem.remedy_ko) if lang == "ko" else (problem.title, problem.remedy)
    return _PAGE.format(lang=lang, title=title, remedy=remedy.replace("<", "&lt;"), code=problem.code, status=problem.status).encode()
