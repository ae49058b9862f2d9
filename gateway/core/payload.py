"""Bytes of a request → typed values, or the places of what is wrong with them.

Decided here: what a sync and a sign-up may contain.  A sample is judged alone:
one bad one never fails its neighbours, and what is absent, null, a float or a
string is never read as 0 steps.  An unknown field is ignored with all that is in
it, so that a newer app can talk to an older gateway; a field we read, named
twice, has no clear meaning and is refused.  Not decided here: ids, suspicion of
clocks (event.py), HTTP.

The fast path is one typed decode of the whole body.  Only a body that fails it,
or that may hide a name given twice, is taken apart sample by sample.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct

SAMPLES_MAX: Final = 200
STEPS_MAX: Final = 200_000  # a day of running at three steps a second stays below it
SEQ_MAX: Final = 2**53 - 1  # the largest integer every JSON reader keeps exactly

_LABEL_MAX: Final = 32
_DEVICE_ID_MAX: Final = 128
_SAMPLE_ID_MAX: Final = 64
_DAY_LENGTH: Final = len("2026-01-27")
_DAY_FORM: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"

# C0 controls are never meant, and break databases downstream.  DEL is spared: JSON may hold it unescaped.
# Python's `$` also matches before a last newline, JSON Schema's does not: with (?!\n) both mean the end.
_NO_CONTROLS: Final = r"^[^\x00-\x1f]*$(?!\n)"

Seq = Annotated[int, Meta(ge=0, le=SEQ_MAX, description="the phone's own counter of samples")]
SampleId = Annotated[str, Meta(min_length=1, max_length=_SAMPLE_ID_MAX, pattern=_NO_CONTROLS, description="the phone's name for the sample")]
Day = Annotated[
    str,
    Meta(
        min_length=_DAY_LENGTH,
        max_length=_DAY_LENGTH,
        pattern=f"^{_DAY_FORM}$",
        description="the calendar day where the person was; an impossible one is kept and marked",
    ),
]
Steps = Annotated[int, Meta(ge=0, le=STEPS_MAX, description="total of `day` from `source` as of `recorded_at`")]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339, with an offset")]
Label = Annotated[str, Meta(min_length=1, max_length=_LABEL_MAX, pattern=_NO_CONTROLS)]
DeviceId = Annotated[str, Meta(min_length=1, max_length=_DEVICE_ID_MAX, pattern=_NO_CONTROLS)]
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=_NO_CONTROLS)]
Phone = Annotated[str, Meta(max_length=16, pattern=r"^\+[1-9][0-9]{6,14}$(?!\n)", description="E.164")]


class Sample(Struct, frozen=True, omit_defaults=True, gc=False):
    """The step total of one day from one source, as of one instant.  Encoded, it is the rest of a record's value."""

    seq: Seq
    day: Day
    steps: Steps
    recorded_at: Instant
    source: Label
    id: SampleId | None = None


class _PlainSample(Sample, frozen=True, omit_defaults=True, gc=False):
    """The same without the patterns, each of which costs as much as all the rest.

    Only for bodies without a backslash: JSON can spell a control character in no other way.
    """

    day: Annotated[str, Meta(min_length=_DAY_LENGTH, max_length=_DAY_LENGTH)]
    source: Annotated[str, Meta(min_length=1, max_length=_LABEL_MAX)]
    id: Annotated[str, Meta(min_length=1, max_length=_SAMPLE_ID_MAX)] | None = None


class Sync(Struct, frozen=True):
    """POST /v1/syncs as it is documented; what decodes is `_PlainSync`, or `_LooseSync` sample by sample."""

    device_id: DeviceId
    platform: Label
    app_version: Label
    samples: Annotated[list[Sample], Meta(min_length=1, max_length=SAMPLES_MAX)]


class Flaw(Struct, frozen=True):
    """One sample that is invalid: why, where, and its names where they can be read."""

    code: str
    pointer: str
    detail: str
    id: str | None
    seq: int | None


class SyncBody(Struct, frozen=True):
    """A sync with each of its samples judged, in the order sent."""

    device_id: str
    platform: str
    app_version: str
    samples: Sequence[Sample | Flaw]

    @property
    def valid(self) -> Sequence[Sample]:
        """The samples without a flaw."""
        return [sample for sample in self.samples if isinstance(sample, Sample)]


