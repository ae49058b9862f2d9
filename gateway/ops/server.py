"""GET /livez, /readyz, /metrics on the operators' port, and the room calls (rooms.py).

The first three are open to whoever reaches the port: they change nothing, and tell
counts and states, nobody's data.  The room calls want the operators' token.  /livez says that the supervisor runs.  /readyz
says whether this process can answer: not starting, draining or wedged.
Dependencies are lights in its body, not readiness: a gateway that refuses
politely is worth more than none.
"""

import json
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from gateway.board import Board
from gateway.core.light import worst
from gateway.ops.exposition import Exposition
from gateway.ops.rooms import BODY_BYTES_MAX, PATH, RoomCalls

_KEEPALIVE_S: Final = 75.0  # scrapers come every 15 or 30 s; aiohttp would keep a forgotten connection for an hour
STATES: Final = ("stopped", "starting", "serving", "draining")


class Readiness(NamedTuple):
    """What the supervisor knows; `why` is empty when ready."""

    why: str
    workers: list[dict[str, object]]


def lights(board: Board) -> dict[str, object]:
    """Every dependency's light, its reason's code and sentence."""
    seen = {name: worst(int(slot.gauge(f"sluicegate_{name}_reason").value) for slot in board.slots[:-1]) for name in ("kafka", "redis")}
    return {name: {"colour": r.colour.name.lower(), "reason": r.code, "says": r.says} for name, r in seen.items()}


def application(board: Board, readiness: Callable[[], Readiness], rooms: RoomCalls) -> web.Application:
    """The operators' port."""
    exposition = Exposition(board)

    async def livez(_: web.Request) -> web.Response:
        return _json(200, {"live": True})

    async def readyz(_: web.Request) -> web.Response:
        now = readiness()
        body = {"ready": not now.why, "why": now.why or None, "workers": now.workers, "lights": lights(board)}
        return _json(503 if now.why else 200, body)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exposition.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.on_response_prepare.append(_sign)
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.router.add_route("*", PATH, rooms.handle)
    return app


def runner(board: Board, readiness: Callable[[], Readiness], rooms: RoomCalls) -> web.AppRunner:
    """The same, ready to be given an address."""
    return web.AppRunner(application(board, readiness, rooms), access_log=None, keepalive_timeout=_KEEPALIVE_S)


async def _sign(_: web.Request, response: web.StreamResponse) -> None:
    """One name on every answer, also on aiohttp's own 404 and 405, which would tell its version and Python's."""
    response.headers["Server"] = "sluicegate"
    response.headers["Cache-Control"] = "no-store"


def _json(status: int, body: Mapping[str, object]) -> web.Response:
    return web.Response(status=status, text=json.dumps(body), headers={"Content-Type": "application/json"})
