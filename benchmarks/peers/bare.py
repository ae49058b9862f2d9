"""Bare aiohttp: read the body, answer 202; or answer what lies ready.  The floor every ratio is taken to."""

from typing import Final

import uvloop
from aiohttp import web

from benchmarks.peers import arguments, listen

PLACE: Final = b'{"state":"waiting","ahead":2000,"p50_s":19000,"p90_s":20000,"poll_after_s":4.0,"sign_age_ms":120}'


async def accept(request: web.Request) -> web.Response:
    """Read everything, keep nothing."""
    await request.read()
    return web.Response(status=202)


async def look(_request: web.Request) -> web.Response:
    """As many bytes as somebody in line is told."""
    return web.Response(body=PLACE, content_type="application/json")


async def serve(port: int) -> None:
    """Listen until the process is ended."""
    app = web.Application()
    app.router.add_post("/v1/syncs", accept)
    app.router.add_post("/v1/rooms/bench/tickets", accept)
    app.router.add_get("/v1/rooms/bench/place", look)
    await listen(app, port)


if __name__ == "__main__":
    uvloop.run(serve(arguments(__doc__).port))
