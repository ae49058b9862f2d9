"""When acks have stopped, the spool fills and people are refused, from all workers together."""

import pytest

from gateway.board import Board
from gateway.core.light import INDEX
from gateway.spool.gauges import SpoolGauges
from gateway.watch import Load, Spooled, Totals, Watch, fills, load_of
from tests.simulated_disk import SimulatedDisk
from tests.spools import opened, some


@pytest.mark.parametrize(
    ("before", "now", "want"),
    [
        (Totals(2, 0, 10, 5), Totals(2, 0, 10, 5), Load(acks_stopped=False, sheds=False)),  # a quiet night
        (Totals(2, 0, 10, 5), Totals(2, 2, 20, 5), Load(acks_stopped=True)),  # slow in all: their requests are refused
        (Totals(2, 0, 10, 5), Totals(2, 1, 11, 5), Load()),  # one stalls, another is acknowledged
        (Totals(2, 0, 10, 5), Totals(2, 1, 10, 5), Load(acks_stopped=True)),  # the other had nothing to send
        (Totals(2, 0, 10, 5), Totals(0, 0, 10, 5), Load()),  # nobody serves: nobody knows
        (Totals(2, 0, 10, 5), Totals(2, 0, 11, 6), Load(sheds=True)),
    ],
)
def test_acks_stopped_from_the_sum_of_all(before: Totals, now: Totals, want: Load) -> None:
    assert load_of(before, now) == want


def test_the_board_is_judged_over_a_second() -> None:
    board = Board.create(workers=3)
    first, second, dead = board.slots[:-1]
    for slot in (first, second):
        slot.gauge("sluicegate_worker_state").set(2)
    dead.gauge("sluicegate_kafka_reason").set(INDEX["connecting"])  # starting: its word does not count yet
    watch = Watch(board, stall_s=1.0, window_s=5.0)
    first.gauge("sluicegate_unacked_age_seconds").set(1.5)
    assert watch.look(0.0) == Load()  # nothing to compare with
    first.counter("sluicegate_overload_refused_total", "syncs").add()
    assert watch.look(1.0) == Load(acks_stopped=True)
    second.counter("sluicegate_kafka_batches_total", "late").add()
    second.counter("sluicegate_overload_refused_total", "signups").add()
    assert watch.look(1.2) == Load(acks_stopped=True)  # too soon for another judgement
    assert watch.look(2.0) == Load(sheds=True)
    second.gauge("sluicegate_kafka_reason").set(INDEX["topic-missing"])
    second.counter("sluicegate_kafka_batches_total", "acked").add()
    assert watch.look(3.0) == Load(acks_stopped=True)


EMPTY = Spooled(serving=2, fullest=0.0, records=0, oldest_s=0, taken=1_000)
HELD = EMPTY._replace(fullest=0.2, records=1_000, oldest_s=60)


@pytest.mark.parametrize(
    ("before", "now", "want"),
    [
        (EMPTY, EMPTY, False),
        # Little is left, whatever else.
        (HELD, HELD._replace(fullest=0.7, taken=2_000), True),
        (HELD, HELD._replace(fullest=0.699, taken=2_000), False),
        (HELD._replace(fullest=0.9), HELD._replace(fullest=0.8, records=500), True),
        # Of 1,000 taken so many stay.
        (HELD, HELD._replace(records=2_000, taken=2_000), True),
        (HELD, HELD._replace(records=1_250, taken=2_000), True),
        (HELD, HELD._replace(records=1_249, taken=2_000), False),
        (HELD, HELD._replace(records=1_042, taken=2_000), False),  # one partition of 24 fails
        # An outage is over: it gets smaller, or nothing comes.
        (HELD, HELD._replace(records=900, taken=2_000), False),
        (HELD, HELD, False),
        (HELD, HELD._replace(records=9_000, taken=2_000), False),  # a directory was adopted
        (HELD, HELD._replace(records=1_001), False),
        # Insurance for batches that are late.
        (EMPTY, EMPTY._replace(records=500, oldest_s=4.9, taken=1_500), False),
        (EMPTY, EMPTY._replace(records=500, oldest_s=5.0, taken=1_500), True),
        # A worker began with what its directory held, or ended.
        (HELD._replace(serving=1), HELD._replace(records=2_000, taken=2_000), False),
        (HELD._replace(serving=3), HELD._replace(records=2_000, taken=2_000), False),
    ],
)
def test_the_spool_fills(before: Spooled, now: Spooled, want: bool) -> None:
    assert fills(before, now, window_s=5.0) is want


