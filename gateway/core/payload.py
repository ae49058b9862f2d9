"""Bytes of a request → typed values, or the places of what is wrong with them.

Decided here: what a sync and a sign-up may contain.  A sample is judged alone:
one bad one never fails its neighbours, and what is absent, null, a float or a
string is never read as 0 steps.  An unknown field is ignored, so that a newer
app can talk to an older gateway; a field named twice has no clear meaning and
is refused.  Not decided here: ids, suspicion of clocks (event.py), HTTP.

The fast path is one typed decode of the whole body.  Only a body that fails it,
or that may hide a name given twice, is taken apart sample by sample.
"""

import json
import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct

SAMPLES_MAX: Final = 200
STEPS_MAX: Final = 200_000  # a day of running at three steps a second stays below it
SEQ_MAX: Final = 2**53 - 1  # the largest integer every JSON reader keeps exactly

_NO_CONTROLS: Final = r"^[^\x00-\x1f\x7f]*$"

Seq = Annotated[int, Meta(ge=0, le=SEQ_MAX, description="the phone's own counter of samples")]
SampleId = Annotated[str, Meta(min_length=1, max_length=64, pattern=_NO_CONTROLS, description="the phone's name for the sample")]
Day = Annotated[
    str,
    Meta(min_length=10, max_length=10, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="the calendar day where the person was; an impossible one is kept and marked"),
]
Steps = Annotated[int, Meta(ge=0, le=STEPS_MAX, description="total of `day` from `source` as of `recorded_at`")]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339, with an offset")]
Label = Annotated[str, Meta(min_length=1, max_length=32, pattern=_NO_CONTROLS)]
DeviceId = Annotated[str, Meta(min_length=1, max_length=128, pattern=_NO_CONTROLS)]
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=_NO_CONTROLS)]
Phone = Annotated[str, Meta(max_length=16, pattern=r"^\+[1-9][0-9]{6,14}$", description="E.164")]


class Sample(Struct, frozen=True, gc=False):
    """The step total of one day from one source, as of one instant."""

    seq: Seq
    day: Day
    steps: Steps
    recorded_at: Instant
    source: Label
    id: SampleId | None = None


class Sync(Struct, frozen=True):
    """POST /v1/syncs, every sample of it valid."""

    device_id: DeviceId
    platform: Label
    app_version: Label
    samples: Annotated[list[Sample], Meta(min_length=1, max_length=SAMPLES_MAX)]


class _LooseSync(Struct, frozen=True):
    """The same with its samples still unread."""

    device_id: DeviceId
    platform: Label
    app_version: Label
    samples: Annotated[list[Raw], Meta(min_length=1, max_length=SAMPLES_MAX)]


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
    samples: list[Sample | Flaw]


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


_SYNC: Final = msgspec.json.Decoder(Sync)
_LOOSE_SYNC: Final = msgspec.json.Decoder(_LooseSync)
_SAMPLE: Final = msgspec.json.Decoder(Sample)
_SIGNUP: Final = msgspec.json.Decoder(Signup)
_SAMPLE_FIELDS: Final = tuple(f'"{name}"'.encode() for name in ("seq", "day", "steps", "recorded_at", "source"))
_IN_A_SAMPLE: Final = re.compile(r"/samples/[0-9]+/")
_NAMED_TWICE: Final = "named twice in one object"
_SYNC_FIELDS: Final = (b'"device_id"', b'"platform"', b'"app_version"', b'"samples"')


