"""The identity, the marks and the bytes of an event.

`sync_id` and `signup_id` below follow the recipe in event.py's docstring with other
tools (json, uuid): whoever has to recognise our events can do the same.
"""

import json
from datetime import UTC, datetime, timedelta, timezone
from hashlib import blake2b
from typing import Any, Final, TypeVar
from uuid import RFC_4122, UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.event import Forge, Record, SyncEvent, clock_suspect_after, is_day_suspect, signup_event_id, uuid8
from gateway.core.payload import SEQ_MAX, STEPS_MAX, Consents, Device, Sample, Signup
from tests.records import stored

_T = TypeVar("_T", bound=msgspec.Struct)

SEOUL: Final = timezone(timedelta(hours=9))
RECEIVED_US: Final = 1_769_519_405_123_456  # 2026-01-27T13:10:05.123456Z
DAY_S: Final = 86_400

SAMPLE: Final = Sample(41, "2026-01-27", 8123, datetime(2026, 1, 27, 22, 10, 5, tzinfo=SEOUL), "watch", "0190a6e2-7c1b-7d3a-9f54-2b8e6a1c0d37")
SIGNUP: Final = Signup(
    UUID("0190a6f0-3d52-7b1e-8c4f-5a9d2e7b6c18"),
    1,
    "홍길동",
    "+821012345678",
    datetime(1960, 3, 1, tzinfo=UTC).date(),
    "종로구",
    Device("ios", "iPhone15,2"),
    Consents(terms=True, health_data=True, marketing=False),
)


def sync_record(sample: Sample = SAMPLE, *, user: str = "u1", device: tuple[str, str, str] = ("4f1c", "android", "2.3.1"), at_us: int = RECEIVED_US) -> Record:
    [record] = Forge("w1").syncs(user.encode(), device, [sample], at_us)
    return record


def but(original: _T, **fields: Any) -> _T:
    """The same with some fields replaced."""
    return msgspec.structs.replace(original, **fields)


def header(record: Record, name: str) -> str | None:
    values = [value.decode() for key, value in stored(record).headers if key == name]
    assert len(values) <= 1
    return values[0] if values else None


# The recipe, by other means


def digest_as_uuid(fields: list[Any], person: bytes) -> str:
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    number = int.from_bytes(blake2b(text.encode(), digest_size=16, person=person).digest())
    number = number & ~(0xF << 76) | 8 << 76  # version 8
    return str(UUID(int=number & ~(3 << 62) | 2 << 62))  # the RFC's variant


def instant(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def sync_id(user: str, device_id: str, s: Sample) -> str:
    content: dict[str, Any] = {"seq": s.seq, "day": s.day, "steps": s.steps, "recorded_at": instant(s.recorded_at), "source": s.source}
    if s.id is not None:
        content["id"] = s.id
    return digest_as_uuid([user, device_id, content], b"sync.v1")


def signup_id(key: str, s: Signup) -> str:
    device, consents = [s.device.platform, s.device.model], [s.consents.terms, s.consents.health_data, s.consents.marketing]
    return digest_as_uuid([key, str(s.signup_id), s.revision, s.name, s.phone, s.birth_date.isoformat(), s.district, device, consents], b"signup.v1")


labels = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32), min_size=1, max_size=8)
offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)) if minutes else UTC)
samples = st.builds(
    Sample,
    st.integers(0, SEQ_MAX),
    st.dates().map(str) | st.sampled_from(["2026-02-30", "0000-00-00"]),
    st.integers(0, STEPS_MAX),
    st.datetimes(timezones=offsets),
    labels,
    st.none() | labels,
)


@given(samples, labels, labels)
@example(SAMPLE, "u1", "4f1c")
@example(but(SAMPLE, recorded_at=datetime(2026, 1, 27, tzinfo=UTC)), "u1", "d")
@example(but(SAMPLE, source='"\\/\x7f\u2028\u20ac'), "u1", '"')
def test_the_id_of_a_sync_follows_the_recipe(sample: Sample, user: str, device_id: str) -> None:
    record = sync_record(sample, user=user, device=(device_id, "p", "1"))
    assert record.event_id == sync_id(user, device_id, sample)
    assert header(record, "ce_id") == record.event_id


