"""Values → HTTP answers: the headers every one has, and problem+json.

Decided here: how a refusal, a receipt or a document looks on the wire.
Every answer has `Request-Id`, our own `Server` and a `Cache-Control`.
Source: RFC 9457 (problem details), RFC 9110.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Final

import msgspec
from aiohttp import web

from gateway.core.receipt import Entry, Receipt
from gateway.errors import PROBLEMS, Refusal

SERVER: Final = "sluicegate"
_JSON: Final = "application/json"
_PROBLEM_JSON: Final = "application/problem+json"
_REASONS: Final = {400: "Bad Request", 408: "Request Timeout", 429: "Too Many Requests", 503: "Service Unavailable"}
_encode = msgspec.json.Encoder().encode


class Replies:
    """Makes the answers of one worker; numbers them under the worker's name."""

    def __init__(self, worker: str) -> None:
        """Args: worker: the name drawn at start; `Request-Id` is `<worker>-<number>`."""
        self._prefix = f"{worker}-"
        self._numbers = count(1)

    def _response(self, status: int, content_type: str, body: bytes, cache: str = "no-store", more: Sequence[tuple[str, str]] = ()) -> web.Response:
        headers = {
            "Content-Type": content_type,
            "Request-Id": self._prefix + str(next(self._numbers)),
            "Server": SERVER,
            "Cache-Control": cache,
        }
        headers.update(more)
        return web.Response(status=status, body=body, headers=headers)

    def receipt(self, told: Receipt, retry_after_s: int | None) -> web.Response:
        """202 for a sync of which something is durable; `retry_after_s` where something is not."""
        more = () if retry_after_s is None else (("Retry-After", str(retry_after_s)),)
        return self._response(202, _JSON, _encode({"durability": "kafka", **_told(told)}), more=more)

    @staticmethod
    def none_durable(told: Receipt, retry_after_s: int) -> Refusal:
        """503 for a sync of which nothing is known to be durable, though some of it is valid."""
        detail = "nothing of this request is known to be stored"
        return Refusal("not-durable", detail, retry_after_s=retry_after_s, members={"outcome": told.outcome, **_told(told)})

    @staticmethod
    def none_valid(told: Receipt) -> Refusal:
        """422 for a sync without one valid sample."""
        errors = [{"pointer": entry.pointer, "detail": entry.detail or entry.code} for entry in told.results]
        return Refusal("invalid", "no sample is valid", members={"errors": errors, **_told(told)})

    def signed_up(self, signup_id: str) -> web.Response:
        """202 for an application that is durable."""
        return self._response(202, _JSON, _encode({"durability": "kafka", "signup_id": signup_id}))

    def document(self, content_type: str, body: bytes, *, etag: str, max_age_s: int, is_known: bool) -> web.Response:
        """200 with a cacheable document, or 304 where the caller `is_known` to have it."""
        more = (("ETag", etag), ("Vary", "Accept-Language"))
        return self._response(304 if is_known else 200, content_type, b"" if is_known else body, f"public, max-age={max_age_s}", more)

    def refusal(self, refusal: Refusal) -> web.Response:
        """problem+json, with the headers its status asks for."""
        more = list(refusal.headers)
        if refusal.retry_after_s is not None:
            more.append(("Retry-After", str(refusal.retry_after_s)))
        response = self._response(refusal.problem.status, _PROBLEM_JSON, _problem(refusal), more=more)
        if refusal.close:
            response.force_close()
        return response

    def raw(self, refusal: Refusal) -> bytes:
        """The same as bytes that close the connection, for a client whose request never began."""
        body = _problem(refusal)
        status = refusal.problem.status
        retry = f"Retry-After: {refusal.retry_after_s}\r\n" if refusal.retry_after_s is not None else ""
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nServer: {SERVER}\r\nRequest-Id: {self._prefix}{next(self._numbers)}\r\n"
            f"Cache-Control: no-store\r\nContent-Type: {_PROBLEM_JSON}\r\nContent-Length: {len(body)}\r\n{retry}Connection: close\r\n\r\n"
        )
        return head.encode() + body


def _problem(refusal: Refusal) -> bytes:
    problem = refusal.problem
    document: Mapping[str, object] = {
        "type": f"/problems/{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": refusal.detail,
        "code": problem.code,
        "retryable": problem.retryable,
        **refusal.members,
    }
    return _encode(document)


def _told(told: Receipt) -> dict[str, object]:
    return {"accepted": told.accepted, "ack_through": told.ack_through, "results": [_entry(entry) for entry in told.results]}


def _entry(entry: Entry) -> dict[str, object]:
    return {name: value for name, value in entry._asdict().items() if value is not None or name in ("id", "seq")}


_PAGE: Final = """<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">
<title>{title}</title></head><body><main><h1>{title}</h1><p>{remedy}</p><p><code>{code}</code> · HTTP {status}</p></main></body></html>
"""


def problem_page(code: str, lang: str) -> bytes:
    """The page behind a problem's `type`, in "ko" or "en".  Raises KeyError for an unknown code."""
    problem = PROBLEMS[code]
    title, remedy = (problem.title_ko, problem.remedy_ko) if lang == "ko" else (problem.title, problem.remedy)
    return _PAGE.format(lang=lang, title=title, remedy=remedy.replace("<", "&lt;"), code=problem.code, status=problem.status).encode()
