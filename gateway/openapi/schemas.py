"""JSON Schemas: of what decodes, of what is answered, of what Kafka gets.

Requests and Kafka's values are described by the types that decode and encode
them.  Answers are put together in reply.py; the types below describe them, and
tests/test_openapi.py holds real answers against them.  What a type cannot say
is added in `describe`, as a rule where JSON Schema has one, else in words.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.core.audit import Line
from gateway.core.event import SCHEMA_NAMESPACE, SyncEvent
from gateway.core.pace import Reason
from gateway.core.payload import SAMPLES_MAX, Seq, Signup
from gateway.errors import PROBLEMS, SAMPLE_CODES

Json = dict[str, Any]

# What answers look like.


class Result(Struct):
    """One sample that was not plainly accepted."""

    index: Annotated[int, Meta(ge=0, lt=SAMPLES_MAX, description="its place in `samples`, counted from 0")]
    id: Annotated[str | None, Meta(description="its `id`; null where there is none or it cannot be read")]
    seq: Annotated[int | None, Meta(description="its `seq`; null where it cannot be read")]
    status: Annotated[
        Literal["invalid", "duplicate", "retry"],
        Meta(description="`invalid`: refused for good; `duplicate`: the same event stands earlier in this request and was stored; `retry`: send it again"),
    ]
    code: Annotated[str, Meta(description="why", extra_json_schema={"enum": list(SAMPLE_CODES)})]
    pointer: Annotated[str, Meta(description="JSON pointer (RFC 6901) into the request", pattern="^/samples/")]
    detail: Annotated[str | UnsetType, Meta(description="what was wanted there, for a developer")] = UNSET


Accepted = Annotated[int, Meta(ge=0, le=SAMPLES_MAX, description="how many samples of this request became durable, duplicates not counted")]
AckThrough = Annotated[
    Seq | None,
    Meta(
        description="the phone may forget the samples of this request with a `seq` up to this one; null: forget none; it says nothing of any other sample",
    ),
]
Results = Annotated[list[Result], Meta(max_length=SAMPLES_MAX, description="only what was not plainly accepted")]
Durability = Annotated[
    Literal["kafka", "spool"],
    Meta(description="the weaker of what holds the batch: `kafka`, every in-sync copy; `spool`, one disk of the gateway. Both keep the promise"),
]


Receipt = Annotated[
    str,
    Meta(pattern="^[A-Za-z0-9_-]{44}$", description="where what was accepted is kept, signed: ask `GET /v1/receipts/{receipt}` what has become of it"),
]


class SyncReceipt(Struct):
    """At least one sample of the sync is durable."""

    durability: Durability
    accepted: Accepted
    ack_through: AckThrough
    results: Results
    receipt: Receipt


class SignupReceipt(Struct):
    """The application is durable."""

    durability: Durability
    signup_id: Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
    receipt: Receipt


class Whereabouts(Struct):
    """What has become of what a receipt stands for: in Kafka from the first, or by way of a gateway's spool."""

    state: Annotated[
        Literal["kafka", "spool", "unknown"],
        Meta(
            description="`kafka`: the store has all of it, or has refused it for good and it is kept apart for a person; "
            "`spool`: some of it may still be on its way there from a disk of the gateway; "
            "`unknown`: the gateway that has the disk is not heard of just now, or the disk was damaged or replaced"
        ),
    ]
    topic: Annotated[str, Meta(description="Kafka's name of it; where it went there at once")] | UnsetType = UNSET
    partition: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    first_offset: Annotated[int, Meta(ge=0, description="of the first record; absent where Kafka did not say")] | UnsetType = UNSET
    last_offset: Annotated[int, Meta(ge=0, description="of the last; records of others may stand between them")] | UnsetType = UNSET
    spool: Annotated[str, Meta(description="the id of the spool it went through", pattern="^[0-9a-f]{16}$")] | UnsetType = UNSET
    last_sequence: Annotated[int, Meta(ge=0, description="of its last record in that spool")] | UnsetType = UNSET


