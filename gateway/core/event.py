"""A valid payload → Kafka records: identity, suspicion of clocks, CloudEvents headers.

Decided here: the event id, the marks, key, value and headers of a record.
Units: `received_us` is wall time in µs since the epoch.

The id is a UUID of version 8 (RFC 9562 section 5.8): BLAKE2b-128 over a JSON
array of the key and a frozen list of fields, personalised by kind.  Same
content, same id: a repeat is recognised.  Other content, other id: a correction
is never dropped for a repeat.  The lists are frozen for ever, test vectors pin
them; a new field of meaning means a new `ce_type` and topic.

    sync     [key, device_id, id, seq, day, steps, recorded_at, source]
    signup   [key, signup_id, revision, name, phone, birth_date, district,
              [device.platform, device.model], [terms, health_data, marketing]]

Headers follow the CloudEvents 1.0 Kafka binding in binary mode; `ce_source` is
one constant per topic, because source + id is what consumers deduplicate by.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct

from gateway.core.payload import Day, DeviceId, Instant, Label, Sample, SampleId, Seq, Signup, Steps

DAYS_BACK_MAX: Final = 35
DAYS_AHEAD_MAX: Final = 1
CLOCK_AHEAD_MAX_US: Final = 86_400 * 1_000_000

SYNC_TYPE: Final = "sluicegate.sync.v1"
SIGNUP_TYPE: Final = "sluicegate.signup.v1"

_encode = msgspec.json.Encoder().encode

Header = tuple[str, bytes]


class SyncEvent(Struct, frozen=True, omit_defaults=True, gc=False):
    """The value of a record in syncs.v1; its key is the user id.

    Downstream keeps, per user, day, device_id and source, the largest `recorded_at`.
    """

    device_id: DeviceId
    platform: Label
    app_version: Label
    seq: Seq
    day: Day
    steps: Steps
    recorded_at: Instant
    source: Label
    id: SampleId | None = None


class Record(Struct, frozen=True, gc=False):
    """What Kafka stores for one event.  `timestamp_ms` is the time received."""

    event_id: str
    key: bytes
    value: bytes
    headers: list[Header]
    timestamp_ms: int

    @property
    def bytes_max(self) -> int:
        """No less than what the record takes in a batch: contents plus the longest framing."""
        return len(self.key) + len(self.value) + sum([len(k) + len(v) + 10 for k, v in self.headers]) + 40


def uuid8(digest: bytes) -> str:
    """16 bytes as the text of a UUID of version 8, RFC 4122 variant."""
    h = digest.hex()
    return f"{h[:8]}-{h[8:12]}-8{h[13:16]}-{'89ab'[digest[8] >> 4 & 3]}{h[17:20]}-{h[20:]}"


def _event_id(fields: Sequence[object], person: bytes) -> str:
    return uuid8(blake2b(_encode(fields), digest_size=16, person=person).digest())


def sync_event_id(user: str, device_id: str, sample: Sample) -> str:
    """The id of a sample of `user`; app_version and platform do not change it."""
    s = sample
    return _event_id((user, device_id, s.id, s.seq, s.day, s.steps, s.recorded_at, s.source), b"sync.v1")


def signup_event_id(key: str, signup: Signup) -> str:
    """The id of one revision of an application."""
    s, device, consents = signup, signup.device, signup.consents
    fields = (
        *(key, s.signup_id, s.revision, s.name, s.phone, s.birth_date, s.district),
        (device.platform, device.model),
        (consents.terms, consents.health_data, consents.marketing),
    )
    return _event_id(fields, b"signup.v1")


def is_day_suspect(day: str, received_us: int) -> bool:
    """A day that no calendar has, or more than 35 days back or one ahead of the day received (UTC).

    It is kept all the same: a phone with a wrong clock must not lose its steps.
    """
    try:
        ahead = date.fromisoformat(day) - datetime.fromtimestamp(received_us // 1_000_000, tz=UTC).date()
    except ValueError:
        return True
    return not timedelta(days=-DAYS_BACK_MAX) <= ahead <= timedelta(days=DAYS_AHEAD_MAX)


def is_clock_suspect(recorded_at: datetime, received_us: int) -> bool:
    """Recorded more than a day after it was received: must not outrank later truth."""
    return recorded_at.timestamp() * 1e6 > received_us + CLOCK_AHEAD_MAX_US


class Forge:
    """Makes the records of one worker: what is the same in all of them is made once."""

    def __init__(self, worker: str) -> None:
        """Args: worker: the name this worker drew at its start."""
        self._worker: Header = ("worker", worker.encode())
        self._sync_constants = _constants("/v1/syncs", SYNC_TYPE, "/schemas/sync-event-v1.json")
        self._signup_constants = _constants("/v1/signups", SIGNUP_TYPE, "/schemas/signup-event-v1.json")
        self._day_marks: dict[str, bool] = {}
        self._day_marks_hour = 0

    def sync(self, user: str, key: bytes, device: tuple[str, str, str], sample: Sample, received_us: int) -> Record:
        """The record of one sample.  `device` is (device_id, platform, app_version)."""
        event_id = sync_event_id(user, device[0], sample)
        s = sample
        value = _encode(SyncEvent(*device, s.seq, s.day, s.steps, s.recorded_at, s.source, s.id))
        headers = [
            *self._sync_constants,
            ("ce_id", event_id.encode()),
            ("ce_time", sample.recorded_at.isoformat().encode()),
            ("received_us", b"%d" % received_us),
            self._worker,
        ]
        if self._is_day_suspect(sample.day, received_us):
            headers.append(("day_suspect", b"true"))
        if is_clock_suspect(sample.recorded_at, received_us):
            headers.append(("clock_suspect", b"true"))
        return Record(event_id, key, value, headers, received_us // 1000)

    def signup(self, signup: Signup, received_us: int) -> Record:
        """The record of one application; its key is `signup:<signup_id>` while no room is configured."""
        key = f"signup:{signup.signup_id}"
        event_id = signup_event_id(key, signup)
        headers = [
            *self._signup_constants,
            ("ce_id", event_id.encode()),
            ("ce_time", datetime.fromtimestamp(received_us / 1e6, tz=UTC).isoformat().encode()),
            ("received_us", b"%d" % received_us),
            self._worker,
        ]
        return Record(event_id, key.encode(), _encode(signup), headers, received_us // 1000)

    def _is_day_suspect(self, day: str, received_us: int) -> bool:
        """is_day_suspect, remembered for an hour: nearly all samples are of a few days."""
        hour = received_us // 3_600_000_000
        if hour != self._day_marks_hour or len(self._day_marks) > 1_000:
            self._day_marks, self._day_marks_hour = {}, hour
        mark = self._day_marks.get(day)
        if mark is None:
            mark = self._day_marks[day] = is_day_suspect(day, received_us)
        return mark


def _constants(source: str, type_: str, schema: str) -> tuple[Header, ...]:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_source", source.encode()),
        ("ce_type", type_.encode()),
        ("ce_dataschema", schema.encode()),
        ("content-type", b"application/json"),
    )
