"""firing.py: the figures of several processes together.  All else is examined in test_generator.py."""

from loadtests.crowd.firing import together


def test_counts_add_up_and_the_worst_stands_for_all() -> None:
    one = {"at_s": 3.0, "sent": 10.0, "late_p99_ms": 2.0, "cpu_share": 0.5}
    other = {"at_s": 3.1, "sent": 11.0, "late_p99_ms": 30.0, "cpu_share": 0.2}
    assert together([one, other]) == {"at_s": 3.1, "sent": 21.0, "late_p99_ms": 30.0, "cpu_share": 0.5}
    assert together([]) == {}
