"""judgement.py: each rule by the smallest history that breaks it, and by the one beside it that does not."""

import json
from time import process_time
from typing import Any, Final

import pytest

from gateway.core.event import Forge
from gateway.core.payload import SyncBody, read_sync
from tests.system.gateway import sample, signup, sync
from tests.system.history import Event, Found, History, found, signup_event, sync_events, waiting
from tests.system.judgement import Judgement, Kind, judge

OK: Final = b'{"durability": "kafka", "accepted": 1, "ack_through": null, "results": []}'
NONE: Final = b'{"code": "overloaded", "outcome": "none"}'
UNKNOWN: Final = b'{"code": "not-durable", "outcome": "unknown"}'


def meant(*seqs: int, user: str = "u1", **fields: object) -> list[Event]:
    return sync_events("syncs", user, sync(*(sample(seq, **fields) for seq in seqs)))


def told(history: History, events: list[Event], status: int = 202, body: bytes = OK, worker: str = "w1") -> None:
    """One request and its answer; status 0: none came."""
    history.answer(history.send(events), status, body, f"{worker}-7" if status else "")


def stored(event: Event, offset: int, worker: str = "w1", received_us: int = 1, **changes: Any) -> Found:
    return Found(event.topic, 0, offset, event.key, json.dumps(event.value).encode(), event.event_id, worker, str(received_us), is_replay=False)._replace(
        **changes
    )


def kinds(judgement: Judgement) -> list[Kind]:
    return [finding.kind for finding in judgement.findings]


def test_what_was_accepted_and_stored_is_as_told() -> None:
    history, (a, b) = History(), meant(1, 2)
    told(history, [a, b])
    judgement = judge(history, [stored(a, 0), stored(b, 1)])
    assert judgement == Judgement([], sent=2, accepted=2, stored=2, in_spool=0, rejected=0, copies=0)


def test_accepted_and_nowhere_is_missing() -> None:
    history, (a, b) = History(), meant(1, 2)
    told(history, [a, b])
    [finding] = judge(history, [stored(a, 0)]).findings
    assert (finding.kind, finding.event_id) == (Kind.MISSING, b.event_id)
    assert "seq 2" in finding.evidence
    assert "w1-7" in finding.evidence


@pytest.mark.parametrize("held", ["spool", "rejected"])
def test_what_is_still_in_the_spool_or_set_aside_is_not_missing(held: str) -> None:
    history, [a] = History(), meant(1)
    told(history, [a])
    judgement = judge(history, [], **{held: [stored(a, 0)]})
    assert not judgement.findings
    assert (judgement.in_spool, judgement.rejected) == ((1, 0) if held == "spool" else (0, 1))


@pytest.mark.parametrize(("status", "body"), [(0, b""), (500, b"{}"), (503, UNKNOWN)])
@pytest.mark.parametrize("is_stored", [False, True])
def test_what_nobody_knows_may_be_there_or_not(status: int, body: bytes, *, is_stored: bool) -> None:
    history, [a] = History(), meant(1)
    told(history, [a], status, body)
    assert not judge(history, [stored(a, 0)] * is_stored).findings


def test_a_request_under_way_at_the_end_is_unknown() -> None:
    history, [a] = History(), meant(1)
    history.send([a])
    assert not judge(history, [stored(a, 0)]).findings


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("held", ["kafka", "spool"])
def test_refused_and_present_is_a_fault(status: int, held: str) -> None:
    history, [a] = History(), meant(1)
    told(history, [a], status, NONE)
    assert kinds(judge(history, **{"kafka": [], held: [stored(a, 0)]})) == [Kind.REFUSED]


def test_a_refused_copy_is_not_excused_by_its_accepted_repeat() -> None:
    history, [a] = History(), meant(1)
    told(history, [a], 503, NONE, worker="w1")
    told(history, [a], worker="w2")
    assert not judge(history, [stored(a, 0, "w2")]).findings
    assert kinds(judge(history, [stored(a, 0, "w1"), stored(a, 1, "w2")])) == [Kind.REFUSED]


@pytest.mark.parametrize(
    ("status", "code", "may_be_there"), [("invalid", "refused-by-kafka", False), ("retry", "rate-limited", False), ("retry", "not-durable", True)]
)
def test_one_sample_of_many_is_judged_by_its_own_line(status: str, code: str, *, may_be_there: bool) -> None:
    history, (a, b) = History(), meant(1, 2)
    told(history, [a, b], 202, json.dumps({"ack_through": 1, "results": [{"index": 1, "status": status, "code": code}]}).encode())
    assert not judge(history, [stored(a, 0)]).findings
    assert kinds(judge(history, [stored(a, 0), stored(b, 1)])) == [Kind.REFUSED] * (not may_be_there)


