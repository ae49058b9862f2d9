"""The operators' port: health, metrics, the screen, and the calls that act on the room.

    GET  /livez, /readyz, /metrics                     open to whoever reaches the port: counts and states, nobody's data
    GET  /assets/…                                     the page's files, without any data
    GET  /, /api/status, /api/stream, /api/history     who may look (access.py)
    GET  /api/audit; GET, POST /api/rooms/{room}       the operators' token or a session
    POST, DELETE /api/session                          the token → a session, and its end

/livez says that the supervisor runs.  /readyz says whether this process can answer: not starting, draining or wedged.
Dependencies are lights in its body, not readiness: a gateway that refuses politely is worth more than none.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from gateway import logs
from gateway.acts import Audit
from gateway.board import Board
from gateway.errors import Refusal
from gateway.ops.access import Access, check_site, cookie
from gateway.ops.assets import PAGE, Assets
from gateway.ops.exposition import Exposition
from gateway.ops.lights import lights as lights_of
from gateway.ops.lights import shown
from gateway.ops.rooms import BODY_BYTES_MAX, PATH, RoomCalls, body_of
from gateway.ops.screen import Screen, table
from gateway.ops.stream import VIEWERS_MAX
from gateway.reply import PROBLEM_JSON, problem_json

_KEEPALIVE_S: Final = 75.0  # scrapers come every 15 or 30 s; aiohttp would keep a forgotten connection for an hour
CONNECTIONS_MAX: Final = VIEWERS_MAX + 500  # viewers, and those who scrape, look and act; who only connects takes nobody's descriptors
_SHUTDOWN_S: Final = 2.0  # for answers on their way; streams are ended
_HISTORY_S: Final = 600
_HISTORY_S_MAX: Final = 86_400
_AUDIT: Final = 100
_AUDIT_MAX: Final = 1_000


class OpsPort:
    """What the port answers.

    Args:
        audit: the list of acts, shown to who may act.
    """

    def __init__(self, board: Board, screen: Screen, rooms: RoomCalls, access: Access, audit: Audit) -> None:
        self._exposition = Exposition(board)
        self._screen = screen
        self._rooms = rooms
        self._access = access
        self._audit = audit
        self._assets = Assets()
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None

    def application(self) -> web.Application:
        """All of it."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_refusals])
        app.on_response_prepare.append(_sign)
        app.on_shutdown.append(self._screen.viewers.close)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/", self._page)
        app.router.add_get("/assets/{name}", self._asset)
        app.router.add_get("/api/status", self._status)
        app.router.add_get("/api/stream", self._stream, allow_head=False)
        app.router.add_get("/api/history", self._history)
        app.router.add_get("/api/audit", self._entries)
        app.router.add_post("/api/session", self._sign_in)
        app.router.add_delete("/api/session", self._sign_out)
        app.router.add_route("*", PATH, self._rooms.handle)
        return app

    def runner(self) -> web.AppRunner:
        """The same, ready to be given an address."""
        return web.AppRunner(self.application(), access_log=None, keepalive_timeout=_KEEPALIVE_S, shutdown_timeout=_SHUTDOWN_S)

    async def open(self, host: str, port: int) -> int:
        """Answer there; returns the port, which 0 leaves to the system.  Raises OSError."""
        self._runner = self.runner()
        await self._runner.setup()
        server = self._runner.server
        assert server is not None  # it is set up
        self._listener = await asyncio.get_running_loop().create_server(capped(server, CONNECTIONS_MAX), host, port)
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Answer what was asked, and no more."""
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # Open

    async def _livez(self, _: web.Request) -> web.Response:
        return _json({"live": True})

    async def _readyz(self, _: web.Request) -> web.Response:
        reading = self._screen.reading()
        now = reading.readiness
        workers = [{"worker": one.worker, "state": one.state, "starts": one.starts} for one in now.workers]
        lights = {name: shown(reason) for name, reason in lights_of(reading).items()}
        return _json({"ready": not now.why, "why": now.why or None, "workers": workers, "lights": lights}, 503 if now.why else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._exposition.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _asset(self, request: web.Request) -> web.Response:
        return self._assets.answer(request, request.match_info["name"])

    # For who may look

    async def _page(self, request: web.Request) -> web.Response:
        """Who may not look gets it too: it asks for the token, and shows nothing without."""
        try:
            self._access.check_read(request)
        except Refusal:
            return self._assets.answer(request, PAGE, status=401)
        return self._assets.answer(request, PAGE)

    async def _status(self, request: web.Request) -> web.Response:
        self._access.check_read(request)
        if self._screen.frame is None:
            self._screen.look()
        return web.Response(body=msgspec.json.encode(self._screen.frame), headers=_JSON)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self._access.check_read(request)
        return await self._screen.viewers.serve(request)

    async def _history(self, request: web.Request) -> web.Response:
        self._access.check_read(request)
        seconds = _number(request, "seconds", _HISTORY_S, _HISTORY_S_MAX)
        response = web.Response(body=table(self._screen.history.since(self._screen.now_ms() - seconds * 1_000)), headers=_JSON)
        response.enable_compression()
        return response

    # For who may act

    async def _entries(self, request: web.Request) -> web.Response:
        self._access.check(request)
        count = _number(request, "limit", _AUDIT, _AUDIT_MAX)
        return _json({"entries": await asyncio.to_thread(self._audit.last, count)})

    async def _sign_in(self, request: web.Request) -> web.Response:
        try:
            check_site(request)
            if request.content_type != "application/json":
                raise Refusal("unsupported-media-type", "want Content-Type: application/json")
            try:
                said = msgspec.json.decode(await body_of(request), type=dict[str, str])
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                raise Refusal("invalid-json", 'want {"token": "…"}') from exc
            self._access.check_token(said.get("token", ""))
        except Refusal as refusal:
            self._rooms.refused(request, refusal)
            raise
        return web.Response(status=204, headers={"Set-Cookie": cookie(self._access.session(), is_secure=_is_tls(request))})

    async def _sign_out(self, request: web.Request) -> web.Response:
        try:
            check_site(request)
        except Refusal as refusal:
            self._rooms.refused(request, refusal)
            raise
        return web.Response(status=204, headers={"Set-Cookie": cookie("", is_secure=_is_tls(request))})


_JSON: Final = {"Content-Type": "application/json"}


class _TooMany(asyncio.Protocol):
    """A connection that is ended as it comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), transport
        transport.abort()


