"""The OpenAPI 3.1 document, generated from what decodes and what refuses.

Decided here: how the API is described, never how it behaves.  Bodies come from
schemas.py, refusals from errors.PROBLEMS.  The worker makes the document once,
at its start, and serves it from memory.

    python -m gateway.openapi            print the document
    python -m gateway.openapi --write    write every generated file under docs/ (pages.py)
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from gateway.core.notice import Notices
from gateway.core.payload import Signup, Sync
from gateway.errors import PROBLEMS, Problem
from gateway.openapi.schemas import Json, ProblemDocument, SignupReceipt, SyncReceipt, describe

# Headers.  Every answer has the first three.

_EVERY: Final = ("Request-Id", "Server", "Cache-Control")
_HEADERS: Final[Mapping[str, tuple[str, Json]]] = {
    "Request-Id": ("names this answer in our logs; quote it when you ask us", {"type": "string"}),
    "Server": ("always `sluicegate`", {"type": "string"}),
    "Cache-Control": ("`no-store`, except for the cacheable documents", {"type": "string"}),
    "Retry-After": ("whole seconds to wait before sending again; spread, so that phones do not come back all at once", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("RFC 6750 challenge; `error` says whether a token was there", {"type": "string"}),
    "Allow": ("the methods this path takes", {"type": "string"}),
    "Accept-Encoding": ("with `unsupported-encoding`: what a body may be packed with", {"type": "string"}),
    "RateLimit": ("with `rate-limited`: the violated limit alone, `r` what is left of it, `t` seconds until there is more", {"type": "string"}),
    "RateLimit-Policy": ("with `rate-limited`: the violated limit alone, `q` at once, refilled within `w` seconds", {"type": "string"}),
    "ETag": ("of exactly this body; give it back in If-None-Match", {"type": "string"}),
    "Vary": ("what the body depends on", {"type": "string"}),
}
_STATUS_HEADERS: Final[Mapping[int, tuple[str, ...]]] = {401: ("WWW-Authenticate",), 405: ("Allow",), 429: ("Retry-After",), 503: ("Retry-After",)}

_MAYBE_HEADERS: Final[Mapping[int, tuple[str, ...]]] = {415: ("Accept-Encoding",), 429: ("RateLimit", "RateLimit-Policy")}


def _header(name: str, *, required: bool) -> Json:
    description, schema = _HEADERS[name]
    return {"description": description, "required": required, "schema": schema}


def _headers(more: Sequence[str], maybe: Sequence[str] = ()) -> Json:
    """Every answer's headers and `more`, by reference; those it `maybe` has, inline."""
    always: Json = {name: {"$ref": f"#/components/headers/{name}"} for name in (*_EVERY, *more)}
    return always | {name: _header(name, required=False) for name in maybe}


# Refusals.

_ANY_CALL: Final = ("bad-request", "method-not-allowed", "request-timeout", "too-many-connections", "internal", "overloaded")
_ANY_POST: Final = (
    *_ANY_CALL,
    *("invalid-json", "invalid-gzip", "length-required", "body-too-large", "unsupported-media-type", "unsupported-encoding"),
    *("invalid", "rate-limited", "draining", "not-durable"),
)
_TOKENS: Final = ("token-missing", "token-invalid", "token-expired")


def problem_example(problem: Problem, members: Mapping[str, Any] | None = None) -> Json:
    """A problem document of this kind; `members` may replace its detail and add to it."""
    p = problem
    document = {"type": f"/problems/{p.code}", "title": p.title, "status": p.status, "detail": p.title, "code": p.code, "retryable": p.retryable}
    return document | dict(members or {})


def _refusals(codes: Sequence[str], examples: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Json]:
    """Responses for all problems of these codes, one per status."""
    found = sorted((PROBLEMS[code] for code in codes), key=lambda problem: problem.status)
    by_status = groupby(found, key=lambda problem: problem.status)
    return {str(status): _refusal(status, list(problems), examples or {}) for status, problems in by_status}


