"""What Prometheus reads: sums over processes for counts, one series per worker for gauges."""

from prometheus_client.parser import text_string_to_metric_families

from gateway.board import Board
from gateway.metrics import CATALOGUE
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
