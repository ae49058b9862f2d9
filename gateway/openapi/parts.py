"""What the calls of the OpenAPI document are put together from: headers, refusals, bodies, documents."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from gateway.errors import PROBLEMS, Problem
from gateway.openapi.schemas import Json

# Headers.  Every answer has the first three.

_EVERY: Final = ("Request-Id", "Server", "Cache-Control")
HEADERS: Final[Mapping[str, tuple[str, Json]]] = {
    "Request-Id": ("names this answer in our logs; quote it when you ask us", {"type": "string"}),
    "Server": ("always `sluicegate`", {"type": "string"}),
    "Cache-Control": ("`no-store`, except for the cacheable documents", {"type": "string"}),
    "Retry-After": ("whole seconds to wait before sending again; spread, so that phones do not come back all at once", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("RFC 6750 challenge; `error` says whether a token was there", {"type": "string"}),
    "Allow": ("the methods this path takes", {"type": "string"}),
    "Accept-Encoding": ("with `unsupported-encoding`: what a body may be packed with", {"type": "string"}),
    "RateLimit": ("with `rate-limited`: the violated limit alone, `r` what is left of it, `t` seconds until there is more", {"type": "string"}),
    "RateLimit-Policy": ("with `rate-limited`: the violated limit alone, `q` at once, refilled within `w` seconds", {"type": "string"}),
    "Location": ("where to go on", {"type": "string"}),
    "Link": ("with a 403: the room to join", {"type": "string"}),
    "ETag": ("of exactly this body; give it back in If-None-Match", {"type": "string"}),
    "Vary": ("what the body depends on", {"type": "string"}),
}
_STATUS_HEADERS: Final[Mapping[int, tuple[str, ...]]] = {
    401: ("WWW-Authenticate",),
    403: ("Link",),
    405: ("Allow",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}

_MAYBE_HEADERS: Final[Mapping[int, tuple[str, ...]]] = {415: ("Accept-Encoding",), 429: ("RateLimit", "RateLimit-Policy")}


def header(name: str, *, required: bool) -> Json:
    """One header."""
    description, schema = HEADERS[name]
    return {"description": description, "required": required, "schema": schema}


def headers(more: Sequence[str], maybe: Sequence[str] = ()) -> Json:
    """Every answer's headers and `more`, by reference; those it `maybe` has, inline."""
    always: Json = {name: {"$ref": f"#/components/headers/{name}"} for name in (*_EVERY, *more)}
    return always | {name: header(name, required=False) for name in maybe}


# Refusals.

ANY_CALL: Final = ("bad-request", "method-not-allowed", "request-timeout", "too-many-connections", "internal", "overloaded")
ANY_POST: Final = (
    *ANY_CALL,
    *("invalid-json", "invalid-gzip", "length-required", "body-too-large", "unsupported-media-type", "unsupported-encoding"),
    *("invalid", "rate-limited", "draining", "not-durable"),
)
TOKENS: Final = ("token-missing", "token-invalid", "token-expired")


def problem_example(problem: Problem, members: Mapping[str, Any] | None = None) -> Json:
    """A problem document of this kind; `members` may replace its detail and add to it."""
    p = problem
    document = {"type": f"/problems/{p.code}", "title": p.title, "status": p.status, "detail": p.title, "code": p.code, "retryable": p.retryable}
    return document | dict(members or {})


def refusals(codes: Sequence[str], examples: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Json]:
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
        "headers": headers(_STATUS_HEADERS.get(status, ()), _MAYBE_HEADERS.get(status, ())),
        "content": {"application/problem+json": media},
    }


def ref(kind: str, name: str) -> Json:
    """A component by its kind and name."""
    return {"$ref": f"#/components/{kind}/{name}"}


def json(schema: Json, examples: Mapping[str, Json] | None = None) -> Json:
    """JSON content of this schema."""
    shown = {"examples": {name: {"value": value} for name, value in examples.items()}} if examples else {}
    return {"application/json": {"schema": schema, **shown}}


def post(operation_id: str, summary: str, words: str, body: Json, responses: Json) -> Json:
    """A call that sends something."""
    return {"operationId": operation_id, "summary": summary, "description": words, "requestBody": body, "responses": responses}


def body(type_: type, words: str, example: Json) -> Json:
    """A request body of this type."""
    return {"required": True, "description": words, "content": json(ref("schemas", type_.__name__), {"one": example})}


def receipt(type_: type, words: str, examples: Mapping[str, Json], maybe: Sequence[str] = ()) -> Json:
    """A 2xx of this type."""
    return {"description": words, "headers": headers((), maybe), "content": json(ref("schemas", type_.__name__), examples)}


def get(operation_id: str, summary: str, content: Json, *, parameters: Sequence[Json] = (), codes: Sequence[str] = ()) -> Json:
    """A document that may be cached: 200, 304, and the refusals of every call."""
    cached = {"name": "If-None-Match", "in": "header", "description": "the ETag you have", "schema": {"type": "string"}}
    shown = headers(("ETag", "Vary"))
    return {
        "operationId": operation_id,
        "summary": summary,
        "parameters": [*parameters, cached],
        "responses": {
            "200": {"description": "The document.", "headers": shown, "content": content},
            "304": {"description": "You have it already: use yours.", "headers": shown},
            **refusals((*ANY_CALL, *codes)),
        },
    }
