"""Bare aiohttp: read the body, answer 202.  The floor every ratio is taken to."""

import uvloop
from aiohttp import web

from benchmarks.peers import arguments, listen


async def accept(request: web.Request) -> web.Response:
    """Read everything, keep nothing."""
    await request.read()
    return web.Response(status=202)


async def serve(port: int) -> None:
    """Listen until the process is ended."""
    app = web.Application()
    app.router.add_post("/v1/syncs", accept)
    await listen(app, port)


if __name__ == "__main__":
    uvloop.run(serve(arguments(__doc__).port))
