"""gateway/openapi/: the document is valid, and says what decodes and what is answered."""

import copy
import json
import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any
from unittest.mock import MagicMock
from uuid import UUID

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from gateway.accept import Front
from gateway.core.payload import Flaw, Invalid, Sample, Signup, SyncBody, read_signup, read_sync
from gateway.core.receipt import Entry, Line, Outcome, receipt
from gateway.errors import OPS_ONLY, PROBLEMS, SAMPLE_CODES, Refusal
from gateway.openapi import RECEIPT, SIGNUP, SIGNUP_RECEIPT, SYNC, SYNC_RECEIPT, SYNC_RECEIPT_RETRY, openapi
from gateway.openapi.parts import problem_example
from gateway.openapi.schemas import ProblemDocument, Result
from gateway.reply import Answer, Replies

DOCUMENT = openapi()
OPERATIONS = {(method.upper(), path): call for path, calls in DOCUMENT["paths"].items() for method, call in calls.items()}
FORMATS = FormatChecker(formats=("date",))
RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.IGNORECASE)


def _is_instant(text: object) -> bool:
    """By the RFC's grammar and the calendar; jsonschema has none of its own without a further package."""
    return not isinstance(text, str) or (RFC3339.fullmatch(text) is not None and datetime.fromisoformat(text.upper()) is not None)


def _is_uuid(text: object) -> bool:
    """With hyphens; without any the decoder takes it too, and nobody is harmed: it goes on with them."""
    return not isinstance(text, str) or (re.fullmatch(r"[0-9a-fA-F-]+", text) is not None and UUID(text) is not None)


FORMATS.checks("date-time", raises=ValueError)(_is_instant)
FORMATS.checks("uuid", raises=ValueError)(_is_uuid)


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema) | {"components": DOCUMENT["components"]}, format_checker=FORMATS)


def schema_of(media: dict[str, Any]) -> Draft202012Validator:
    """A validator of one media type's schema, with the components it refers to."""
    return _validator(json.dumps(media["schema"]))


