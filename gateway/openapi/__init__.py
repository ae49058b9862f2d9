"""The OpenAPI 3.1 document, generated from what decodes and what refuses.

Decided here: how the API is described, never how it behaves.  Bodies come from
schemas.py, refusals from errors.PROBLEMS.  The worker makes the document once,
at its start, and serves it from memory.

    python -m gateway.openapi            print the document
    python -m gateway.openapi --write    write every generated file under docs/ (pages.py)
"""

from collections.abc import Mapping
from typing import Final

from gateway.core.kept import InKafka, Receipts
from gateway.core.notice import Notices
from gateway.core.payload import Signup, Sync
from gateway.errors import PROBLEMS
from gateway.openapi import room
from gateway.openapi.parts import ANY_CALL, ANY_POST, HEADERS, TOKENS, body, get, header, json, post, receipt, ref, refusals
from gateway.openapi.schemas import Join, Json, PassReceipt, Place, ProblemDocument, SignDocument, SignupReceipt, SyncReceipt, Whereabouts, describe

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
KEPT: Final = InKafka("syncs", 3, 1_204_117, 1_204_117)
RECEIPT: Final = Receipts(bytes(32)).text(KEPT).decode()
SYNC_RECEIPT: Final[Json] = {"durability": "kafka", "accepted": 1, "ack_through": 41, "results": [], "receipt": RECEIPT}
_BAD: Final[Json] = {"index": 0, "id": SYNC["samples"][0]["id"], "seq": 41, "status": "invalid", "code": "invalid-field"}
_WHY: Final[Json] = {"pointer": "/samples/0/steps", "detail": "Expected `int`, got `null`"}
_RETRY: Final[Json] = {"index": 1, "id": None, "seq": 42, "status": "retry", "code": "not-durable", "pointer": "/samples/1"}
SYNC_RECEIPT_RETRY: Final[Json] = SYNC_RECEIPT | {"results": [_RETRY]}
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
SIGNUP_RECEIPT: Final[Json] = {"durability": "kafka", "signup_id": SIGNUP["signup_id"], "receipt": RECEIPT}
SIGNUP_REFUSED: Final[Mapping[str, Json]] = {
    "invalid": {"detail": "1 field to mend", "errors": [{"pointer": "/consents/terms", "detail": "must be true to sign up"}]},
    "not-durable": {"detail": "not acknowledged in time; it may be stored all the same", "outcome": "unknown"},
}
WHEREABOUTS: Final[Mapping[str, Json]] = {
    "kafka": {"state": "kafka", "topic": "syncs.v1", "partition": KEPT.partition, "first_offset": KEPT.first, "last_offset": KEPT.last},
    "spool": {"state": "spool", "spool": "5d0c1be2f7a84936", "last_sequence": 88_213},
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


def _syncs() -> Json:
    durable = receipt(
        SyncReceipt,
        "At least one sample is durable. With a `retry` in `results` it carries Retry-After: send those samples again after it.",
        {"all": SYNC_RECEIPT, "some": SYNC_RECEIPT_RETRY},
        ("Retry-After",),
    )
    responses = {"202": durable, **refusals((*ANY_POST, *TOKENS), SYNC_REFUSED)}
    words = "One member's samples; the token's `sub` is the member."
    call = post("sendSync", "Send 1 to 200 step samples", words, body(Sync, _SYNC_BODY + _BODY, SYNC), responses)
    return call | {"security": [{"member": []}]}


def _signups() -> Json:
    durable = receipt(SignupReceipt, "The application is durable.", {"one": SIGNUP_RECEIPT})
    words = "A correction is the whole form again under the same `signup_id` with the next `revision`."
    responses = {"202": durable, **refusals((*ANY_POST, *room.PASS_CODES), SIGNUP_REFUSED)}
    return post("signUp", "Send one application", words, body(Signup, _BODY, SIGNUP), responses) | {"parameters": [room.PASS]}


def _receipts() -> Json:
    words = "No token is asked for: whoever has the receipt may ask. It costs no round trip to a store, and says nothing of who sent what."
    name = {"name": "receipt", "in": "path", "required": True, "description": "exactly as the 202 has it", "schema": {"type": "string"}}
    found = receipt(Whereabouts, "What is known of it now.", WHEREABOUTS)
    call = {"operationId": "readReceipt", "summary": "What has become of what a 202 accepted", "description": words, "parameters": [name]}
    return call | {"responses": {"200": found, **refusals((*ANY_CALL, "receipt-invalid"))}}


def _problem_pages() -> Json:
    code = {"name": "code", "in": "path", "required": True, "schema": {"type": "string", "enum": list(PROBLEMS)}}
    lang = {"name": "Accept-Language", "in": "header", "description": "Korean where it begins with `ko`, else English", "schema": {"type": "string"}}
    summary = "What a problem's `type` points to: a page for people"
    return get("showProblem", summary, {"text/html": {"schema": {"type": "string"}}}, parameters=(code, lang), codes=("not-found",))


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
            "/v1/receipts/{receipt}": {"get": _receipts()},
            "/v1/notices": {"get": get("readNotices", "Known problems and their fixes, for the app's pop-up", json(ref("schemas", "Notices")))},
            "/v1/openapi.json": {"get": get("readOpenapi", "This document", json({"type": "object"}))},
            **room.paths(),
            "/problems/{code}": {"get": _problem_pages()},
        },
        "components": {
            "schemas": describe(
                [Sync, Signup, SyncReceipt, SignupReceipt, Join, Place, PassReceipt, SignDocument, Whereabouts, ProblemDocument, Notices],
                "#/components/schemas/{name}",
            ),
            "headers": {name: header(name, required=True) for name in HEADERS},
            "securitySchemes": {"member": token},
        },
    }