def test_what_a_phone_is_let_forget_was_accepted() -> None:
    """Though its own line says `retry`: the phone has thrown it away."""
    history, (a, b) = History(), meant(1, 2)
    told(history, [a, b], 202, b'{"ack_through": 2, "results": [{"index": 1, "status": "retry", "code": "not-durable"}]}')
    assert kinds(judge(history, [stored(a, 0)])) == [Kind.MISSING]


@pytest.mark.parametrize("value", [{"steps": 8124}, {"steps": 8123.0}, {"steps": "8123"}, {"id": None}, {"extra": 1}])
def test_another_payload_under_the_same_id_is_changed(value: dict[str, object]) -> None:
    history, [a] = History(), meant(1)
    told(history, [a])
    assert kinds(judge(history, [stored(a, 0, value=json.dumps(dict(a.value) | value).encode())])) == [Kind.CHANGED]


@pytest.mark.parametrize("change", [{"key": "u2"}, {"topic": "signups"}, {"value": b"{"}])
def test_another_key_topic_or_no_value_is_changed(change: dict[str, Any]) -> None:
    history, [a] = History(), meant(1)
    told(history, [a])
    assert kinds(judge(history, [stored(a, 0, **change)])) == [Kind.CHANGED]


@pytest.mark.parametrize("held", ["spool", "rejected"])
def test_what_waits_or_is_set_aside_is_looked_at_too(held: str) -> None:
    history, [a], [strange] = History(), meant(1), meant(2)
    told(history, [a])
    altered = stored(a, 0, value=b"{}")
    assert kinds(judge(history, [], **{held: [altered, stored(strange, 1)]})) == [Kind.CHANGED, Kind.STRANGER]


def test_the_order_of_names_in_a_value_means_nothing() -> None:
    history, [a] = History(), meant(1)
    told(history, [a])
    assert not judge(history, [stored(a, 0, value=json.dumps(a.value, sort_keys=True, indent=1).encode())]).findings


def test_a_record_that_nobody_sent_is_a_stranger() -> None:
    [a] = meant(1)
    assert kinds(judge(History(), [stored(a, 0)])) == [Kind.STRANGER]


def test_a_correction_is_another_event() -> None:
    """Same seq, other steps: dropping it for a repeat is a loss."""
    history, [a], [b] = History(), meant(1), meant(1, steps=9000)
    told(history, [a])
    told(history, [b])
    assert kinds(judge(history, [stored(a, 0)])) == [Kind.MISSING]


# Copies


def test_an_unknown_try_and_its_repeat_may_leave_two() -> None:
    history, [a] = History(), meant(1)
    told(history, [a], 503, UNKNOWN)
    told(history, [a])
    two = [stored(a, 0), stored(a, 1, received_us=2)]
    judgement = judge(history, two)
    assert (judgement.findings, judgement.copies) == ([], 1)
    assert kinds(judge(history, [*two, stored(a, 2, received_us=3)])) == [Kind.DUPLICATE]


def test_who_had_no_answer_may_have_been_at_any_worker_once() -> None:
    history, [a] = History(), meant(1)
    told(history, [a], 0)
    told(history, [a], worker="w1")
    assert not judge(history, [stored(a, 0, "w9"), stored(a, 1, "w1")]).findings
    assert kinds(judge(history, [stored(a, 0, "w9"), stored(a, 1, "w1"), stored(a, 2, "w8")])) == [Kind.DUPLICATE]


def test_one_request_leaves_one_copy_and_its_replays() -> None:
    history, [a] = History(), meant(1)
    told(history, [a])
    assert not judge(history, [stored(a, 0), stored(a, 1, is_replay=True), stored(a, 2, is_replay=True)], spool=[stored(a, 0)]).findings
    assert kinds(judge(history, [stored(a, 0), stored(a, 1)])) == [Kind.DUPLICATE]


# Order


def test_accepted_before_the_other_was_sent_stands_before_it() -> None:
    history, [a], [b] = History(), meant(1), meant(2)
    told(history, [a])
    told(history, [b])
    assert not judge(history, [stored(a, 0), stored(b, 1), stored(a, 2, is_replay=True)]).findings
    [finding] = judge(history, [stored(b, 0), stored(a, 1)]).findings
    assert finding.kind is Kind.ORDER
    assert "seq 1" in finding.evidence
    assert "offset 0" in finding.evidence


@pytest.mark.parametrize("apart", ["worker", "person"])
def test_order_is_promised_to_one_person_at_one_worker(apart: str) -> None:
    history, [a], [b] = History(), meant(1), meant(2, user="u2" if apart == "person" else "u1")
    told(history, [a])
    told(history, [b], worker=(there := "w2" if apart == "worker" else "w1"))
    assert not judge(history, [stored(b, 0, there), stored(a, 1)]).findings