class Join(Struct):
    """Who wants a place in the line."""

    join_id: Annotated[
        str,
        Meta(
            description="a random UUID, version 4: drawn once, kept like a password; the same one gets the same place",
            extra_json_schema={"format": "uuid"},
            pattern="^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$",
        ),
    ]


_Pass = Annotated[str, Meta(description="for `Waiting-Room-Pass` of the sign-up; one applicant, ten minutes")]
_PassUntil = Annotated[str, Meta(description="until when it is good", extra_json_schema={"format": "date-time"})]


_Released = Annotated[str, Meta(description="when the door let you in, by the room's clock", extra_json_schema={"format": "date-time"})]


class Place(Struct):
    """Where somebody is in the line."""

    state: Annotated[
        Literal["waiting", "called", "through", "paused", "closed", "provisional"],
        Meta(
            description="`called`: knock now; `paused`, `closed`: nobody is let in just now, the place is kept; `provisional`: the place is not known yet, the order is kept"
        ),
    ]
    sign_age_ms: Annotated[int, Meta(ge=0, description="how old what this is told from is")]
    reason: Annotated[str, Meta(description="why the wait has become longer of late; absent where it has not")] | UnsetType = UNSET
    ticket: Annotated[str, Meta(description="keep it: it is the place; present where you have none yet, or a new one")] | UnsetType = UNSET
    ahead: Annotated[int, Meta(ge=0, description="people before you")] | UnsetType = UNSET
    p50_s: Annotated[int, Meta(ge=0, description="the wait that half of the people at your place stay below, in seconds")] | UnsetType = UNSET
    p90_s: Annotated[int, Meta(ge=0, description="the wait if nobody leaves")] | UnsetType = UNSET
    poll_after_s: Annotated[float, Meta(ge=0, description="seconds until you should ask again; 0: knock")] | UnsetType = UNSET
    pass_: _Pass | UnsetType = msgspec.field(default=UNSET, name="pass")
    pass_expires_at: _PassUntil | UnsetType = UNSET
    released_at: _Released | UnsetType = UNSET


class PassReceipt(Struct):
    """Let in."""

    pass_: _Pass = msgspec.field(name="pass")
    expires_at: _PassUntil
    released_at: _Released


class SignDocument(Struct):
    """The sign over the door, the same for everybody."""

    room: str
    state: Annotated[
        Literal["open", "paused", "closed"], Meta(description="`paused`: nobody is let in, who joins gets a place; `closed`: nobody new may join either")
    ]
    rate_per_s: Annotated[float, Meta(gt=0, description="people a second through the door")]
    reason: Annotated[str, Meta(description="why it is that many", extra_json_schema={"enum": [reason.value for reason in Reason]})]
    since: Annotated[str, Meta(description="since when that is the reason", extra_json_schema={"format": "date-time"})]
    waiting: Annotated[int, Meta(ge=0, description="people in line of late")]
    called: Annotated[int, Meta(ge=0, description="people whose turn it is")]
    tail: Annotated[int, Meta(ge=0, description="the next place to be given")]
    p90_s: Annotated[int, Meta(ge=0, description="the wait of who joins now, if nobody leaves")]
    message: Annotated[str, Meta(description="what the operator says to everybody in line; may be empty")]


class FieldError(Struct):
    """One place that is wrong.  Never any part of what was sent."""

    pointer: Annotated[str, Meta(description="JSON pointer (RFC 6901) into the request; empty for the whole of it")]
    detail: Annotated[str, Meta(description="what was wanted there")]


class ProblemDocument(Struct):
    """RFC 9457 problem details, with our own members from `code` on."""

    type: Annotated[str, Meta(pattern="^/problems/[a-z0-9-]+$", description="a page for people, in Korean and English")]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(description="one sentence for a developer; never any part of the request")]
    code: Annotated[str, Meta(description="what programs compare", extra_json_schema={"enum": list(PROBLEMS)})]
    retryable: Annotated[bool, Meta(description="whether the same request, sent again as it is, can succeed")]
    errors: Annotated[list[FieldError] | UnsetType, Meta(description="422: every place that is wrong")] = UNSET
    outcome: Annotated[
        Literal["none", "unknown"] | UnsetType,
        Meta(description="`unknown`: some of it may be stored all the same; `none`, or absent on any status but 500: nothing of it was kept"),
    ] = UNSET
    accepted: Annotated[Accepted | UnsetType, Meta(description="as in a receipt")] = UNSET
    ack_through: AckThrough | UnsetType = UNSET
    results: Results | UnsetType = UNSET