def capped(server: web.Server, most: int) -> Callable[[], asyncio.BaseProtocol]:
    """The same, for so many connections at once: silent ones would leave this process without a descriptor for its own work."""
    return lambda: server() if len(server.connections) < most else _TooMany()


@web.middleware
async def _refusals(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as exc:
        refusal = exc
    except web.HTTPException as exc:  # aiohttp's own: no such path, no such method
        if exc.status < 400:
            raise
        code = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}.get(exc.status, "bad-request")
        refusal = Refusal(code, exc.reason, headers=[("Allow", exc.headers["Allow"])] if "Allow" in exc.headers else ())
    except Exception as exc:  # noqa: BLE001 - the last door: else aiohttp answers, and nobody hears of it
        logs.error("an operator's call failed", exc=exc, call=f"{request.method} {request.path}")
        refusal = Refusal("internal", "an error that is ours")
    headers = {"Content-Type": PROBLEM_JSON, **dict(refusal.headers)}
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    return web.Response(status=refusal.problem.status, body=problem_json(refusal), headers=headers)


async def _sign(_: web.Request, response: web.StreamResponse) -> None:
    """One name on every answer, also on aiohttp's own 404 and 405, which would tell its version and Python's."""
    response.headers["Server"] = "sluicegate"
    response.headers.setdefault("Cache-Control", "no-store")


def _number(request: web.Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most and len(text) <= 9):
        raise Refusal("invalid", "see errors", members={"errors": [{"pointer": f"?{name}", "detail": f"want a number from 1 to {most}"}]})
    return int(text)


def _is_tls(request: web.Request) -> bool:
    """As far as the proxy in front says; a cookie that is marked for TLS alone would be lost without it."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"


def _json(body: Mapping[str, object], status: int = 200) -> web.Response:
    return web.Response(status=status, text=json.dumps(body), headers=_JSON)