def _refusal(status: int, problems: Sequence[Problem], examples: Mapping[str, Mapping[str, Any]]) -> Json:
    narrowed = {"code": {"enum": [problem.code for problem in problems]}, "status": {"const": status}}
    media = {
        "schema": {"allOf": [{"$ref": "#/components/schemas/ProblemDocument"}, {"properties": narrowed}]},
        "examples": {p.code: {"summary": p.title, "value": problem_example(p, examples.get(p.code))} for p in problems},
    }
    return {
        "description": "\n".join(f"* `{p.code}`: {p.title}. {p.remedy}" for p in problems),
        "headers": _headers(_STATUS_HEADERS.get(status, ()), _MAYBE_HEADERS.get(status, ())),
        "content": {"application/problem+json": media},
    }


# Examples.  Those of DESIGN section 4; tests feed them to what decodes and compare them with what answers.

SYNC: Final[Json] = {
    "device_id": "4f1c7d52-9a0e-4c1b-8f3e-2f6b1d0c9a77",
    "platform": "android",
    "app_version": "2.3.1",
    "samples": [
        {
            "id": "0190a6e2-7c1b-7d3a-9f54-2b8e6a1c0d37",
            "seq": 41,
            "day": "2026-01-27",
            "steps": 8123,
            "recorded_at": "2026-01-27T22:10:05+09:00",
            "source": "watch",
        }
    ],
}
SYNC_RECEIPT: Final[Json] = {"durability": "kafka", "accepted": 1, "ack_through": 41, "results": []}
_BAD: Final[Json] = {"index": 0, "id": SYNC["samples"][0]["id"], "seq": 41, "status": "invalid", "code": "invalid-field"}
_WHY: Final[Json] = {"pointer": "/samples/0/steps", "detail": "Expected `int`, got `null`"}
_RETRY: Final[Json] = {"index": 1, "id": None, "seq": 42, "status": "retry", "code": "not-durable", "pointer": "/samples/1"}
SYNC_RECEIPT_RETRY: Final[Json] = {"durability": "kafka", "accepted": 1, "ack_through": 41, "results": [_RETRY]}
SYNC_REFUSED: Final[Mapping[str, Json]] = {
    "invalid": {"detail": "no sample is valid", "errors": [_WHY], "accepted": 0, "ack_through": 41, "results": [_BAD | _WHY]},
    "not-durable": {
        "detail": "nothing of this request is known to be stored",
        "outcome": "unknown",
        "accepted": 0,
        "ack_through": None,
        "results": [_RETRY | {"index": 0, "pointer": "/samples/0"}],
    },
}
SIGNUP: Final[Json] = {
    "signup_id": "0190a6f0-3d52-7b1e-8c4f-5a9d2e7b6c18",
    "revision": 1,
    "name": "(성명)",
    "phone": "+821012345678",
    "birth_date": "1960-03-01",
    "district": "종로구",
    "device": {"platform": "ios", "model": "iPhone15,2"},
    "consents": {"terms": True, "health_data": True, "marketing": False},
}
SIGNUP_RECEIPT: Final[Json] = {"durability": "kafka", "signup_id": SIGNUP["signup_id"]}
SIGNUP_REFUSED: Final[Mapping[str, Json]] = {
    "invalid": {"detail": "1 field to mend", "errors": [{"pointer": "/consents/terms", "detail": "must be true to sign up"}]},
    "not-durable": {"detail": "not acknowledged in time; it may be stored all the same", "outcome": "unknown"},
}


# Calls.

_ABOUT: Final = """\
The front door of a city health app: what a phone sends is checked, made durable in Kafka, and only then answered with a 2xx.

* Bodies are JSON in UTF-8, plain or packed with `Content-Encoding: gzip` (one member).  Unknown fields are ignored.
* Refusals are RFC 9457 problem documents; compare `code`, and let `retryable` and `Retry-After` decide what to do.
* Repeating a request is always safe.
* HEAD works wherever GET does.

The guide for a first hour with this API is docs/api.md.
"""
_BODY: Final = """\
The body may be packed with `Content-Encoding: gzip`; no other encoding is taken (415).  Unknown fields are ignored.
What this schema cannot say: an object that names one of these fields twice is refused; a whole number is written
without a fraction or an exponent (`8123`, never `8123.0`); an instant has no leap second (`:60`).
"""
_SYNC_BODY: Final = """\
Each sample is judged alone: while at least one is valid the answer is a 202 that names the others in `results`,
although the body as a whole does not satisfy this schema.  `steps` is the total of `day` from `source` as of
`recorded_at`, never an increment; a `day` no calendar has is kept and marked.
"""


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _json(schema: Json, examples: Mapping[str, Json] | None = None) -> Json:
    shown = {"examples": {name: {"value": value} for name, value in examples.items()}} if examples else {}
    return {"application/json": {"schema": schema, **shown}}