@given(labels, labels, st.integers(1, 1_000_000), st.booleans())
def test_the_id_of_a_signup_follows_the_recipe(name: str, district: str, revision: int, marketing: bool) -> None:
    signup = but(SIGNUP, name=name, district=district, revision=revision, consents=but(SIGNUP.consents, marketing=marketing))
    assert signup_event_id("signup:x", signup) == signup_id("signup:x", signup)


# Frozen for ever: consumers deduplicate by these over the spool's longest life, across releases.
# A test that is red here says: every event in flight would be stored twice under two names.
LARGEST: Final = Sample(
    SEQ_MAX, "9999-12-31", STEPS_MAX, datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone(timedelta(minutes=-1439))), "w" * 32, "i" * 64
)
SYNC_VECTORS: Final = [
    (SAMPLE, "96c2d41a-dfa0-83e2-bc16-f232739e5b99"),
    (but(SAMPLE, id=None), "0e132ba6-3373-8281-a88a-9a71ca8f4ee1"),
    (but(SAMPLE, source="손목시계"), "81143888-d878-8a59-8e8d-80dec3fbaa9d"),
    (but(SAMPLE, steps=0, recorded_at=datetime(2026, 1, 27, tzinfo=UTC)), "400177a4-0484-8e60-af72-07543545ac19"),
    (LARGEST, "8725cb1b-796d-8c79-b16c-b81db86552ad"),
]
SIGNUP_VECTORS: Final = [
    (1, "a6647fc7-aac2-89bc-8c33-2fb7ab8e5f39"),
    (2, "d225ce8b-abfc-89ab-8e26-aeb6f416ff93"),
    (1_000_000, "a316ef93-a415-8d3e-b389-77a0ec474046"),
]


@pytest.mark.parametrize(("sample", "event_id"), SYNC_VECTORS)
def test_pinned_ids_of_syncs(sample: Sample, event_id: str) -> None:
    assert sync_record(sample).event_id == sync_id("u1", "4f1c", sample) == event_id


@pytest.mark.parametrize(("revision", "event_id"), SIGNUP_VECTORS)
def test_pinned_ids_of_signups(revision: int, event_id: str) -> None:
    signup = but(SIGNUP, revision=revision)
    key = f"signup:{SIGNUP.signup_id}"
    assert Forge("w1").signup(signup, RECEIVED_US).event_id == signup_event_id(key, signup) == signup_id(key, signup) == event_id


# What the id says: same content, same id; other content, other id

OTHER_SAMPLES: Final[dict[str, Any]] = {
    "seq": 42,
    "day": "2026-01-28",
    "steps": 8124,
    "recorded_at": SAMPLE.recorded_at + timedelta(microseconds=1),
    "source": "phone",
    "id": "another",
}
OTHER_SIGNUPS: Final[dict[str, Any]] = {
    "signup_id": UUID(int=1),
    "revision": 2,
    "name": "홍길순",
    "phone": "+821012345679",
    "birth_date": datetime(1960, 3, 2, tzinfo=UTC).date(),
    "district": "중구",
    "device": Device("ios", "iPhone15,3"),
    "consents": Consents(terms=True, health_data=True, marketing=True),
}


@pytest.mark.parametrize("name", Sample.__struct_fields__)
def test_each_field_of_a_sample_changes_its_id(name: str) -> None:
    assert sync_record(but(SAMPLE, **{name: OTHER_SAMPLES[name]})).event_id != sync_record().event_id


@pytest.mark.parametrize("name", Signup.__struct_fields__)
def test_each_field_of_an_application_changes_its_id(name: str) -> None:
    assert signup_event_id("k", but(SIGNUP, **{name: OTHER_SIGNUPS[name]})) != signup_event_id("k", SIGNUP)