def body_schema(path: str) -> Draft202012Validator:
    """The validator of a call's request body."""
    return schema_of(DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"])


def is_taken(path: str, body: object) -> bool:
    """Whether the decoder takes this value whole, every sample of it."""
    wire = json.dumps(body, ensure_ascii=False).encode()
    read = read_sync(wire) if path == "/v1/syncs" else read_signup(wire)
    return isinstance(read, Signup) or (isinstance(read, SyncBody) and not any(isinstance(sample, Flaw) for sample in read.samples))


def nodes(node: object) -> Iterator[dict[str, Any]]:
    """Every object in the document."""
    if isinstance(node, dict):
        yield node
    for below in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(below)


def test_the_document_is_valid_openapi() -> None:
    """By the 3.1 meta-schema; its schemas by draft 2020-12; every reference leads somewhere."""
    schemathesis.openapi.from_dict(copy.deepcopy(DOCUMENT)).validate()
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for node in nodes(DOCUMENT):
        if "$ref" in node:
            _, kind, name = node["$ref"].rsplit("/", 2)
            assert name in DOCUMENT["components"][kind], node


def test_it_has_the_routes_the_gateway_has() -> None:
    """No more, no fewer; the pages of problems have a route for each code, and one is for every receipt."""
    parts = {name: MagicMock() for name in Front.__init__.__annotations__ if name not in ("settings", "return")}
    parts["room"].settings.name = "x"
    parts["room"].settings.cors_origins = parts["room"].settings.revoked = ()
    front = Front(MagicMock(), **parts)
    named = {path: route.methods for path, route in front._routes.items()}
    routes = {(method, path.replace("/x", "/{room}")) for path, methods in named.items() for method in methods if method != "HEAD"}
    assert set(OPERATIONS) == routes | {("GET", "/problems/{code}"), ("GET", "/v1/receipts/{receipt}")}


def test_each_problem_stands_under_its_status() -> None:
    """Every code somewhere, none unknown, each example a document of its own schema."""
    seen = set()
    for call in OPERATIONS.values():
        for status, answer in call["responses"].items():
            for media in (answer.get("content", {}).get("application/problem+json"),):
                for code, example in (media or {"examples": {}})["examples"].items():
                    assert PROBLEMS[code].status == int(status)
                    schema_of(media).validate(example["value"])
                    seen.add(code)
    assert seen == set(PROBLEMS) - OPS_ONLY


def test_every_answer_has_its_headers() -> None:
    """The three that all have, and what its status asks for."""
    asked = {"401": "WWW-Authenticate", "405": "Allow", "429": "Retry-After", "503": "Retry-After", "304": "ETag"}
    for call in OPERATIONS.values():
        for status, answer in call["responses"].items():
            assert {"Request-Id", "Server", "Cache-Control"} <= set(answer["headers"])
            assert asked.get(status, "Server") in answer["headers"]


def test_every_field_of_a_request_is_explained() -> None:
    """With words of its own."""
    for name in ("Sync", "Sample", "Signup", "Device", "Consents"):
        for field, schema in DOCUMENT["components"]["schemas"][name]["properties"].items():
            assert schema.get("description"), f"{name}.{field}"


# Requests: the schema and the decoder agree.

SAMPLE_PATHS = [("samples", 0, field) for field in Sample.__struct_fields__]
PLACES: list[tuple[str, tuple[str | int, ...]]] = [
    *(("/v1/syncs", place) for place in [("device_id",), ("platform",), ("app_version",), ("samples",), ("samples", 0), *SAMPLE_PATHS]),
    *(("/v1/signups", (field,)) for field in SIGNUP),
    *(("/v1/signups", (part, field)) for part in ("device", "consents") for field in SIGNUP[part]),
]
EDGES: list[object] = [
    *(-1, 0, 1, 200_000, 200_001, 1_000_000, 1_000_001, 2**53 - 1, 2**53, 2**70, 0.5, "", "a\tb", "a\x7fb", "\x00", "종로구", "2026-02-30"),
    *("0" * length for length in (32, 33, 50, 51, 64, 65, 100, 101, 128, 129)),
    *("+821012345678", "821012345678", "+0123456789", "+1234567", "+123456", "+123456789012345", "+1234567890123456", "２０２６-01-27"),
    *("2026-01-27T22:10:05Z", "2026-01-27T22:10:05.5+09:00", "2026-01-27T22:10:05", "2026-01-27", "2026-1-27", "1960-02-29", "0190a6f0"),
    *([], [{}], {}, None, True, False),
]
VALUES = st.sampled_from(EDGES) | st.text(max_size=140) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(...)


@pytest.mark.parametrize(("path", "place"), PLACES, ids=lambda value: "/".join(map(str, value)) if isinstance(value, tuple) else value)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(value=VALUES)
def test_schema_and_decoder_agree(path: str, place: tuple[str | int, ...], value: object) -> None:
    """One field replaced by anything, or left out (...): both take the body or neither does."""
    # JSON Schema calls 1.0 an integer and cannot be told otherwise; the description says so.
    assume(not (isinstance(value, float) and value.is_integer()))
    body: Any = copy.deepcopy(SYNC if path == "/v1/syncs" else SIGNUP)
    *above, last = place
    target = body
    for step in above:
        target = target[step]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    assert body_schema(path).is_valid(body) == is_taken(path, body)


@pytest.mark.parametrize(("path", "place"), PLACES, ids=lambda value: "/".join(map(str, value)) if isinstance(value, tuple) else value)
def test_a_newline_at_the_end_is_refused(path: str, place: tuple[str | int, ...]) -> None:
    """Python's `$` matches before it, everybody else's does not."""
    body: Any = copy.deepcopy(SYNC if path == "/v1/syncs" else SIGNUP)
    *above, last = place
    target = body
    for step in above:
        target = target[step]
    if isinstance(target[last], str):
        target[last] += "\n"
        assert not is_taken(path, body)


def whole(node: Any) -> Any:
    """The same with every 1.0 written 1."""
    if isinstance(node, dict):
        return {name: whole(value) for name, value in node.items()}
    if isinstance(node, list):
        return [whole(value) for value in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node


@pytest.mark.parametrize("path", ["/v1/syncs", "/v1/signups"])
def test_what_schemathesis_makes_is_taken(path: str) -> None:
    """Bodies made from the schema alone, unknown fields among them."""
    # JSON Schema calls 1.0 an integer and schemathesis sends it; a float is never a number of steps.
    call = schemathesis.openapi.from_dict(copy.deepcopy(DOCUMENT))[path]["POST"]

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=call.as_strategy())
    def taken(case: Any) -> None:
        assert is_taken(path, whole(case.body)), case.body

    taken()


@pytest.mark.parametrize("count", [0, 1, 200, 201])
def test_between_1_and_200_samples(count: int) -> None:
    """The schema's bound is the decoder's."""
    body = SYNC | {"samples": SYNC["samples"] * count}
    assert body_schema("/v1/syncs").is_valid(body) == is_taken("/v1/syncs", body) == (1 <= count <= 200)


# Answers: the types that describe them and what reply.py makes.


def answered(path: str, answer: Answer) -> Any:
    """The body of a real answer, held against what its status promises."""
    headers = dict(line.split(": ", 1) for line in answer.head.decode().split("\r\n")[1:] if line)
    promised = OPERATIONS["POST", path]["responses"][str(answer.status)]
    value = json.loads(answer.body)
    schema_of(promised["content"][headers["Content-Type"]]).validate(value)
    # Those by reference are always there, those inline only sometimes.
    assert {name for name, header in promised["headers"].items() if "$ref" in header} <= set(headers)
    return value


FLAW = Flaw("invalid-field", "/samples/0/steps", "Expected `int`, got `null`", SYNC["samples"][0]["id"], 41)
PLAIN, BAD, REPEAT = Line(None, 41, 0), Line(FLAW.id, FLAW.seq, None, FLAW), Line(None, None, 0, None, is_duplicate=True)
FATES = [
    ([PLAIN], [Outcome.DURABLE]),
    ([BAD], []),
    ([PLAIN, BAD, REPEAT], [Outcome.DURABLE]),
    ([PLAIN, Line(None, 42, 1)], [Outcome.DURABLE, Outcome.UNKNOWN]),
    ([PLAIN, BAD], [Outcome.WITHDRAWN]),
    ([PLAIN, REPEAT], [Outcome.REFUSED]),
    ([PLAIN], [Outcome.UNKNOWN]),
]


@pytest.mark.parametrize(("lines", "outcomes"), FATES)
def test_every_fate_of_a_sync_is_described(lines: list[Line], outcomes: list[Outcome]) -> None:
    """202, 422 and 503, with every status a sample can have."""
    replies, told = Replies("w"), receipt(lines, outcomes)
    match told.status:
        case 202:
            answered("/v1/syncs", replies.receipt(told, RECEIPT.encode(), 3 if told.has_retry else None))
        case 422:
            answered("/v1/syncs", replies.refusal(replies.none_valid(told)))
        case 503:
            answered("/v1/syncs", replies.refusal(replies.none_durable(told, 3)))


def test_the_examples_are_real() -> None:
    """Requests decode; receipts and refusals are what the gateway says of them."""
    replies = Replies("w")
    assert is_taken("/v1/syncs", SYNC)
    assert is_taken("/v1/signups", SIGNUP)
    assert answered("/v1/signups", replies.signed_up(SIGNUP["signup_id"], "kafka", RECEIPT.encode())) == SIGNUP_RECEIPT
    assert answered("/v1/syncs", replies.receipt(receipt(*FATES[0]), RECEIPT.encode(), None)) == SYNC_RECEIPT
    assert answered("/v1/syncs", replies.receipt(receipt(*FATES[3]), RECEIPT.encode(), 3)) == SYNC_RECEIPT_RETRY
    examples = OPERATIONS["POST", "/v1/syncs"]["responses"]["422"]["content"]["application/problem+json"]["examples"]
    assert answered("/v1/syncs", replies.refusal(replies.none_valid(receipt(*FATES[1])))) == examples["invalid"]["value"]
    refused = read_signup(json.dumps(SIGNUP | {"consents": SIGNUP["consents"] | {"terms": False}}).encode())
    assert refused == Invalid([("/consents/terms", "must be true to sign up")])


@pytest.mark.parametrize("code", PROBLEMS)
def test_a_refusal_is_a_problem_document(code: str) -> None:
    """With exactly the members every one has."""
    refusal = Refusal(code, PROBLEMS[code].title, retry_after_s=1)
    document = json.loads(Replies("w").refusal(refusal).body)
    assert document == problem_example(PROBLEMS[code])
    media = {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}
    schema_of(media).validate(document)


def test_the_answers_types_have_the_names_of_what_is_answered() -> None:
    """A member added to an answer and not here would go undescribed."""
    assert Result.__struct_fields__ == Entry.__struct_fields__
    told = receipt(*FATES[6])
    members = Replies.none_durable(told, 1).members.keys() | Replies.none_valid(told).members.keys()
    assert set(ProblemDocument.__struct_fields__) == {*problem_example(PROBLEMS["invalid"]), *members}
    assert set(DOCUMENT["components"]["schemas"]["Result"]["properties"]["code"]["enum"]) == set(SAMPLE_CODES)
