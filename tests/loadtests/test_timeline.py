"""Second by second: each request and person in the second in which it happened, and every column as long as the rehearsal."""

import math

import pytest

from loadtests.judge.line import line_of
from loadtests.judge.timeline import TIMELINE, is_accepted, is_error, is_refused, is_unanswered, timeline
from loadtests.observed import SAMPLED
from loadtests.recording import CUT, Call
from tests.loadtests.observations import CITIZENS, call, calls_of, healthy, observed, person, samples


def test_every_column_of_the_catalogue_has_every_second() -> None:
    found = timeline(healthy(ended_s=33.2), None)
    assert list(found) == [*TIMELINE, *(name for name in SAMPLED if name != "at_s")]
    assert {len(values) for values in found.values()} == {34}
    assert found["at_s"] == list(range(34))
    assert found["meant"][:31] == [10.0] * 30 + [0.0]


def test_requests_count_when_they_were_sent_and_answered() -> None:
    retry = math.nan
    of = observed(
        [
            call(0.5, 2.0, status=202, sent_s=1.5),
            call(0.6, 2.0, status=503, late_s=retry),
            call(0.7, 2.0, status=500),
            call(0.8, 2.0, status=CUT),
            call(0.9, 2.0, status=429),
            call(1.0, 1.5, status=202, call=Call.SIGNUPS, stream=CITIZENS),
            call(1.1, 1.5, status=200, call=Call.PLACE, stream=CITIZENS, late_s=retry),
        ]
    )
    found = timeline(of, None)
    assert found["meant"][:3] == [4, 1, 0]  # the retry is no arrival
    assert found["sent"][:3] == [4, 3, 0]
    told = {name: found[name][2] for name in ("answered", "accepted", "refused", "errors", "unanswered", "signups_accepted")}
    assert told == {"answered": 6, "accepted": 3, "refused": 2, "errors": 1, "unanswered": 1, "signups_accepted": 1}
    assert math.isnan(found["joins"][0])


def test_latencies_are_corrected_and_of_the_second_in_which_they_were_meant() -> None:
    rows = [call(1 + number / 100, (number + 1) / 100, sent_s=2.01) for number in range(100)]
    found = timeline(observed(rows), None)
    assert found["syncs_p50_ms"][1] == pytest.approx(500)
    assert found["syncs_p99_ms"][1] == pytest.approx(990)
    assert math.isnan(found["syncs_p99_ms"][2])
    assert math.isnan(found["signups_p50_ms"][1])


def test_people_and_samples() -> None:
    of = observed(people=[person(0, 0.2, 3.5), person(1, 1.2, 2.5), person(2, 1.3)], samples=samples(40, depth=7.0), ended_s=5.0)
    found = timeline(of, line_of(of))
    assert found["joins"] == [1, 2, 0, 0, 0]
    assert found["passes"] == [0, 0, 1, 1, 0]
    assert found["live"] == [1, 3, 2, 1, 1]
    assert found["depth"] == [7.0] * 5


def test_every_status_is_of_its_class() -> None:
    statuses = [CUT, 0, 1, 100, 199, 200, 299, 300, 399, 400, 499, 500, 502, 503, 504, 599]
    rows = calls_of([call(number, status=status) for number, status in enumerate(statuses)])
    told = {
        of.__name__: [status for status, is_one in zip(statuses, of(rows), strict=True) if is_one] for of in (is_accepted, is_refused, is_unanswered, is_error)
    }
    assert told == {
        "is_accepted": [200, 299],
        "is_refused": [400, 499, 503],
        "is_unanswered": [CUT, 0],
        "is_error": [500, 502, 504, 599],
    }


def test_what_happened_after_the_end_is_in_no_second() -> None:
    found = timeline(observed([call(1.0, 4.0, arrival=0), call(2.0, 3.9, arrival=1)], ended_s=5.0), None)
    assert sum(found["accepted"]) == 0
    found = timeline(observed([call(1.0, 3.9)], ended_s=5.0), None)
    assert found["accepted"] == [0, 0, 0, 0, 1]