def test_the_rest_of_what_an_id_is_made_of() -> None:
    """Who and with which phone: yes.  The app, its platform, the time received and the worker: no."""
    original = sync_record().event_id
    assert sync_record(user="u2").event_id != original
    assert sync_record(device=("4f1d", "android", "2.3.1")).event_id != original
    assert sync_record(device=("4f1c", "ios", "9.9.9"), at_us=RECEIVED_US + 10**12).event_id == original
    [elsewhere] = Forge("w2").syncs(b"u1", ("4f1c", "android", "2.3.1"), [SAMPLE], RECEIVED_US)
    assert elsewhere.event_id == original
    assert signup_event_id("k", but(SIGNUP, device=Device("android", "iPhone15,2"))) != signup_event_id("k", SIGNUP)
    assert signup_event_id("k2", SIGNUP) != signup_event_id("k", SIGNUP)


def test_fields_do_not_run_into_each_other() -> None:
    ids = {sync_record(user=user, device=(device, "p", "1")).event_id for user, device in [("a", "bc"), ("ab", "c"), ("abc", ""), ('a","', "bc")]}
    assert len(ids) == 4


@given(st.binary(min_size=16, max_size=16))
@example(b"\0" * 16)
@example(b"\xff" * 16)
def test_any_digest_is_a_uuid_of_version_8(digest: bytes) -> None:
    found = UUID(uuid8(digest))
    assert (found.version, found.variant) == (8, RFC_4122)
    assert str(found) == uuid8(digest)
    free = ~(0xF << 76 | 3 << 62)  # all other bits are the digest's
    assert found.int & free == int.from_bytes(digest) & free


# Marks


def days_from_received(days: int) -> str:
    return (datetime.fromtimestamp(RECEIVED_US // 10**6, tz=UTC).date() + timedelta(days=days)).isoformat()


@pytest.mark.parametrize(("days", "is_suspect"), [(-36, True), (-35, False), (-1, False), (0, False), (1, False), (2, True), (-9_999, True), (9_999, True)])
def test_a_day_35_back_to_one_ahead_is_believed(days: int, is_suspect: bool) -> None:
    assert is_day_suspect(days_from_received(days), RECEIVED_US) == is_suspect
    assert header(sync_record(but(SAMPLE, day=days_from_received(days))), "day_suspect") == ("true" if is_suspect else None)


@pytest.mark.parametrize("day", ["2026-02-30", "2026-00-10", "2026-13-01", "0000-00-00", "0000-01-01", "2025-02-29", "9999-99-99", "2026-01-32"])
def test_a_day_no_calendar_has_is_kept_and_marked(day: str) -> None:
    record = sync_record(but(SAMPLE, day=day))
    assert header(record, "day_suspect") == "true"
    assert json.loads(stored(record).value)["day"] == day


def test_a_leap_day_is_a_day() -> None:
    noon_us = int(datetime(2028, 3, 1, 12, tzinfo=UTC).timestamp()) * 10**6
    assert not is_day_suspect("2028-02-29", noon_us)
    assert is_day_suspect("2026-02-29", noon_us)


@pytest.mark.parametrize(("seconds", "back", "ahead"), [(-1, False, True), (0, False, False), (DAY_S - 1, False, False), (DAY_S, True, False)])
def test_days_are_counted_from_midnight_utc(seconds: int, back: bool, ahead: bool) -> None:
    """Of the day received: 2025-12-23 is 35 days before 2026-01-27, 2026-01-28 one after."""
    at_us = (1_769_472_000 + seconds) * 10**6  # 2026-01-27T00:00:00Z
    assert (is_day_suspect("2025-12-23", at_us), is_day_suspect("2026-01-28", at_us)) == (back, ahead)


@given(st.lists(st.tuples(st.integers(-3 * 24, 3 * 24), st.integers(-38, 4)), min_size=1, max_size=12))
def test_remembered_marks_are_the_marks(calls: list[tuple[int, int]]) -> None:
    """One forge over days, also with a clock that steps back."""
    forge = Forge("w1")
    for hours, days in calls:
        at_us = RECEIVED_US + hours * 3_600 * 10**6 + 17
        day = days_from_received(days)
        [record] = forge.syncs(b"u1", ("d", "p", "1"), [but(SAMPLE, day=day)], at_us)
        assert (header(record, "day_suspect") == "true") == is_day_suspect(day, at_us)


@pytest.mark.parametrize("offset", [UTC, SEOUL, timezone(timedelta(minutes=-1439)), timezone(timedelta(minutes=1439))])
@pytest.mark.parametrize(("late_us", "is_suspect"), [(0, False), (1, True), (-1, False)])
def test_recorded_more_than_a_day_ahead_is_marked(offset: timezone, late_us: int, is_suspect: bool) -> None:
    a_day_ahead = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=1, microseconds=RECEIVED_US + late_us)
    record = sync_record(but(SAMPLE, recorded_at=a_day_ahead.astimezone(offset)))
    assert header(record, "clock_suspect") == ("true" if is_suspect else None)


@given(st.integers(0, 4 * 10**15))
def test_the_mark_is_exact_to_the_microsecond(received_us: int) -> None:
    assert clock_suspect_after(received_us) - datetime(1970, 1, 2, tzinfo=UTC) == timedelta(microseconds=received_us)


@given(samples)
@example(but(SAMPLE, recorded_at=datetime(1, 1, 1, tzinfo=timezone(timedelta(minutes=1439)))))
@example(but(SAMPLE, recorded_at=datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone(timedelta(minutes=-1439)))))
def test_no_instant_is_too_early_or_too_late(sample: Sample) -> None:
    """Years 1 and 9999 with an offset lie outside what a datetime can hold in UTC."""
    record = sync_record(sample)
    assert datetime.fromisoformat(header(record, "ce_time") or "") == sample.recorded_at


