"""Counters outlive the process that counts; gauges do not."""

import subprocess
import sys
from itertools import pairwise

import pytest

from gateway.board import MACHINES_MAX, Board
from gateway.metrics import CATALOGUE
from gateway.watermarks import SPOOLS_MAX

REQUESTS = ("sluicegate_requests_total", "syncs", "202")


def test_a_successor_counts_on_and_starts_with_gauges_at_zero() -> None:
    board = Board.create(workers=2)
    first = board.slots[0]
    first.counter(*REQUESTS).add(3)
    first.gauge("sluicegate_connections").set(7)
    first.histogram("sluicegate_ack_seconds", "syncs").observe(0.2)
    successor = Board(board.fd, workers=2).slots[0]
    successor.zero_gauges()
    successor.counter(*REQUESTS).add()
    assert first.counter(*REQUESTS).value == 4
    assert first.gauge("sluicegate_connections").value == 0
    assert sum(first.histogram("sluicegate_ack_seconds", "syncs").counts) == 1


def test_slots_do_not_touch_each_other() -> None:
    board = Board.create(workers=2)
    for n, slot in enumerate(board.slots):
        slot.counter(*REQUESTS).add(n + 1)
        slot.gauge("sluicegate_connections").set(n + 0.5)
    board.slots[1].zero_gauges()
    assert [slot.counter(*REQUESTS).value for slot in board.slots] == [1, 2, 3]
    assert [slot.gauge("sluicegate_connections").value for slot in board.slots] == [0.5, 0, 2.5]
    assert board.supervisor is board.slots[2]


def test_a_histogram_counts_by_upper_bound_and_sums() -> None:
    histogram = Board.create(workers=1).slots[0].histogram("sluicegate_ack_seconds", "signups")
    # Bounds are inclusive; beyond the last one is +Inf.
    rows = [(0.0, 0), (0.001, 0), (0.0011, 1), (10.0, 12), (10.1, 13), (1e6, 13)]
    for seconds, bucket in rows:
        before = histogram.counts
        histogram.observe(seconds)
        assert [index for index, count in enumerate(histogram.counts) if count != before[index]] == [bucket], seconds
    assert histogram.sum_s == pytest.approx(sum(seconds for seconds, _ in rows))
    histogram.observe(0.01, times=50)
    assert sum(histogram.counts) == len(rows) + 50


def test_what_is_not_in_the_catalogue_is_an_error_at_once() -> None:
    slot = Board.create(workers=1).slots[0]
    for wrong in (("sluicegate_requests_total",), ("sluicegate_requests_total", "syncs", "299"), ("sluicegate_nothing_total",)):
        with pytest.raises(KeyError):
            slot.counter(*wrong)
    with pytest.raises(KeyError):
        slot.gauge("sluicegate_kafka_rebuilds_total")
    assert slot.counters_by("sluicegate_requests_total", "syncs").keys() >= {"202", "503"}


_CHILD = """
import sys
from gateway.board import Board
fd, worker = int(sys.argv[1]), int(sys.argv[2])
count = Board(fd, workers=2).slots[worker].counter("sluicegate_requests_total", "syncs", "202")
for _ in range(20_000):
    count.add()
"""


def test_two_processes_count_through_the_inherited_fd() -> None:
    board = Board.create(workers=2)
    children = [subprocess.Popen((sys.executable, "-c", _CHILD, str(board.fd), str(worker)), pass_fds=(board.fd,)) for worker in (0, 1)]
    assert [child.wait(timeout=30) for child in children] == [0, 0]
    assert [slot.counter(*REQUESTS).value for slot in board.slots] == [20_000, 20_000, 0]


def test_watermarks_outlive_who_wrote_them_and_touch_no_count() -> None:
    """Of every slot, the supervisor's and other machines' included; whatever fills them."""
    board = Board.create(workers=2)
    full = {n: 2**62 + n for n in range(1, SPOOLS_MAX + 1)}
    for slot in board.slots:
        for metric in CATALOGUE:
            for labels in metric.series():
                if metric.kind == "gauge":
                    slot.gauge(metric.name, *labels).set(1.0)
        slot.watermarks.put(full)
    board.abroad.put({n: n for n in range(1, MACHINES_MAX * SPOOLS_MAX + 1)})
    assert all(not any(slot.counter_words) for slot in board.slots)
    again = Board(board.fd, workers=2)
    again.slots[0].zero_gauges()
    assert [slot.watermarks.pairs() == full for slot in again.slots] == [True] * 3
    assert len(again.abroad.pairs()) == MACHINES_MAX * SPOOLS_MAX
    assert [one.of(1) for one in again.watermarks] == [full[1], full[1], full[1], 1]
    assert [board.slots[n].gauge("sluicegate_heartbeat_seconds").value for n in (0, 1)] == [0.0, 1.0]


_ENDLESS = """
import sys
from gateway.board import Board
slot = Board(int(sys.argv[1]), workers=2).slots[int(sys.argv[2])]
count, seconds = slot.counter("sluicegate_requests_total", "syncs", "202"), slot.histogram("sluicegate_ack_seconds", "syncs")
print("counts", flush=True)
while True:
    count.add()
    seconds.observe(0.1)
"""


def test_killed_while_it_counts_a_process_takes_no_count_along() -> None:
    board = Board.create(workers=2)
    seen = [(0, 0)]
    for _ in range(4):
        lives = [
            subprocess.Popen((sys.executable, "-c", _ENDLESS, str(board.fd), str(worker)), pass_fds=(board.fd,), stdout=subprocess.PIPE) for worker in (0, 1)
        ]
        for life in lives:
            assert life.stdout is not None
            assert life.stdout.readline() == b"counts\n"
        for life in lives:
            for _ in range(50):
                totals = board.totals()
                seen.append((totals.count(*REQUESTS), sum(totals.counts("sluicegate_ack_seconds", "syncs"))))
            life.kill()
            life.wait()
            if life.stdout is not None:
                life.stdout.close()
    for before, after in pairwise(seen):
        assert all(now >= then for then, now in zip(before, after, strict=True)), (before, after)
    # Whoever was killed between its two lines has counted the first and not the second: at most one a life.
    requests, observed = board.totals().count(*REQUESTS), sum(board.totals().counts("sluicegate_ack_seconds", "syncs"))
    assert 0 <= requests - observed <= 4 * 2
    assert observed > 0
