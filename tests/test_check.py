"""Bytes → events, or a refusal that names the places."""

import gzip
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.check import check_signup, check_sync, unfold
from gateway.core.event import Forge
from gateway.core.payload import Flaw
from gateway.core.receipt import Line, Outcome, receipt
from gateway.errors import Refusal
from gateway.identity import Member
from tests.records import stored
from tests.system.gateway import sample, signup, sync

RECEIVED_US = 1_769_519_405_123_456
MEMBER = Member("u1", b"u1", 7, 2e9)
SIGNUP_ID = "0190a6f0-3d52-7b1e-8c4f-5a9d2e7b6c18"


def body(*samples: dict[str, object]) -> bytes:
    return json.dumps(sync(*samples), ensure_ascii=False).encode()


def refusal(call: object) -> Refusal:
    assert callable(call)
    with pytest.raises(Refusal) as caught:
        call()
    return caught.value


# unfold


def test_plain_and_packed_bodies_are_the_same() -> None:
    plain = body()
    assert unfold(plain, is_gzip=False, bytes_max=10_000, ratio_max=100) == plain
    assert unfold(gzip.compress(plain), is_gzip=True, bytes_max=10_000, ratio_max=100) == plain


@pytest.mark.parametrize(
    ("packed", "is_gzip", "code"),
    [
        (b"", False, "invalid-json"),
        (gzip.compress(b""), True, "invalid-json"),
        (b"", True, "invalid-gzip"),
        (b"{}", True, "invalid-gzip"),
        (gzip.compress(b" " * 10_001), True, "body-too-large"),
        (gzip.compress(b" " * 9_000), True, "body-too-large"),  # by its ratio
    ],
)
def test_what_cannot_be_unfolded(packed: bytes, is_gzip: bool, code: str) -> None:
    assert refusal(lambda: unfold(packed, is_gzip=is_gzip, bytes_max=10_000, ratio_max=100)).problem.code == code


def test_a_body_that_says_a_flaws_name_is_still_a_body() -> None:
    """The flaws of gunzip are words; bytes never equal them."""
    assert unfold(gzip.compress(b"too-large"), is_gzip=True, bytes_max=100, ratio_max=100) == b"too-large"


# check_sync


def test_one_line_per_sample_and_one_record_per_distinct_valid_one() -> None:
    twice, bad, other = sample(1), sample(2, steps=None), sample(3)
    checked = check_sync(Forge("w"), MEMBER, body(twice, bad, twice, other, twice), RECEIVED_US)
    records, lines = checked.records, checked.lines
    assert lines is not None
    assert [(line.seq, line.event, line.is_duplicate) for line in lines] == [(1, 0, False), (2, None, False), (1, 0, True), (3, 1, False), (1, 0, True)]
    assert [json.loads(stored(record).value)["seq"] for record in records] == [1, 3]
    assert [record.key for record in records] == [b"u1", b"u1"]
    flaw = lines[1].flaw
    assert isinstance(flaw, Flaw)
    assert flaw.pointer == "/samples/1/steps"


