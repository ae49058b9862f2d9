"""When acks have stopped and people are refused, from all workers together."""

import pytest

from gateway.board import Board
from gateway.core.light import INDEX
from gateway.watch import Load, Totals, Watch, load_of


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
    watch = Watch(board, stall_s=1.0)
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
