"""What counts as produced and consumed; what Kafka itself says is examined in contracts/test_lag.py."""

import pytest

from gateway.lag import Progress, progress_of

ROWS = [
    # begins, ends, commits → produced, consumed, committed
    ({0: 0, 1: 0}, {0: 10, 1: 20}, {0: 7, 1: 20}, (30, 27, 2)),
    ({0: 0, 1: 5}, {0: 10, 1: 20}, {0: 7, 1: -1}, (30, 12, 1)),  # nobody consumes partition 1: all of it waits, but what was deleted before
    ({0: 0, 1: 5}, {0: 10, 1: 20}, {}, (30, 5, 0)),
    ({0: 0}, {0: 10}, {0: 0}, (10, 0, 1)),  # a commit of nothing is one
    ({0: 0}, {0: 10}, {0: 10, 7: 3}, (10, 10, 1)),  # of a partition that is no more
]


@pytest.mark.parametrize(("begins", "ends", "commits", "want"), ROWS)
def test_who_committed_nothing_has_consumed_nothing(begins: dict[int, int], ends: dict[int, int], commits: dict[int, int], want: tuple[int, int, int]) -> None:
    assert progress_of(begins, ends, commits) == want


def test_a_lag_is_never_negative() -> None:
    """A commit may be ahead of a topic that was made anew."""
    assert (Progress(10, 7, 1).lag, Progress(5, 7, 1).lag) == (3, 0)