# Bytes


def test_a_sync_in_kafka() -> None:
    record = sync_record()
    assert record.key == b"u1"
    assert record.timestamp_ms == RECEIVED_US // 1000
    assert json.loads(stored(record).value) == {
        "device_id": "4f1c",
        "platform": "android",
        "app_version": "2.3.1",
        "seq": 41,
        "day": "2026-01-27",
        "steps": 8123,
        "recorded_at": "2026-01-27T22:10:05+09:00",
        "source": "watch",
        "id": "0190a6e2-7c1b-7d3a-9f54-2b8e6a1c0d37",
    }
    assert dict(stored(record).headers) == {
        "ce_specversion": b"1.0",
        "ce_id": record.event_id.encode(),
        "ce_source": b"/v1/syncs",
        "ce_type": b"sluicegate.sync.v1",
        "ce_time": b"2026-01-27T22:10:05+09:00",
        "ce_dataschema": b"urn:sluicegate:schemas:sync-event-v1",
        "content-type": b"application/json",
        "received_us": b"1769519405123456",
        "worker": b"w1",
    }


def test_a_signup_in_kafka() -> None:
    record = Forge("w1").signup(SIGNUP, RECEIVED_US)
    assert record.key == b"signup:0190a6f0-3d52-7b1e-8c4f-5a9d2e7b6c18"
    assert "홍길동".encode() in stored(record).value
    assert msgspec.json.decode(stored(record).value, type=Signup) == SIGNUP
    assert dict(stored(record).headers) == {
        "ce_specversion": b"1.0",
        "ce_id": record.event_id.encode(),
        "ce_source": b"/v1/signups",
        "ce_type": b"sluicegate.signup.v1",
        "ce_time": b"2026-01-27T13:10:05.123456+00:00",
        "ce_dataschema": b"urn:sluicegate:schemas:signup-event-v1",
        "content-type": b"application/json",
        "received_us": b"1769519405123456",
        "worker": b"w1",
    }


@given(samples, labels, labels)
def test_the_value_is_what_its_schema_describes(sample: Sample, device_id: str, platform: str) -> None:
    """Put together from bytes, read back as the type the schema is made from."""
    s = sample
    value = stored(sync_record(sample, device=(device_id, platform, "1"))).value
    assert msgspec.json.decode(value, type=SyncEvent) == SyncEvent(device_id, platform, "1", s.seq, s.day, s.steps, s.recorded_at, s.source, s.id)
    assert ("id" in json.loads(value)) == (sample.id is not None)  # absent, not null


def test_an_absent_id_stays_absent() -> None:
    assert "id" not in json.loads(stored(sync_record(but(SAMPLE, id=None))).value)


@given(st.lists(samples, max_size=5))
def test_many_at_once_are_what_each_alone_is(many: list[Sample]) -> None:
    assert [*Forge("w1").syncs(b"u1", ("4f1c", "android", "2.3.1"), many, RECEIVED_US)] == [sync_record(one) for one in many]