def read_sync(body: bytes) -> Sync | SyncBody | Malformed | Invalid:
    """A sync whose samples are all valid (`Sync`), one with some judged invalid, or why not at all."""
    try:
        body.decode()  # msgspec does not look at the bytes of fields it skips
        sync = _SYNC.decode(body)
    except msgspec.ValidationError:
        return _read_sync_by_sample(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        return _malformed(exc)
    if b"\\" not in body and _names_are_unique(body, sync):
        return sync
    return _read_sync_by_sample(body)


def _names_are_unique(body: bytes, sync: Sync) -> bool:
    """True only if no field we read is named twice; False means "take a closer look".

    Without a backslash a quote only ever opens or closes a string, and a name can be spelled in
    one way only.  The decode found every required name at least once per object.  So if there
    are just the quotes of those names and their string values, there is no other name at all;
    and with unknown fields, a name that stands as often as its objects stands once in each.
    A null `id`, or a value that equals a name, only costs the closer look.
    """
    samples = len(sync.samples)
    ids = sum([sample.id is not None for sample in sync.samples])
    names = len(_SYNC_FIELDS) + len(_SAMPLE_FIELDS) * samples + ids
    strings = 3 + 3 * samples + ids  # device_id, platform, app_version; day, recorded_at, source
    if body.count(b'"') == 2 * (names + strings):
        return True
    return (
        all(body.count(name) == 1 for name in _SYNC_FIELDS)
        and all(body.count(name) == samples for name in _SAMPLE_FIELDS)
        and body.count(b'"id"') == ids
    )


def _read_sync_by_sample(body: bytes) -> SyncBody | Malformed | Invalid:
    try:
        repeated = list(_repeated_names(body))
        loose = _LOOSE_SYNC.decode(body)
    except msgspec.ValidationError as exc:
        return Invalid([_place(exc)])
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        return _malformed(exc)
    outside = [pointer for pointer in repeated if not _IN_A_SAMPLE.match(pointer)]
    if outside:
        return Invalid([(pointer, _NAMED_TWICE) for pointer in outside])
    # "/samples/3/steps" → 3; the first repeated name of a sample speaks for it.
    by_index = {int(pointer.split("/")[2]): pointer for pointer in reversed(repeated)}
    samples = [_read_sample(raw, index, by_index.get(index)) for index, raw in enumerate(loose.samples)]
    return SyncBody(loose.device_id, loose.platform, loose.app_version, samples)


def _read_sample(raw: Raw, index: int, repeated: str | None) -> Sample | Flaw:
    try:
        if repeated is None:
            return _SAMPLE.decode(raw)
        code, pointer, detail = "duplicate-key", repeated, _NAMED_TWICE
    except msgspec.ValidationError as exc:
        place, detail = _place(exc)
        code, pointer = "invalid-field", f"/samples/{index}{place}"
    # A name given twice is not readable: which of the two would the phone mean?
    id_ = None if pointer.endswith("/id") else _readable_id(raw)
    seq = None if pointer.endswith("/seq") else _readable_seq(raw)
    return Flaw(code, pointer, detail, id_, seq)


def read_signup(body: bytes) -> Signup | Malformed | Invalid:
    """One application whose consents allow it, or why not."""
    try:
        repeated = list(_repeated_names(body))
        signup = _SIGNUP.decode(body)
    except msgspec.ValidationError as exc:
        return Invalid([_place(exc)])
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        return _malformed(exc)
    if repeated:
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


def _repeated_names(body: bytes) -> Iterator[str]:
    """JSON pointers of every name that stands twice in one object, in order.  Raises ValueError."""
    tree = json.loads(
        body.decode(),
        object_pairs_hook=_Pairs,
        parse_constant=_refuse_constant,
        # Numbers stay text: Python would spend quadratic time on a huge one.
        parse_int=str,
        parse_float=str,
    )
    return _repeated_in(tree, "")


def _repeated_in(node: object, pointer: str) -> Iterator[str]:
    if isinstance(node, _Pairs):
        seen = set()
        for name, value in node:
            below = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            if name in seen:
                yield below
            seen.add(name)
            yield from _repeated_in(value, below)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _repeated_in(value, f"{pointer}/{index}")


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
    """msgspec's "<what> - at `$.samples[3].steps`" as (JSON pointer, what).  It quotes types and bounds, never values."""
    what, _, where = str(exc).partition(" - at `$")
    pointer = re.sub(r"[.\[]", "/", where.rstrip("`").replace("]", ""))
    missing = re.fullmatch(r"Object missing required field `(\w+)`", what)
    if missing:
        return f"{pointer}/{missing[1]}", "required"
    return pointer, what