def test_a_correction_is_no_duplicate() -> None:
    """The same day, seq and id with one more step: another event."""
    checked = check_sync(Forge("w"), MEMBER, body(sample(1), sample(1, steps=8124)), RECEIVED_US)
    assert len(checked.records) == 2
    assert checked.receipt([Outcome.DURABLE, Outcome.DURABLE]).results == []


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([5, 6, None])), min_size=1, max_size=12), st.data())
def test_records_and_lines_fit_together(choices: list[tuple[int, int | None]], data: st.DataObject) -> None:
    """Whatever delivery says of the records, each sample is told once, and equal ones are told alike."""
    checked = check_sync(Forge("w"), MEMBER, body(*(sample(seq, steps=steps) for seq, steps in choices)), RECEIVED_US)
    records = checked.records
    distinct = {choice for choice in choices if choice[1] is not None}
    assert len({record.event_id for record in records}) == len(records) == len(distinct)
    assert (checked.lines is None) == (len(distinct) == len(choices))  # every sample has its own record
    events = [line.event for line in checked.lines] if checked.lines is not None else [*range(len(choices))]
    for choice, event in zip(choices, events, strict=True):
        assert (event is None) == (choice[1] is None)
        if event is not None:
            value = json.loads(stored(records[event]).value)
            assert (value["seq"], value["steps"]) == choice
    outcomes = data.draw(st.just([Outcome.DURABLE] * len(records)) | st.lists(st.sampled_from(Outcome), min_size=len(records), max_size=len(records)))
    told = checked.receipt(outcomes)
    if checked.lines is None:
        assert told == receipt([Line(one.id, one.seq, event) for one, event in zip(checked.samples, events, strict=True)], outcomes)
    assert told.accepted + len(told.results) == len(choices)
    assert told.accepted == outcomes.count(Outcome.DURABLE) + outcomes.count(Outcome.SPOOLED)


@pytest.mark.parametrize("spelling", [b'"\\u0073eq"', b'"seq" ', b'"x": {"seq": 1}, "seq"'])
def test_both_paths_make_the_same_records(spelling: bytes) -> None:
    """A closer look at the body changes neither a byte nor an id of what Kafka gets."""
    fast = body(sample(1), sample(2, id=None))
    slow = fast.replace(b'"seq"', spelling)
    assert slow != fast
    assert check_sync(Forge("w"), MEMBER, slow, RECEIVED_US).records == check_sync(Forge("w"), MEMBER, fast, RECEIVED_US).records


@pytest.mark.parametrize(
    ("wrong", "code", "pointers"),
    [
        (b"", "invalid-json", None),
        (b"[1", "invalid-json", None),
        (b"\xff", "invalid-json", None),
        (b"{}", "invalid", ["/device_id"]),
        (b"[]", "invalid", [""]),
        (b'{"device_id":"a","device_id":"b","platform":"p","app_version":"1","samples":[5]}', "invalid", ["/device_id"]),
    ],
)
def test_a_sync_that_cannot_be_read_at_all(wrong: bytes, code: str, pointers: list[str] | None) -> None:
    found = refusal(lambda: check_sync(Forge("w"), MEMBER, wrong, RECEIVED_US))
    assert found.problem.code == code
    errors = found.members.get("errors")
    assert pointers == (None if errors is None else [error["pointer"] for error in msgspec.convert(errors, list[dict[str, str]])])


# check_signup


def test_an_application_and_its_record() -> None:
    signup_id, record = check_signup(Forge("w"), json.dumps(signup(SIGNUP_ID)).encode(), RECEIVED_US)
    assert signup_id == SIGNUP_ID
    assert record.key == f"signup:{SIGNUP_ID}".encode()
    assert json.loads(stored(record).value) == signup(SIGNUP_ID)


def test_an_id_in_capitals_is_the_same_application() -> None:
    for spelled in (SIGNUP_ID.upper(), SIGNUP_ID.replace("-", "")):
        assert check_signup(Forge("w"), json.dumps(signup(spelled)).encode(), RECEIVED_US).record.key == f"signup:{SIGNUP_ID}".encode()


def test_a_refusal_counts_what_is_to_mend_and_quotes_nothing() -> None:
    consents = {"terms": False, "health_data": False, "marketing": True}
    two = refusal(lambda: check_signup(Forge("w"), json.dumps(signup(SIGNUP_ID, consents=consents)).encode(), RECEIVED_US))
    assert (two.problem.code, two.detail) == ("invalid", "2 fields to mend")
    one = refusal(lambda: check_signup(Forge("w"), json.dumps(signup("홍길동의 비밀"), ensure_ascii=False).encode(), RECEIVED_US))
    assert one.detail == "1 field to mend"
    assert "홍길동" not in json.dumps([one.detail, one.members], ensure_ascii=False)
