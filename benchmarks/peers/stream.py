"""A stream as one would write it first: each viewer has a loop that serialises the frame and writes it, once a second.

PUT /frame says what is shown.
"""

import asyncio
import json
import time
from typing import Any, Final

import uvloop
from aiohttp import web

from benchmarks.peers import arguments, listen

PERIOD_S: Final = 1.0
HEADERS: Final = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}


class Peer:
    """What is shown, and to whom."""

    def __init__(self) -> None:
        self._frame: dict[str, Any] = {}

    async def put(self, request: web.Request) -> web.Response:
        """Another frame."""
        self._frame = await request.json()
        return web.Response(status=204)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """One viewer."""
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        while True:
            frame = {**self._frame, "at_ms": time.time_ns() // 1_000_000}
            await response.write(f"id: {frame['at_ms']}\nevent: status\ndata: {json.dumps(frame)}\n\n".encode())
            await asyncio.sleep(PERIOD_S)


async def serve(port: int) -> None:
    """Listen until the process is ended."""
    peer, app = Peer(), web.Application()
    app.router.add_put("/frame", peer.put)
    app.router.add_get("/api/stream", peer.stream)
    await listen(app, port)


if __name__ == "__main__":
    uvloop.run(serve(arguments(__doc__).port))
