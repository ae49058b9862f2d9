"""Health: this process answers or it does not; what it depends on are lights."""

import pytest
from aiohttp.test_utils import TestClient, TestServer

from gateway.board import Board
from gateway.config import Room
from gateway.core.light import INDEX
from gateway.ops.rooms import RoomCalls
from gateway.ops.server import Readiness, application, lights, runner

NO_ROOM = RoomCalls(Room, None, lambda: "")


def board_seeing(*reasons: str) -> Board:
    board = Board.create(workers=len(reasons))
    for slot, reason in zip(board.slots, reasons, strict=False):
        slot.gauge("sluicegate_kafka_reason").set(INDEX[reason])
    return board


async def answer(readiness: Readiness, path: str, board: Board) -> tuple[int, str, dict[str, object]]:
    async with TestClient(TestServer(application(board, lambda: readiness, NO_ROOM))) as client, client.get(path) as got:
        assert (got.headers["Server"], got.headers["Cache-Control"]) == ("sluicegate", "no-store")
        is_json = got.content_type == "application/json"
        return got.status, got.content_type, await got.json() if is_json else {"text": await got.text()}


async def test_ready_whatever_colour_the_lights_have() -> None:
    for reason, colour in (("ok", "green"), ("slow", "amber"), ("connecting", "red"), ("not-asked", "grey")):
        status, _, body = await answer(Readiness("", []), "/readyz", board_seeing(reason))
        assert (status, body["ready"], body["why"]) == (200, True, None)
        assert body["lights"]["kafka"]["colour"] == colour  # type: ignore[index]


async def test_not_ready_says_why() -> None:
    status, _, body = await answer(Readiness("draining", [{"worker": 0}]), "/readyz", board_seeing("ok"))
    assert (status, body["ready"], body["why"], body["workers"]) == (503, False, "draining", [{"worker": 0}])


async def test_alive_even_when_not_ready() -> None:
    assert (await answer(Readiness("draining", []), "/livez", board_seeing("ok")))[0] == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/livez", 405), ("GET", "/livez", 200)])
async def test_every_answer_has_our_name_and_not_the_librarys(method: str, path: str, status: int) -> None:
    app = application(board_seeing("ok"), lambda: Readiness("", []), NO_ROOM)
    async with TestClient(TestServer(app)) as client, client.request(method, path) as got:
        assert (got.status, got.headers.getall("Server"), got.headers.getall("Cache-Control")) == (status, ["sluicegate"], ["no-store"])


async def test_a_forgotten_connection_is_closed() -> None:
    """aiohttp's own default is an hour."""
    ops = runner(board_seeing("ok"), lambda: Readiness("", []), NO_ROOM)
    await ops.setup()
    assert ops.server is not None
    assert ops.server().keepalive_timeout == 75
    await ops.cleanup()


async def test_metrics_are_prometheus_text() -> None:
    status, content_type, body = await answer(Readiness("", []), "/metrics", board_seeing("ok"))
    assert (status, content_type) == (200, "text/plain")
    assert "# TYPE sluicegate_requests_total counter" in str(body["text"])


def test_the_machine_shows_its_worst_worker() -> None:
    rows = [(("ok", "ok"), "ok"), (("ok", "slow"), "slow"), (("connecting", "slow"), "connecting"), (("not-asked", "ok"), "ok")]
    for seen, shown in rows:
        assert lights(board_seeing(*seen))["kafka"]["reason"] == shown  # type: ignore[index]
