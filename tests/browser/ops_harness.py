"""The operators' port as its page knows it: what a test wants it to show, and what the page asked of it.

A second passes each second of this server, and `at_ms` is its own: a test may start it anywhere in time.
"""

import contextlib
import json
import socket
import threading
from collections import deque
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import sin
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from gateway.ops.frame import POINT
from tests.browser.ops_frames import busy

DASHBOARD: Final = Path(__file__).parents[2] / "gateway/ops/dashboard"
UPLOT: Final = DASHBOARD / "node_modules/uplot/dist"
# What the page is made of: name below /assets/ → file.
ASSETS: Final = {path.name: path for path in sorted(DASHBOARD.iterdir()) if path.suffix in {".js", ".css", ".svg"} or path.name == "words.json"} | {
    name: UPLOT / name for name in ("uPlot.iife.min.js", "uPlot.min.css")
}
TOKEN: Final = "an-operators-token"
CSP: Final = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml", ".html": "text/html; charset=utf-8"}
_BEAT_S: Final = 1.0
Frame = dict[str, Any]


class Ops:
    """One gateway's operators' port."""

    def __init__(self) -> None:
        self.frame: Frame = busy()
        self.rows: list[list[Any]] = []  # of history
        self.entries: list[dict[str, Any]] = []  # of the log
        self.audit: list[dict[str, Any]] = []  # newest first
        self.answers: deque[tuple[int, dict[str, Any]]] = deque()  # to acts, in turn; then: in force
        self.acts: list[dict[str, Any]] = []  # exactly what was posted
        self.asked: list[str] = []  # "GET /api/stream?last=…", in order
        self.missing: set[str] = set()  # assets that are not there
        self.is_closed = False  # bound elsewhere than loopback: nothing without a session
        self.is_silent = False  # connected, and says nothing
        self.is_refusing = False  # a proxy that answers for it: the stream is 503
        self._lock = threading.RLock()
        self._viewers: list[SimpleQueue[bytes | None]] = []
        self._sockets: set[socket.socket] = set()
        self._end = threading.Event()
        self._port = 0
        self.start()
        self._heart = threading.Thread(target=self._beat)
        self._heart.start()
        self.url = f"http://127.0.0.1:{self._port}/"

    # Up and down

    def start(self) -> None:
        ops = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                ops._sockets.add(self.connection)

            def do_GET(self) -> None:
                ops.answer(self, b"")

            def do_POST(self) -> None:
                ops.answer(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))

            do_DELETE = do_POST  # noqa: N815  http.server's name

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name there
                """Not on the terminal."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A page that goes away in the middle is no news."""

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        """As a process that ends: every connection is gone at once, and so is what it knew."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        with self._lock:
            for viewer in self._viewers:
                viewer.put(None)
            self._viewers.clear()
        for one in list(self._sockets):
            with contextlib.suppress(OSError):  # it was gone already
                one.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def close(self) -> None:
        self._end.set()
        self._heart.join()
        self.stop()

    # Time

    def _beat(self) -> None:
        while not self._end.wait(_BEAT_S):
            if not self.is_silent:
                self.tick()

    def tick(self, **changes: Any) -> int:
        """A second passes; returns when it is now."""
        with self._lock:
            self.frame |= changes
            self.frame["at_ms"] += 1000
            frame = deepcopy(self.frame)
            self.rows.append([_at(frame, path) for path in POINT])
            self._send("status", frame)
            at_ms: int = frame["at_ms"]
            return at_ms

    def lives(self, seconds: int) -> None:
        """Time in which nobody is told."""
        with self._lock:
            viewers, self._viewers = self._viewers, []
            for _ in range(seconds):
                self.tick()
            self._viewers = viewers

    def says(self, kind: str, **more: Any) -> None:
        """A line more in the log."""
        with self._lock:
            entry = {"seq": len(self.entries) + 1, "at_ms": self.frame["at_ms"], "kind": kind, **more}
            self.entries.append(entry)
            self._send("log", {"entries": [entry]})

    def forgets(self) -> None:
        """A new process: the ring and the log begin again."""
        self.rows, self.entries = [], []
        self.tick()
        self.frame["started_ms"] = self.frame["at_ms"]
        self.says("started")

    def count(self, what: str) -> int:
        """How often something that begins so was asked."""
        return sum(one.startswith(what) for one in self.asked)

    # Answers

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        url = urlsplit(request.path)
        self.asked.append(f"{request.command} {request.path}")
        is_signed_in = "sluicegate-ops=open" in (request.headers.get("Cookie") or "")
        may_look = is_signed_in or not self.is_closed
        if url.path == "/":
            _say(request, 200 if may_look else 401, (DASHBOARD / "index.html").read_bytes(), ".html", ("Content-Security-Policy", CSP))
        elif url.path.startswith("/assets/"):
            self._asset(request, url.path.removeprefix("/assets/"))
        elif url.path == "/api/session":
            self._session(request, body)
        elif not (may_look if url.path in {"/api/status", "/api/stream", "/api/history"} else is_signed_in):
            _problem(request, 401, {"code": "token-missing"})
        elif request.command == "POST":
            self._act(request, json.loads(body))
        else:
            self._look(request, url.path, {name: values[0] for name, values in parse_qs(url.query).items()})

    def _look(self, request: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        if path == "/api/stream" and self.is_refusing:
            _problem(request, 503, {})
        elif path == "/api/stream":
            self._stream(request, query.get("last") or request.headers.get("Last-Event-ID") or "")
        elif path == "/api/history":
            _json(request, {"fields": POINT, "rows": self._since(self.frame["at_ms"] - int(query["seconds"]) * 1000)})
        elif path == "/api/audit":
            _json(request, {"entries": self.audit})
        else:
            _json(request, self.frame)

    def _asset(self, request: BaseHTTPRequestHandler, name: str) -> None:
        if name in self.missing or name not in ASSETS:
            _problem(request, 404, {"code": "not-found"})
        else:
            _say(request, 200, ASSETS[name].read_bytes(), ASSETS[name].suffix)

    def _session(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        if request.command == "POST" and json.loads(body)["token"] != TOKEN:
            return _problem(request, 401, {"code": "token-invalid"})
        cookie = "sluicegate-ops=open" if request.command == "POST" else "sluicegate-ops=; Max-Age=0"
        return _say(request, 204, b"", "", ("Set-Cookie", f"{cookie}; HttpOnly; SameSite=Strict; Path=/"))

    def _act(self, request: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        self.acts.append(asked)
        status, told = self.answers.popleft() if self.answers else (200, {"applied": True, "kept": True})
        if status != 200:
            return _problem(request, status, told)
        room = self.frame["room"]
        version = room["acts_version"] = room["acts_version"] + 1
        changed = {name: [None, value] for name, value in asked.items() if name != "reason"}
        self.audit.insert(0, {"time": "2026-12-18T06:00:00.000+00:00", "who": "127.0.0.1", "changed": changed, "reason": asked["reason"], "version": version})
        self.says("act", version=version, changed=changed, reason=asked["reason"])
        return _json(request, told)

    # The stream

    def _stream(self, request: BaseHTTPRequestHandler, last: str) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.send_header("Connection", "close")
        request.end_headers()
        viewer: SimpleQueue[bytes | None] = SimpleQueue()
        with self._lock:
            last_ms = int(last or 0)
            viewer.put(b"retry: 1000\n\n")
            viewer.put(_event("history", {"fields": POINT, "rows": self._since(last_ms or self.frame["at_ms"] - 600_000)}))
            viewer.put(_event("log", {"entries": [entry for entry in self.entries[-100:] if entry["at_ms"] > last_ms or not last_ms]}))
            if not self.is_silent:
                viewer.put(_event("status", self.frame))
            self._viewers.append(viewer)
        while (chunk := viewer.get()) is not None:
            request.wfile.write(chunk)

    def _since(self, at_ms: int) -> list[list[Any]]:
        return [row for row in self.rows if row[0] > at_ms]

    def _send(self, kind: str, told: dict[str, Any]) -> None:
        with self._lock:
            for viewer in self._viewers:
                viewer.put(_event(kind, told))


def past(frame: Frame, seconds: int) -> list[list[Any]]:
    """So many seconds before a frame, one row each, on their way to it; and its own."""
    rows = []
    for second in range(seconds, -1, -1):
        row = [_at(frame, path) for path in POINT]
        row[0] -= second * 1000
        swing = 1 + 0.1 * sin(second / 40) + 0.01 * sin(second * 2.3)
        rows.append([row[0], *(value if value is None else value * swing * (1 + second / 3000) for value in row[1:])])
    return rows


def _at(frame: Frame, path: str) -> Any:
    value: Any = frame
    for name in path.split("."):
        value = value.get(name) if value else None
    return value


def _event(kind: str, told: dict[str, Any]) -> bytes:
    at = f"id: {told['at_ms']}\n" if "at_ms" in told else ""
    return f"{at}event: {kind}\ndata: {json.dumps(told)}\n\n".encode()


def _json(request: BaseHTTPRequestHandler, told: dict[str, Any]) -> None:
    _say(request, 200, json.dumps(told).encode(), ".json")


def _problem(request: BaseHTTPRequestHandler, status: int, told: dict[str, Any]) -> None:
    _say(request, status, json.dumps({"status": status, **told}).encode(), ".json")


def _say(request: BaseHTTPRequestHandler, status: int, body: bytes, suffix: str, *more: tuple[str, str]) -> None:
    request.send_response(status)
    for name, value in (("Content-Type", _TYPES.get(suffix, "text/plain")), ("Content-Length", str(len(body))), *more):
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)