def _post(operation_id: str, summary: str, words: str, body: Json, responses: Json) -> Json:
    return {"operationId": operation_id, "summary": summary, "description": words, "requestBody": body, "responses": responses}


def _body(type_: type, words: str, example: Json) -> Json:
    return {"required": True, "description": words, "content": _json(_ref("schemas", type_.__name__), {"one": example})}


def _receipt(type_: type, words: str, examples: Mapping[str, Json], maybe: Sequence[str] = ()) -> Json:
    return {"description": words, "headers": _headers((), maybe), "content": _json(_ref("schemas", type_.__name__), examples)}


def _syncs() -> Json:
    receipt = _receipt(
        SyncReceipt,
        "At least one sample is durable. With a `retry` in `results` it carries Retry-After: send those samples again after it.",
        {"all": SYNC_RECEIPT, "some": SYNC_RECEIPT_RETRY},
        ("Retry-After",),
    )
    responses = {"202": receipt, **_refusals((*_ANY_POST, *_TOKENS), SYNC_REFUSED)}
    words = "One member's samples; the token's `sub` is the member."
    call = _post("sendSync", "Send 1 to 200 step samples", words, _body(Sync, _SYNC_BODY + _BODY, SYNC), responses)
    return call | {"security": [{"member": []}]}


def _signups() -> Json:
    receipt = _receipt(SignupReceipt, "The application is durable.", {"one": SIGNUP_RECEIPT})
    words = "A correction is the whole form again under the same `signup_id` with the next `revision`."
    return _post("signUp", "Send one application", words, _body(Signup, _BODY, SIGNUP), {"202": receipt, **_refusals(_ANY_POST, SIGNUP_REFUSED)})


def _get(operation_id: str, summary: str, content: Json, *, parameters: Sequence[Json] = (), codes: Sequence[str] = ()) -> Json:
    """A document that may be cached: 200, 304, and the refusals of every call."""
    cached = {"name": "If-None-Match", "in": "header", "description": "the ETag you have", "schema": {"type": "string"}}
    headers = _headers(("ETag", "Vary"))
    return {
        "operationId": operation_id,
        "summary": summary,
        "parameters": [*parameters, cached],
        "responses": {
            "200": {"description": "The document.", "headers": headers, "content": content},
            "304": {"description": "You have it already: use yours.", "headers": headers},
            **_refusals((*_ANY_CALL, *codes)),
        },
    }


def _problem_pages() -> Json:
    code = {"name": "code", "in": "path", "required": True, "schema": {"type": "string", "enum": list(PROBLEMS)}}
    lang = {"name": "Accept-Language", "in": "header", "description": "Korean where it begins with `ko`, else English", "schema": {"type": "string"}}
    summary = "What a problem's `type` points to: a page for people"
    return _get("showProblem", summary, {"text/html": {"schema": {"type": "string"}}}, parameters=(code, lang), codes=("not-found",))


def openapi() -> Json:
    """The whole document."""
    words = "signed by a key of ours, with `sub`, `exp`, `iss` and `aud`; `sub` is the member"
    token = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": words}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sluicegate", "version": "1", "description": _ABOUT, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "paths": {
            "/v1/syncs": {"post": _syncs()},
            "/v1/signups": {"post": _signups()},
            "/v1/notices": {"get": _get("readNotices", "Known problems and their fixes, for the app's pop-up", _json(_ref("schemas", "Notices")))},
            "/v1/openapi.json": {"get": _get("readOpenapi", "This document", _json({"type": "object"}))},
            "/problems/{code}": {"get": _problem_pages()},
        },
        "components": {
            "schemas": describe([Sync, Signup, SyncReceipt, SignupReceipt, ProblemDocument, Notices], "#/components/schemas/{name}"),
            "headers": {name: _header(name, required=True) for name in _HEADERS},
            "securitySchemes": {"member": token},
        },
    }
