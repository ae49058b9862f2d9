"""Three ledgers: each fault is found, to the unit and by name, and nothing else is called one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.judge import ledger
from loadtests.judge.ledger import distinct, is_among, payloads
from loadtests.observed import Observed
from loadtests.recording import NO_ANSWER, Call, Fate
from loadtests.result import Check, LedgerRow
from tests.loadtests.observations import CITIZENS, by_name, call, fate, healthy, observed, person, record, series

MISSING = "syncs: accepted means durable"
KEPT = "syncs: refused means nothing happened"
TWO_IDS = "syncs: one payload, one event id"
UNSENT = "syncs: nothing comes from nowhere"
UNCOUNTED = "syncs: what is accepted is counted"
COUNTED = "syncs: counted as durable means in Kafka"


def checks(of: Observed) -> list[Check]:
    return ledger.checks(of, payloads(of))


def rows(of: Observed) -> list[LedgerRow]:
    return ledger.rows(of, payloads(of))


def fired(of: Observed) -> dict[str, int]:
    return {check.name: check.count for check in checks(of) if check.count}


def test_all_is_well() -> None:
    found = checks(healthy())
    assert {check.name for check in found} == {MISSING, KEPT, TWO_IDS, UNSENT, UNCOUNTED, COUNTED}
    assert not [check for check in found if check.count or check.evidence]


def test_accepted_and_not_in_kafka() -> None:
    """The second of two samples, and when its 202 had come: the first one, though it was asked again."""
    rows_ = [call(31.1, 0.104, arrival=4711), call(33.0, 0.1, arrival=4711, tries=2, late_s=float("nan"))]
    of = observed(rows_, [fate(4711), fate(4711, sample=2)], [record(4711)])
    found = by_name(checks(of))[MISSING]
    assert (found.count, found.evidence) == (1, ["sync 4711.2 of stream daily: 202 at 31.204 s, not in Kafka"])


@pytest.mark.parametrize("told", [Fate.REFUSED, Fate.INVALID])
def test_refused_and_in_kafka_all_the_same(told: Fate) -> None:
    of = observed([call(1.0, status=503, arrival=3)], [fate(3, told)], [record(3, offset=17)])
    found = by_name(checks(of))[KEPT]
    assert (found.count, found.evidence) == (1, ["sync 3.0 of stream daily: refused, in Kafka at partition 0, offset 17, since 1.000 s"])
    assert fired(of) == {KEPT: 1}


@pytest.mark.parametrize("records", [[], [record(3)], [record(3), record(3, offset=1)]])
def test_who_heard_nothing_may_be_in_kafka_or_not(records: list[Any]) -> None:
    of = observed([call(1.0, status=NO_ANSWER, arrival=3)], [fate(3, Fate.UNKNOWN)], records)
    assert not fired(of)
    assert by_name(rows(of), "what")["syncs unknown, which may be in Kafka or not"].kafka == bool(records)


def test_copies_of_one_event_are_shown_and_no_fault() -> None:
    of = observed([call(1.0)], [fate(0)], [record(0), record(0, offset=1), record(0, offset=2)])
    assert not fired(of)
    assert by_name(rows(of), "what")["syncs: further copies, recognisable by their id"].kafka == 2


def test_one_payload_under_two_event_ids() -> None:
    of = observed([call(1.0)], [fate(0)], [record(0, event="a"), record(0, event="b", offset=1), record(0, event="b", offset=2)])
    found = by_name(checks(of))[TWO_IDS]
    assert (found.count, found.evidence) == (1, ["sync 0.0 of stream daily: 2 event ids, a and b"])


def test_two_samples_of_one_request_are_two_payloads() -> None:
    of = observed([call(1.0)], [fate(0), fate(0, sample=1)], [record(0, event="a"), record(0, sample=1, event="b")])
    assert not fired(of)


@pytest.mark.parametrize("stranger", [record(9), record(0, sample=1)])
def test_records_that_nobody_sent(stranger: Any) -> None:
    of = observed([call(1.0)], [fate(0)], [record(0), stranger])
    assert fired(of) == {UNSENT: 1}


def test_who_was_still_at_it_in_the_end_is_unknown() -> None:
    of = observed([call(1.0), call(39.0, status=NO_ANSWER, arrival=8)], [fate(0)], [record(0), record(8)])
    assert not fired(of)
    assert by_name(rows(of), "what")["requests of syncs that were under way at the end"].generator == 1


@pytest.mark.parametrize(("durable", "short"), [(0.0, 2), (1.0, 1), (2.0, 0)])
def test_the_gateway_counts_what_it_accepts(durable: float, short: int) -> None:
    """Not one less."""
    of = observed([call(1.0)], [fate(0), fate(1)], [record(0), record(1)], before=series(syncs_durable=10.0), after=series(syncs_durable=10.0 + durable))
    assert fired(of) == ({UNCOUNTED: short} if short else {})


def test_what_is_answered_from_the_gateways_disk_is_counted_as_kept_and_shown_apart() -> None:
    told, there = [fate(0), fate(1)], [record(0), record(1)]
    of = observed([call(1.0)], told, there, before=series(syncs_durable=10.0), after=series(syncs_durable=11.0, syncs_spooled=1.0))
    assert not fired(of)
    shown = by_name(rows(of), "what")
    assert shown["syncs accepted"].gateway == 2
    assert shown["syncs answered from the gateway's disk (of the accepted)"].gateway == 1
    beyond = observed([call(1.0)], told, there, before=series(syncs_durable=0.0), after=series(syncs_durable=1.0, syncs_spooled=2.0))
    assert fired(beyond) == {COUNTED: 1}


@pytest.mark.parametrize(("durable", "beyond"), [(1.0, 0), (3.0, 0), (4.0, 1), (6.0, 3)])
def test_what_the_gateway_counts_is_in_kafka(durable: float, beyond: int) -> None:
    """Two events and a copy: a repeat is counted again and is a record of its own.  One that nobody was told of counts as well."""
    told = [fate(0), fate(1, Fate.UNKNOWN)]
    of = observed([call(1.0)], told, [record(0), record(0, offset=1), record(1)], before=series(syncs_durable=10.0), after=series(syncs_durable=10.0 + durable))
    assert fired(of) == ({COUNTED: beyond} if beyond else {})
    evidence = [f"the gateway counted {durable:.0f} durable, Kafka holds 3 records, copies among them"] if beyond else []
    assert by_name(checks(of))[COUNTED].evidence == evidence


@pytest.mark.parametrize("durable", [0.0, 9.0])
def test_the_count_of_a_gateway_that_is_not_ours_is_shown_and_not_judged(durable: float) -> None:
    of = observed([call(1.0)], [fate(0)], [record(0)], before=series(syncs_durable=1.0), after=series(syncs_durable=1.0 + durable), is_ours=False)
    assert {check.name for check in checks(of)} == {MISSING, KEPT, TWO_IDS, UNSENT}
    assert by_name(rows(of), "what")["syncs accepted"].gateway == durable


def test_without_kafka_only_what_was_told_is_held_against_the_count() -> None:
    of = observed([call(1.0)], [fate(0)], None, before=series(syncs_durable=1.0), after=series(syncs_durable=9.0))
    assert [(check.name, check.count) for check in checks(of)] == [(UNCOUNTED, 0)]


def test_a_topic_is_not_taken_for_the_other() -> None:
    """The same arrival and sample, as a sync and as a sign-up."""
    of = observed(
        [call(1.0, arrival=5), call(2.0, arrival=5, call=Call.SIGNUPS, stream=CITIZENS)],
        [fate(5), fate(5, stream=CITIZENS)],
        [record(5, topic=1)],
        before=series(signups_durable=1.0),
        after=series(signups_durable=2.0, syncs_durable=1.0, syncs_invalid=9.0),
    )
    assert fired(of) == {MISSING: 1, COUNTED: 1}
    assert by_name(checks(of))["sign-ups: accepted means durable"].count == 0


def test_of_several_fates_of_one_payload_accepted_counts() -> None:
    """Three tabs: one was accepted, the others refused."""
    told = [fate(0, Fate.REFUSED), fate(0, Fate.ACCEPTED), fate(0, Fate.UNKNOWN)]
    assert fired(observed([call(1.0)], told, [])) == {MISSING: 1}
    assert fired(observed([call(1.0)], told, [record(0)])) == {}
    assert fired(observed([call(1.0)], told[:1] + told[2:], [record(0)])) == {}


def test_without_a_ledger_its_checks_are_left_out() -> None:
    of = observed([call(1.0)], [fate(0)], None)
    assert checks(of) == []
    row = by_name(rows(of), "what")["syncs accepted"]
    assert (row.generator, row.gateway, row.kafka) == (1, None, None)


def test_the_table_has_what_each_ledger_says() -> None:
    requests = {'sluicegate_requests_total{route="syncs",status="202"}': 3.0, 'sluicegate_requests_total{route="syncs",status="503"}': 2.0}
    joins = {'sluicegate_room_joins_total{result="new"}': 1.0}
    of = observed(
        [call(1.0, arrival=0), call(2.0, arrival=1, status=503), call(3.0, arrival=2, status=NO_ANSWER), call(4.0, arrival=3, status=503)],
        [fate(0), fate(1, Fate.REFUSED), fate(2, Fate.UNKNOWN), fate(3, Fate.UNKNOWN)],
        [record(0), record(2)],
        before=series(syncs_durable=1.0) | joins,
        after=series(syncs_durable=3.0, syncs_limited=1.0, syncs_unknown=1.0, signups_durable=4.0) | requests | joins,
    )
    told = {row.what: (row.generator, row.gateway, row.kafka) for row in rows(of)}
    assert told["syncs sent"] == (4, None, None)
    assert told["syncs accepted"] == (1, 2, 1)
    assert told["syncs refused"] == (1, 1, 0)
    assert told["syncs unknown, which may be in Kafka or not"] == (2, 1, 1)
    assert told["syncs never answered (of the unknown)"] == (1, None, 1)
    assert told["syncs: different payloads"] == (None, None, 2)
    assert told["answers to syncs"] == (3, 5, None)


def test_the_lines_ledgers() -> None:
    """The second of two places was given its pass by two workers."""
    after = {
        'sluicegate_room_joins_total{result="new"}': 3.0,
        'sluicegate_room_joins_total{result="provisional"}': 1.0,
        'sluicegate_room_joins_total{result="known"}': 9.0,
    }
    knocks = {f'sluicegate_room_knocks_total{{result="{result}"}}': count for result, count in (("given", 2.0), ("alone", 1.0), ("again", 5.0))}
    of = observed(
        people=[person(0, 1.0, 2.0), person(1, 1.0, 3.0), person(2, 1.0), person(-1, 0.0), person(-1, 0.0, 5.0)], before={"up": 1.0}, after=after | knocks
    )
    told = {row.what: (row.generator, row.gateway, row.kafka) for row in rows(of)}
    assert told == {"people who joined": (4, 4, None), "passes given": (3, 3, None)}


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.sampled_from(Fate), st.integers(0, 2)), unique_by=lambda one: one[:2], max_size=60))
def test_each_payload_is_judged_by_itself(payloads: list[tuple[int, int, Fate, int]]) -> None:
    """Whatever the mixture: as many faults as payloads that have one."""
    of = observed(
        [call(1.0, arrival=arrival) for arrival, *_ in payloads],
        [fate(arrival, told, sample) for arrival, sample, told, _ in payloads],
        [record(arrival, sample) for arrival, sample, _, copies in payloads for _ in range(copies)],
    )
    missing = sum(told == Fate.ACCEPTED and not copies for *_, told, copies in payloads)
    kept = sum(told in (Fate.REFUSED, Fate.INVALID) and copies > 0 for *_, told, copies in payloads)
    assert fired(of) == {name: count for name, count in ((MISSING, missing), (KEPT, kept)) if count}
    assert all(len(check.evidence) == min(check.count, 5) for check in checks(of))


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 50)))
def test_sets_of_numbers_are_as_numpys(values: list[int], others: list[int]) -> None:
    ours, theirs = np.array(values, np.int64), np.array(others, np.int64)
    assert distinct(ours).tolist() == np.unique(ours).tolist()
    assert is_among(ours, distinct(theirs)).tolist() == np.isin(ours, theirs).tolist()
