"""What is answered to a receipt."""

from base64 import urlsafe_b64encode
from typing import Final

import pytest

from gateway.board import Board
from gateway.core.kept import InKafka, InSpool
from gateway.errors import Refusal
from gateway.whereabouts import Whereabouts

SECRET: Final = b"s" * 32
TOPICS: Final = {"syncs": "syncs.v1", "signups": "signups.v1"}


def test_what_is_in_kafka_is_named_by_topic_partition_and_offsets() -> None:
    one = Whereabouts(SECRET, (), TOPICS)
    found = one.of(one.receipt(InKafka("signups", 3, 17, 19)).decode())
    assert found == {"state": "kafka", "topic": "signups.v1", "partition": 3, "first_offset": 17, "last_offset": 19}


def test_where_kafka_did_not_say_offsets_neither_do_we() -> None:
    one = Whereabouts(SECRET, (), TOPICS)
    assert one.of(one.receipt(InKafka("syncs", 0, -1, -1)).decode()) == {"state": "kafka", "topic": "syncs.v1", "partition": 0}


def test_any_worker_answers_for_any_spool_that_is_heard_of() -> None:
    board = Board.create(workers=2)
    workers = [Whereabouts(SECRET, Board(board.fd, workers=2).watermarks, TOPICS) for _ in range(2)]
    receipts = [workers[0].receipt(InSpool(spool, 41)).decode() for spool in (1, 2, 3)]
    assert [workers[1].of(one)["state"] for one in receipts] == ["unknown"] * 3
    board.slots[0].watermarks.put({1: 41})
    board.abroad.put({2: 42})
    for worker in workers:
        assert [worker.of(one)["state"] for one in receipts] == ["spool", "kafka", "unknown"]
    board.slots[0].zero_gauges()
    assert workers[1].of(receipts[0]) == {"state": "spool", "spool": "0000000000000001", "last_sequence": 41}, "its worker is just starting anew"


@pytest.mark.parametrize("text", ["", "x", "A" * 44, "A" * 10_000, urlsafe_b64encode(b" " * 33).decode(), "%00", "../../etc/passwd", "é" * 44])
def test_what_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        Whereabouts(SECRET, (), TOPICS).of(text)
    assert (refused.value.problem.code, refused.value.problem.status) == ("receipt-invalid", 404)