class _PlainSync(SyncBody, frozen=True):
    """A sync without a flaw, read without patterns."""

    device_id: Annotated[str, Meta(min_length=1, max_length=_DEVICE_ID_MAX)]
    platform: Annotated[str, Meta(min_length=1, max_length=_LABEL_MAX)]
    app_version: Annotated[str, Meta(min_length=1, max_length=_LABEL_MAX)]
    samples: Annotated[list[_PlainSample], Meta(min_length=1, max_length=SAMPLES_MAX)]

    @property
    def valid(self) -> Sequence[Sample]:
        return self.samples


class _LooseSync(Struct, frozen=True):
    """A sync with its samples still unread."""

    device_id: DeviceId
    platform: Label
    app_version: Label
    samples: Annotated[list[Raw], Meta(min_length=1, max_length=SAMPLES_MAX)]


class Device(Struct, frozen=True):
    """The phone a sign-up was made on."""

    platform: Label
    model: Annotated[str, Meta(min_length=1, max_length=100, pattern=_NO_CONTROLS)]


class Consents(Struct, frozen=True):
    """What the person agreed to; the first two are needed to sign up."""

    terms: bool
    health_data: bool
    marketing: bool


class Signup(Struct, frozen=True):
    """POST /v1/signups: one application, or with the next `revision` its correction."""

    signup_id: UUID
    revision: Annotated[int, Meta(ge=1, le=1_000_000)]
    name: Name
    phone: Phone
    birth_date: date
    district: Annotated[str, Meta(min_length=1, max_length=50, pattern=_NO_CONTROLS)]
    device: Device
    consents: Consents


class Malformed(Struct, frozen=True):
    """The body is not JSON in UTF-8 at all."""

    detail: str


class Invalid(Struct, frozen=True):
    """JSON, but the whole request is refused: JSON pointers and what was wanted there."""

    errors: list[tuple[str, str]]


_PLAIN_SYNC: Final = msgspec.json.Decoder(_PlainSync)
_LOOSE_SYNC: Final = msgspec.json.Decoder(_LooseSync)
_SAMPLE: Final = msgspec.json.Decoder(Sample)
_SIGNUP: Final = msgspec.json.Decoder(Signup)
_SAMPLE_FIELDS: Final = tuple(f'"{name}"'.encode() for name in ("seq", "day", "steps", "recorded_at", "source"))
# Two around each name and each string: 4 names, 3 strings; per sample 5 and 3 (day, recorded_at, source); 1 and 1.
_SYNC_QUOTES: Final = 2 * (4 + 3)
_SAMPLE_QUOTES: Final = 2 * (5 + 3)
_ID_QUOTES: Final = 2 * (1 + 1)
_DAY: Final = re.compile(_DAY_FORM)
_NAMED_TWICE: Final = "named twice in one object"
_SYNC_FIELDS: Final = (b'"device_id"', b'"platform"', b'"app_version"', b'"samples"')