def test_what_was_under_way_at_the_same_time_has_no_order() -> None:
    history, [a], [b] = History(), meant(1), meant(2)
    first, second = history.send([a]), history.send([b])
    history.answer(first, 202, OK, "w1-1")
    history.answer(second, 202, OK, "w1-2")
    assert not judge(history, [stored(b, 0), stored(a, 1)]).findings


def test_a_try_without_an_answer_may_have_been_there_first() -> None:
    """The copy that stands in front may be its own: only what was never sent before has to come later."""
    history, [a], [b] = History(), meant(1), meant(2)
    told(history, [b], 0)
    told(history, [a])
    told(history, [b])
    assert not judge(history, [stored(b, 0), stored(a, 1), stored(b, 2, received_us=2)]).findings


def test_the_samples_of_one_request_keep_their_order() -> None:
    """Also where the first of them was tried before."""
    for tried_before in (False, True):
        history, (a, b) = History(), meant(1, 2)
        if tried_before:
            told(history, [a], 503, NONE)
        told(history, [a, b])
        assert not judge(history, [stored(a, 0), stored(b, 1)]).findings
        assert kinds(judge(history, [stored(b, 0), stored(a, 1)])) == [Kind.ORDER]


def test_the_furthest_of_all_that_came_before_counts() -> None:
    history, events = History(), meant(1, 2, 3, 4)
    for event in events:
        told(history, [event])
    a, b, c, d = events
    assert kinds(judge(history, [stored(b, 0), stored(c, 1), stored(d, 2), stored(a, 3)])) == [Kind.ORDER] * 3
    assert kinds(judge(history, [stored(a, 0), stored(b, 1), stored(d, 2), stored(c, 3)])) == [Kind.ORDER]


def test_what_is_still_in_the_spool_stands_behind_all_of_kafka() -> None:
    history, [a], [b] = History(), meant(1), meant(2)
    told(history, [a])
    told(history, [b])
    assert not judge(history, [stored(a, 0)], spool=[stored(b, 0)]).findings
    assert kinds(judge(history, [stored(b, 0)], spool=[stored(a, 0)])) == [Kind.ORDER]


def test_one_person_has_one_partition() -> None:
    history, [a], [b] = History(), meant(1), meant(2)
    told(history, [a])
    told(history, [b])
    assert kinds(judge(history, [stored(a, 0), stored(b, 1, partition=1)])) == [Kind.ORDER]


# The rest


def test_a_sign_up_is_an_event_too() -> None:
    event = signup_event("signups", signup("0190a6f0-3d52-7b1e-8c4f-5a9d2e7b6c18"))
    assert event.key == "signup:0190a6f0-3d52-7b1e-8c4f-5a9d2e7b6c18"
    history = History()
    told(history, [event], 202, b'{"durability": "kafka"}')
    assert kinds(judge(history, [])) == [Kind.MISSING]
    assert not judge(history, [stored(event, 0)]).findings


def test_what_a_consumer_reads_is_read() -> None:
    one = found("t", 2, 9, b"u1", b"{}", [("ce_id", b"e"), ("worker", b"w"), ("received_us", b"12"), ("replay", b"true")])
    assert one == Found("t", 2, 9, "u1", b"{}", "e", "w", "12", is_replay=True)
    assert not found("t", 2, 9, b"u1", b"{}", []).is_replay


def test_what_a_spool_gives_back_is_read() -> None:
    """The very records of the gateway: what was sent is what they hold, under the id that was computed from it."""
    sent = sync(sample(1), sample(2))
    samples = read_sync(json.dumps(sent).encode())
    assert isinstance(samples, SyncBody)
    records = Forge("w1").syncs(b"u1", ("4f1c", "android", "2.3.1"), samples.valid, 1_769_519_405_000_000)
    history, events = History(), meant(1, 2)
    told(history, events)
    held = waiting("syncs", 0, enumerate(records))
    assert [(one.offset, one.event_id, one.worker) for one in held] == [(0, events[0].event_id, "w1"), (1, events[1].event_id, "w1")]
    assert judge(history, [], held) == Judgement([], sent=2, accepted=2, stored=0, in_spool=2, rejected=0, copies=0)


def test_twenty_thousand_events_are_judged_in_a_second() -> None:
    """In seconds of CPU, which others on the machine do not take; a slow one has three times as long."""
    history, records = History(), list[Found]()
    for n in range(10_000):
        events = meant(*range(n // 500 * 5, n // 500 * 5 + 5), user=f"u{n % 500}")
        told(history, events, worker=f"w{n % 4}")
        records += [stored(event, len(records) + i, f"w{n % 4}", n) for i, event in enumerate(events)]
    began_s = process_time()
    judgement = judge(history, records)
    per_s = len(records) / (process_time() - began_s)
    assert not judgement.findings
    print(f"{per_s:,.0f} events/s of CPU")
    assert per_s > 20_000 / 3
