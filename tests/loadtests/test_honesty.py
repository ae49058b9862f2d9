"""A generator that could not keep up is found out, at each bound and just beyond it."""

import math

import pytest

from loadtests.judge.honesty import honesty
from loadtests.recording import Process
from tests.loadtests.observations import BEGAN_S, call, observed


def process(number: int = 0, meant: int = 100, sent: int = 100, cpu_share: float = 0.4) -> Process:
    return Process(number=number, meant=meant, meant_sha256="ab", sent=sent, began_s=BEGAN_S, cpu_share=cpu_share)


def late(worst_s: float, of: int = 2) -> list[tuple[object, ...]]:
    """A hundred arrivals, some of which were taken up late; and one call that is no arrival."""
    return [*(call(number, late_s=worst_s if number < of else 0.001) for number in range(100)), call(1.0, late_s=math.nan)]


def test_at_ease_it_may_be_believed() -> None:
    found = honesty(observed(late(0.0199), processes=[process(), process(1)], tries=2))
    assert (found.meant, found.sent, found.problems, found.tries) == (200, 200, [], 2)
    assert found.late_p99_ms == pytest.approx(19.9)


@pytest.mark.parametrize(("sent", "problems"), [(990, 0), (989, 1)])
def test_what_was_meant_must_be_sent(sent: int, problems: int) -> None:
    assert len(honesty(observed(late(0.0), processes=[process(meant=1_000, sent=sent)])).problems) == problems


@pytest.mark.parametrize(("worst_s", "of", "problems"), [(0.021, 2, 1), (0.019, 2, 0), (5.0, 1, 0)])
def test_who_is_late_is_no_judge(worst_s: float, of: int, problems: int) -> None:
    """One of a hundred may be; two may not.  The first second counts: that is where they are late here."""
    assert len(honesty(observed(late(worst_s, of), processes=[process()])).problems) == problems


@pytest.mark.parametrize(("cpu_share", "problems"), [(0.80, 0), (0.801, 1), (math.nan, 1)])
def test_the_busiest_process_counts(cpu_share: float, problems: int) -> None:
    found = honesty(observed(late(0.0), processes=[process(), process(1, cpu_share=cpu_share)]))
    assert len(found.problems) == problems


def test_who_measured_nothing_may_not_be_believed() -> None:
    assert honesty(observed(processes=[process(meant=0, sent=0)])).problems
    assert honesty(observed(processes=[])).problems
