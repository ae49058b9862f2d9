"""The line that is written over."""

import msgspec

from loadtests.judge import slo
from loadtests.progress import Bar
from loadtests.scenario_file import load

SCENARIO = msgspec.structs.replace(load("smoke", slo.METRICS), seconds=60.0, drain_s=20.0)


def test_it_says_how_far_and_what_came_of_it() -> None:
    line = Bar(SCENARIO).line({"at_s": 40.2, "sent": 2011, "waiting": 7, "accepted": 1640, "refused": 12, "late_p99_ms": 3.2})
    assert "smoke [############············]   40/80 s  sent 2,011  waiting 7  accepted 1,640  refused 12  late p99 3 ms" in line


def test_before_the_first_arrival_and_after_the_last() -> None:
    assert "[························]    0/80 s" in Bar(SCENARIO).line({"at_s": -4.0})
    assert "80/80 s (no more arrivals)" in Bar(SCENARIO).line({"at_s": 80.0})