def test_the_spool_is_watched_over_five_seconds_in_all_workers_that_serve() -> None:
    board = Board.create(workers=3)
    for slot in board.slots[:2]:
        slot.gauge("sluicegate_worker_state").set(2)
        slot.gauge("sluicegate_spool_max_bytes").set(1e9)
    first, second, starting, _ = board.slots
    starting.gauge("sluicegate_spool_records").set(1e6)
    watch = Watch(board, stall_s=1.0, window_s=5.0)

    def second_of(records: float, kept: int, at_s: float) -> bool:
        first.gauge("sluicegate_spool_records").set(records)
        second.gauge("sluicegate_spool_oldest_seconds").set(60.0)
        first.counter("sluicegate_events_total", "syncs", "durable").add(100 - kept)
        second.counter("sluicegate_events_total", "signups", "spooled").add(kept)
        return watch.look(at_s).spool_fills

    assert not second_of(0, 0, 0.0)
    assert [second_of(40.0 * at_s, 40, at_s) for at_s in range(1, 6)] == [True] * 5
    # One second alone does not end it, and five of which none grows do.
    assert [second_of(200.0, 0, at_s) for at_s in range(6, 11)] == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("waiting", "most", "want"),
    [
        ((0, 0), (1e6, 1e6), False),
        ((699_999, 699_999), (1e6, 1e6), False),
        ((700_000, 0), (1e6, 1e6), True),  # one of them is enough
        ((0, 700_000), (0, 1e6), True),  # beside one that has none
        ((0, 0), (0, 0), False),  # none has one
    ],
)
def test_the_fullest_worker_that_serves_is_judged(waiting: tuple[float, float], most: tuple[float, float], want: bool) -> None:
    board = Board.create(workers=3)
    for slot, bytes_waiting, bytes_max in zip(board.slots, waiting, most, strict=False):
        slot.gauge("sluicegate_worker_state").set(2)
        slot.gauge("sluicegate_spool_waiting_bytes").set(bytes_waiting)
        slot.gauge("sluicegate_spool_max_bytes").set(bytes_max)
        slot.gauge("sluicegate_spool_bytes").set(bytes_max)  # what only stands there keeps nobody out
    ended = board.slots[2]
    ended.gauge("sluicegate_spool_waiting_bytes").set(1e6)
    ended.gauge("sluicegate_spool_max_bytes").set(1e6)
    watch = Watch(board, stall_s=1.0, window_s=5.0)
    assert watch.look(0.0).spool_fills is want


async def test_a_dead_partition_does_not_keep_the_door_shut_after_an_outage() -> None:
    """Its few records keep every segment on the disk; what waits is what the door looks at."""
    board, disk = Board.create(workers=1), SimulatedDisk()
    slot, spool = board.slots[0], await opened(disk)
    slot.gauge("sluicegate_worker_state").set(2)
    bytes_max = 200_000
    gauges, watch = SpoolGauges(spool, bytes_max, slot), Watch(board, stall_s=1.0, window_s=5.0)
    others = []
    for n in range(100):
        others.append(await spool.append("syncs", 0, some(n, 1, 1_500)))
        if n % 4 == 0:
            await spool.append("syncs", 3, some(1_000 + n, 1, 1))
    gauges.show()
    assert watch.look(0.0).spool_fills
    for sequences in others:
        spool.settle(sequences)
    await spool._idle()
    gauges.show()
    assert spool.size_bytes >= 0.7 * bytes_max
    assert not watch.look(1.0).spool_fills
    await spool.close()