def read_sync(body: bytes) -> SyncBody | Malformed | Invalid:
    """A sync with each of its samples judged, or why it is refused as a whole."""
    try:
        body.decode()  # msgspec does not look at the bytes of fields it skips
        sync = _PLAIN_SYNC.decode(body)
    except msgspec.ValidationError:
        return _read_sync_by_sample(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        return _malformed(exc)
    if b"\\" in body or not _names_are_unique(body, sync.valid):
        return _read_sync_by_sample(body)
    for day in {sample.day for sample in sync.valid}:
        if not _DAY.fullmatch(day):
            return _read_sync_by_sample(body)
    return sync


def _names_are_unique(body: bytes, samples: Sequence[Sample]) -> bool:
    """True only if no field we read is named twice; False means "take a closer look".

    Without a backslash a quote only ever opens or closes a string, and a name can be spelled in
    one way only.  The decode found every required name at least once per object.  So if there
    are just the quotes of those names and their string values, there is no other name at all;
    and with unknown fields, a name that stands as often as its objects stands once in each.
    A null `id`, or a value that equals a name, only costs the closer look.
    """
    ids = len(samples) - [sample.id for sample in samples].count(None)
    if body.count(b'"') == _SYNC_QUOTES + _SAMPLE_QUOTES * len(samples) + _ID_QUOTES * ids:
        return True
    return (
        all(body.count(name) == 1 for name in _SYNC_FIELDS) and all(body.count(name) == len(samples) for name in _SAMPLE_FIELDS) and body.count(b'"id"') == ids
    )


def _read_sync_by_sample(body: bytes) -> SyncBody | Malformed | Invalid:
    try:
        written = _as_written(body)
        loose = _LOOSE_SYNC.decode(body)
    except msgspec.ValidationError as exc:
        return Invalid([_place(exc)])
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        return _malformed(exc)
    assert isinstance(written, _Pairs)
    if repeated := _named_twice(written, Sync):
        return Invalid([(f"/{name}", _NAMED_TWICE) for name in repeated])
    nodes = dict(written)["samples"]
    assert isinstance(nodes, list)
    pairs = zip(loose.samples, nodes, strict=True)
    samples = [_read_sample(raw, index, _named_twice(node, Sample)) for index, (raw, node) in enumerate(pairs)]
    return SyncBody(loose.device_id, loose.platform, loose.app_version, samples)


def _read_sample(raw: Raw, index: int, repeated: Sequence[str]) -> Sample | Flaw:
    try:
        if not repeated:
            return _SAMPLE.decode(raw)
        code, place, detail = "duplicate-key", f"/{repeated[0]}", _NAMED_TWICE
    except msgspec.ValidationError as exc:
        code, (place, detail) = "invalid-field", _place(exc)
    # A name given twice is not readable: which of the two would the phone mean?
    id_ = None if "id" in repeated else _readable_id(raw)
    seq = None if "seq" in repeated else _readable_seq(raw)
    return Flaw(code, f"/samples/{index}{place}", detail, id_, seq)


def read_signup(body: bytes) -> Signup | Malformed | Invalid:
    """One application whose consents allow it, or why not."""
    try:
        written = _as_written(body)
        signup = _SIGNUP.decode(body)
    except msgspec.ValidationError as exc:
        return Invalid([_place(exc)])
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        return _malformed(exc)
    assert isinstance(written, _Pairs)
    nodes = dict(written)
    objects = (("", written, Signup), ("/device", nodes["device"], Device), ("/consents", nodes["consents"], Consents))
    if repeated := [f"{place}/{name}" for place, node, read_as in objects for name in _named_twice(node, read_as)]:
        return Invalid([(pointer, _NAMED_TWICE) for pointer in repeated])
    refused = [name for name in ("terms", "health_data") if not getattr(signup.consents, name)]
    if refused:
        return Invalid([(f"/consents/{name}", "must be true to sign up") for name in refused])
    return signup


class _IdOnly(Struct):
    id: SampleId | None = None


class _SeqOnly(Struct):
    seq: Seq | None = None


def _readable_id(raw: Raw) -> str | None:
    try:
        return msgspec.json.decode(raw, type=_IdOnly).id
    except msgspec.ValidationError:
        return None


def _readable_seq(raw: Raw) -> int | None:
    try:
        return msgspec.json.decode(raw, type=_SeqOnly).seq
    except msgspec.ValidationError:
        return None


class _Pairs(list[tuple[str, object]]):
    """A JSON object as it was written, names given twice included."""


def _as_written(body: bytes) -> object:
    """The body with every object as its pairs.  Raises ValueError."""
    return json.loads(
        body.decode(),
        object_pairs_hook=_Pairs,
        parse_constant=_refuse_constant,
        # Numbers stay text: Python would spend quadratic time on a huge one.
        parse_int=str,
        parse_float=str,
    )


def _named_twice(node: object, read_as: type[Struct]) -> Sequence[str]:
    """The fields of `read_as` that stand more than once in this object; what is no object has none."""
    if not isinstance(node, _Pairs):
        return ()
    times = Counter(name for name, _ in node)
    return [name for name in read_as.__struct_fields__ if times[name] > 1]


def _refuse_constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


def _malformed(exc: Exception) -> Malformed:
    """Said without quoting the body: a decoder's own text may."""
    if isinstance(exc, UnicodeDecodeError):
        return Malformed(f"not UTF-8 at byte {exc.start}")
    if isinstance(exc, RecursionError):
        return Malformed("nested too deeply")
    where = re.search(r"byte (\d+)|char (\d+)", str(exc))
    return Malformed(f"not JSON at {where[0]}" if where else "not complete JSON")


def _place(exc: msgspec.ValidationError) -> tuple[str, str]:
    """Read msgspec's "<what> - at `$.samples[3].steps`" as (JSON pointer, what).  It quotes types and bounds, never values."""
    what, _, where = str(exc).partition(" - at `$")
    pointer = re.sub(r"[.\[]", "/", where.rstrip("`").replace("]", ""))
    missing = re.fullmatch(r"Object missing required field `(\w+)`", what)
    if missing:
        return f"{pointer}/{missing[1]}", "required"
    return pointer, what
