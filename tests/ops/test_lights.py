"""One rule for every light."""

import pytest

from gateway.core.light import INDEX, REASONS
from gateway.metrics import DEPENDENCIES
from gateway.ops.lights import lights, not_able, shown
from gateway.ops.readings import Readiness, Seating
from tests.ops.test_status import Line
from tests.screens import WELL, board_seeing, reading, room, seating


def test_there_is_one_for_each_dependency() -> None:
    assert tuple(lights(reading(board_seeing("ok")))) == DEPENDENCIES


@pytest.mark.parametrize(
    ("seen", "probed", "wanted"),
    [
        (("ok", "ok"), "ok", "ok"),
        (("ok", "slow"), "ok", "slow"),
        (("connecting", "slow"), "ok", "connecting"),
        (("not-asked", "ok"), "ok", "ok"),
        (("not-asked",), "not-asked", "not-asked"),
        (("ok",), "not-asked", "ok"),
        (("ok",), "kafka-silent", "kafka-silent"),
        (("slow",), "kafka-away", "kafka-away"),
        (("single-copy-allowed",), "ok", "single-copy-allowed"),
    ],
)
def test_the_machine_shows_the_worst_that_anybody_found(seen: tuple[str, ...], probed: str, wanted: str) -> None:
    assert lights(reading(board_seeing(*seen), probed=WELL._replace(kafka=probed)))["kafka"].code == wanted


def test_redis_too() -> None:
    board = board_seeing("redis-ok", "redis-away", name="redis")
    assert lights(reading(board))["redis"].code == "redis-away"
    assert lights(reading(board_seeing(), probed=WELL._replace(redis="redis-slow")))["redis"].code == "redis-slow"


@pytest.mark.parametrize(
    ("workers", "why", "wanted"),
    [
        ([seating(0), seating(1)], "", "workers-ok"),
        ([seating(0), seating(1, is_ready=False, state="stopped")], "starting", "workers-starting"),
        ([seating(0), seating(1, is_ready=False, state="stopped")], "", "worker-ended"),
        ([seating(0), seating(1, ended_s=4.9)], "", "worker-ended"),
        ([seating(0), seating(1, ended_s=5.0)], "", "workers-ok"),
        ([seating(0), seating(1, silent_s=1.6)], "", "worker-silent"),
        ([seating(0), seating(1, silent_s=1.5)], "", "workers-ok"),
        ([seating(0), seating(1, silent_s=60.0, is_ready=False, state="starting")], "", "worker-ended"),
        ([seating(0, is_ready=False), seating(1, silent_s=2.0)], "", "no-worker"),
        ([seating(0, is_ready=False)], "no worker answers", "no-worker"),
    ],
)
def test_workers(workers: list[Seating], why: str, wanted: str) -> None:
    assert lights(reading(board_seeing(*["ok"] * len(workers)), readiness=Readiness(why, workers)))["workers"].code == wanted


def test_what_a_frozen_worker_said_last_is_no_news_of_kafka() -> None:
    board = board_seeing("connecting", "ok")
    assert lights(reading(board, readiness=Readiness("", [seating(0, silent_s=3.0), seating(1)])))["kafka"].code == "ok"
    assert lights(reading(board))["kafka"].code == "connecting"


def test_the_first_in_trouble_is_named() -> None:
    assert not_able([seating(0), seating(1, silent_s=9.0), seating(2, ended_s=1.0)]) == seating(1, silent_s=9.0)
    assert not_able([seating(0), seating(1)]) is None


def test_the_lines_store() -> None:
    board, sign = board_seeing("ok"), Line().sign(1.0)
    assert lights(reading(board))["room"].code == "no-room"
    rows = [
        (room(sign), "room-ok"),
        (room(sign, age_s=2.0), "room-ok"),
        (room(sign, age_s=2.1), "room-away"),
        (room(sign, is_away=True), "room-away"),
        (room(None), "not-asked"),
        (room(None, age_s=1e9), "not-asked"),
        (room(None, is_away=True), "room-away"),
    ]
    for seen, wanted in rows:
        assert lights(reading(board, room=seen))["room"].code == wanted
    two = board_seeing("ok", "ok")
    two.slots[1].gauge("sluicegate_room_away").set(1)
    assert lights(reading(two, room=room(sign)))["room"].code == "room-away"


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (("no-spool", "no-spool"), "no-spool"),
        (("not-asked", "spool-ok"), "spool-ok"),
        (("spool-ok", "spool-used"), "spool-used"),
        (("spool-full", "spool-used"), "spool-full"),
        (("spool-aside", "spool-ok"), "spool-aside"),
        (("spool-failed", "spool-ok"), "spool-failed"),
    ],
)
def test_the_spool_too(seen: tuple[str, ...], wanted: str) -> None:
    assert lights(reading(board_seeing(*seen, name="spool")))["spool"].code == wanted


def test_a_light_is_shown_with_its_reason_in_words() -> None:
    assert shown(REASONS[INDEX["slow"]]) == {"colour": "amber", "reason": "slow", "says": REASONS[INDEX["slow"]].says}
