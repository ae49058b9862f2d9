"""Kafka's record format, held equal to what the Kafka client itself writes, byte by byte."""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Final
from uuid import UUID

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.event import Forge, Record, bytes_max
from gateway.core.payload import SEQ_MAX, STEPS_MAX, Consents, Device, Sample, Signup
from gateway.core.recordbatch import FRAMING_BYTES_MAX, HEADER_BYTES, VARINT, batch, header, with_header
from tests.records import Stored, built, made, read, stored

NOW_MS: Final = 1_769_519_405_123


def by_the_client(records: Sequence[Stored], producer: tuple[int, int, int] = (-1, -1, -1)) -> bytes:
    """The batch as the client makes it."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, *producer, 10_000_000)
    for offset, one in enumerate(records):
        assert builder.append(offset, one.timestamp_ms, one.key, one.value, list(one.headers)) is not None
    return bytes(builder.build())


names = st.text(max_size=80)
contents = st.builds(
    Stored,
    st.binary(max_size=200),
    st.binary(max_size=9_000),
    st.lists(st.tuples(names, st.binary(max_size=100)), max_size=70).map(tuple),
    st.integers(NOW_MS - 10**9, NOW_MS + 10**9),
)


@given(st.lists(contents, min_size=1, max_size=5), st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**15 - 1), st.integers(0, 2**31 - 1)))
@example([Stored(b"", b"", (), NOW_MS), Stored(b"", b"", (), NOW_MS - 1)], (0, 0, 0))  # a clock that stepped back
def test_a_batch_is_what_the_client_writes(records: list[Stored], producer: tuple[int, int, int]) -> None:
    ours = [made("e", *one) for one in records]
    assert batch(ours, *producer, calc_crc32c) == by_the_client(records, producer)
    assert read(built(ours)) == records


@given(contents, names, st.binary(max_size=100))
@example(Stored(b"", b"", (("a", b""),) * 63, NOW_MS), "replay", b"true")  # the count of headers takes a byte more
def test_a_header_more_stands_behind_the_others(content: Stored, name: str, text: bytes) -> None:
    body = with_header(made("e", *content).body, header(name, text))
    assert body == made("e", *content._replace(headers=(*content.headers, (name, text)))).body


def test_a_record_without_key_and_value_has_headers_too() -> None:
    """As the format has it; ours have both."""
    nothing = VARINT[-1] * 2
    assert with_header(nothing + VARINT[0], header("a", b"b")) == nothing + VARINT[1] + header("a", b"b")


def test_many_records_too() -> None:
    """Beyond one, two and three bytes of an offset's varint."""
    record = Stored(b"k", b"v", (), NOW_MS)
    assert built([made("e", *record)] * 10_000) == by_the_client([record] * 10_000)


@pytest.mark.parametrize(
    ("n", "want"),
    [
        (0, "00"),
        (-1, "01"),
        (1, "02"),
        (63, "7e"),
        (64, "8001"),
        (4095, "fe3f"),
        (4096, "8040"),
        (-(2**63), "ffffffffffffffffff01"),
        (2**63 - 1, "feffffffffffffffff01"),
    ],
)
def test_varints(n: int, want: str) -> None:
    assert VARINT[n].hex() == want


wide = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32), min_size=1, max_size=32)
syncs = st.builds(
    Sample, st.integers(0, SEQ_MAX), st.dates().map(str), st.integers(0, STEPS_MAX), st.datetimes(timezones=st.timezones()), wide, st.none() | wide
)


@given(
    st.lists(syncs, min_size=1, max_size=20),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128),
    wide,
    st.sampled_from([0, 999_999, 1_769_519_405_123_456]),  # a machine whose clock was never set
)
def test_the_events_of_syncs_are_records_the_client_would_write(samples: list[Sample], user: str, device_id: str, at_us: int) -> None:
    """And a batch of them is never larger than they say."""
    records = Forge("12345678").syncs(user.encode(), (device_id * 4, device_id, device_id), samples, at_us)
    assert built(records) == by_the_client([stored(one) for one in records])
    assert len(built(records)) <= bytes_max(records) + HEADER_BYTES


def largest() -> list[Record]:
    forge, wide_char = Forge("12345678"), "\U0001f6b6"
    far = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone(timedelta(minutes=-1439)))
    sample = Sample(SEQ_MAX, "9999-99-99", STEPS_MAX, far, wide_char * 32, wide_char * 64)
    phone = (wide_char * 128, wide_char * 32, wide_char * 32)
    signup = Signup(
        UUID("0190a6f0-3d52-7b1e-8c4f-5a9d2e7b6c18"),
        1_000_000,
        wide_char * 100,
        "+123456789012345",
        far.date(),
        wide_char * 50,
        Device(wide_char * 32, wide_char * 100),
        Consents(terms=True, health_data=True, marketing=False),
    )
    return [*forge.syncs(b"u" * 128, phone, [sample], 2**52), forge.signup(signup, 2**52)]


def test_the_largest_records() -> None:
    """No larger than they say, and not much smaller, or batches would leave half empty."""
    for one in largest():
        assert built([one]) == by_the_client([stored(one)])
        assert bytes_max([one]) - FRAMING_BYTES_MAX <= len(built([one])) - HEADER_BYTES <= bytes_max([one])
