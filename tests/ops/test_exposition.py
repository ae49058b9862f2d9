"""What Prometheus reads: sums over processes for counts, one series per worker for gauges."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway.board import Board, Slot
from gateway.metrics import BY_NAME, CATALOGUE
from gateway.ops.exposition import Exposition


def scraped(board: Board) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(Exposition(board).text().decode())
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def test_every_metric_of_the_catalogue_is_there_before_anything_happened() -> None:
    names = {name for name, _ in scraped(Board.create(workers=1))}
    for metric in CATALOGUE:
        assert (f"{metric.name}_count" if metric.kind == "histogram" else metric.name) in names


def test_counters_are_summed_over_workers_and_the_supervisor() -> None:
    board = Board.create(workers=2)
    for slot, n in zip(board.slots, (1, 10, 100), strict=True):
        slot.counter("sluicegate_requests_total", "syncs", "202").add(n)
    assert scraped(board)["sluicegate_requests_total", (("route", "syncs"), ("status", "202"))] == 111


def test_gauges_name_their_worker() -> None:
    board = Board.create(workers=2)
    for slot, value in zip(board.slots, (1.5, 2.5, 99), strict=True):
        slot.gauge("sluicegate_unacked_age_seconds").set(value)
    shown = {labels: value for (name, labels), value in scraped(board).items() if name == "sluicegate_unacked_age_seconds"}
    assert shown == {(("worker", "0"),): 1.5, (("worker", "1"),): 2.5}  # the supervisor's slot is no worker


def test_gauges_of_the_supervisor_name_nobody() -> None:
    board = Board.create(workers=2)
    for slot, value in zip(board.slots, (1.5, 2.5, 99), strict=True):
        slot.gauge("sluicegate_room_depth").set(value)
    assert {labels: value for (name, labels), value in scraped(board).items() if name == "sluicegate_room_depth"} == {(): 99.0}


def test_a_histogram_is_cumulative_and_its_count_is_its_last_bucket() -> None:
    board = Board.create(workers=2)
    for slot, seconds in zip(board.slots, (0.002, 0.2, 20), strict=True):
        slot.histogram("sluicegate_ack_seconds", "syncs").observe(seconds, times=2)
    found = scraped(board)

    def bucket(bound: str) -> float:
        return found["sluicegate_ack_seconds_bucket", (("le", bound), ("topic", "syncs"))]

    assert [bucket(bound) for bound in ("0.001", "0.0025", "0.1", "0.25", "10.0", "+Inf")] == [0, 2, 2, 4, 4, 6]
    assert found["sluicegate_ack_seconds_count", (("topic", "syncs"),)] == 6
    assert abs(found["sluicegate_ack_seconds_sum", (("topic", "syncs"),)] - 40.404) < 1e-6


# A worker's life: its successor maps the same board anew and zeroes the gauges.

WORKERS = 3
REQUESTS = ("sluicegate_requests_total", "syncs", "202")


def lines(board: Board) -> dict[str, float]:
    """As scraped(), by the text before the number: reading it properly costs ten times writing it."""
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in Exposition(board).text().decode().splitlines()) if series[0] != "#"}


def is_count(series: str) -> bool:
    name = series.partition("{")[0]
    return name not in BY_NAME or BY_NAME[name].kind != "gauge"


def restarted(board: Board, worker: int) -> Slot:
    slot = Board(board.fd, board.workers).slots[worker]
    slot.zero_gauges()
    return slot


counted = st.tuples(st.just("count"), st.integers(0, WORKERS), st.integers(1, 2**40))
observed = st.tuples(st.just("observe"), st.integers(0, WORKERS), st.integers(0, 20))
killed = st.tuples(st.just("kill"), st.integers(0, WORKERS - 1), st.just(0))


@settings(max_examples=50, deadline=None)  # each step is a scrape
@given(st.lists(counted | observed | killed, max_size=30))
def test_no_count_goes_backwards_or_is_lost_however_workers_are_killed(steps: list[tuple[str, int, int]]) -> None:
    board = Board.create(WORKERS)
    lives, requests, acks, seen = list(board.slots), 0, 0, [lines(board)]
    for what, worker, amount in steps:
        match what:
            case "count":
                lives[worker].counter(*REQUESTS).add(amount)
                requests += amount
            case "observe":
                lives[worker].histogram("sluicegate_ack_seconds", "syncs").observe(amount)
                lives[worker].gauge("sluicegate_connections").set(amount)
                acks += 1
            case _:
                lives[worker] = restarted(board, worker)
                assert lines(board)[f'sluicegate_connections{{worker="{worker}"}}'] == 0
        seen.append(lines(board))
    for before, after in pairwise(seen):
        assert before.keys() == after.keys()
        assert all(after[series] >= value for series, value in before.items() if is_count(series))
    assert seen[-1]['sluicegate_requests_total{route="syncs",status="202"}'] == requests
    assert seen[-1]['sluicegate_ack_seconds_count{topic="syncs"}'] == acks


def test_a_thousand_restarts_leave_no_series_behind() -> None:
    """Nor a line of text: only numbers differ."""
    board = Board.create(workers=8)
    before = scraped(board)
    for life in range(1_000):
        slot = restarted(board, life % 8)
        slot.counter(*REQUESTS).add()
        slot.gauge("sluicegate_worker_state").set(2)
    after = scraped(board)
    assert before.keys() == after.keys()
    assert after["sluicegate_requests_total", (("route", "syncs"), ("status", "202"))] == 1_000