# Words for fields whose types are shared and carry none of their own.
_SENDER: Final = {
    "device_id": "the phone's own lasting name for this installation",
    "platform": "such as `android` or `ios`",
    "app_version": "such as `2.3.1`",
}
_MEASURED: Final = {"source": "what counted the steps, such as `watch` or `phone`", "id": "the phone's name for the sample, echoed in `results`"}
_MEANINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "Sync": {
        **_SENDER,
        "samples": "each is judged alone: one that is invalid is named in `results` and never fails its neighbours",
    },
    "Sample": _MEASURED,
    "SyncEvent": _SENDER | _MEASURED,
    "Signup": {
        "signup_id": "the phone's UUID for this application; the same in every repeat and correction",
        "revision": "1, and one more for each corrected form; the highest counts",
        "name": "the applicant's name",
        "birth_date": "RFC 3339 full-date",
        "district": "the district of residence",
        "device": "the phone the form was filled in on",
        "consents": "what the applicant agreed to",
    },
    "Device": {"platform": "such as `android` or `ios`", "model": "the maker's name for the model"},
    "Consents": {"terms": "must be true to sign up", "health_data": "must be true to sign up", "marketing": "may be either"},
}


def describe(types: Sequence[Any], ref_template: str) -> dict[str, Json]:
    """JSON Schemas of `types` and what they contain, by name, with the words and rules their types cannot carry."""
    _, schemas = msgspec.json.schema_components(types, ref_template=ref_template)
    for name, schema in schemas.items():
        schema["description"] = inspect.cleandoc(schema["description"])
        # What we refuse in a file of our own may still be added to an answer: phones must not choke on it.
        schema.pop("additionalProperties", None)
        for field, meaning in _MEANINGS.get(name, {}).items():
            schema["properties"][field]["description"] = meaning
    if "Consents" in schemas:
        # read_signup refuses a form without these two after the decode.
        for field in ("terms", "health_data"):
            schemas["Consents"]["properties"][field]["const"] = True
    return schemas


# What Kafka gets.

GENERATED: Final = "Generated by `python -m gateway.openapi --write`; do not edit."
EVENTS: Final[Mapping[str, tuple[type[Struct], str, str]]] = {
    "sync-event-v1": (
        SyncEvent,
        "Value of a record in syncs.v1",
        "One valid sample. The record's key is the user id. `id` is absent where the phone gave none.",
    ),
    "signup-event-v1": (
        Signup,
        "Value of a record in signups.v1",
        "One revision of one application, with both needed consents given. The record's key is `room:epoch:place` of its pass, or `signup:<signup_id>` where there is no waiting room.",
    ),
}
# What is no event: no header names its schema.
LINES: Final[Mapping[str, tuple[type[Struct], str, str]]] = {
    "audit-line-v1": (
        Line,
        "Value of a record in audit.v1",
        "One part of what one worker acknowledged in one minute. The record's key is `worker:minute:part`, its time the beginning of the minute. `sluicegate audit` reads them.",
    ),
}
_OPEN: Final = "Fields may be added; ignore those you do not know. A change of meaning gets a new topic."


def event_schema(name: str) -> Json:
    """docs/schemas/<name>.json: the value of one kind of Kafka record."""
    type_, title, description = {**EVENTS, **LINES}[name]
    schemas = describe([type_], "#/$defs/{name}")
    own = schemas.pop(type_.__name__)
    for field, of in own["properties"].items():
        if of.pop("default", ...) is None:
            # It decodes from null, but what is encoded leaves it out (omit_defaults): null is never written.
            own["properties"][field] = of["anyOf"][0] | {"description": of["description"]}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_NAMESPACE + name,
        "$comment": GENERATED,
        **own,
        "title": title,
        "description": f"{description} {_OPEN}",
    }
    return schema | ({"$defs": schemas} if schemas else {})
