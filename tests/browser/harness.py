"""A browser, and a gateway that says what a test wants it to."""

import base64
import json
import threading
from collections import deque
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qs

from selenium.webdriver import Chrome

from gateway.pages.waiting import View, headers, page
from gateway.pages.words import language

PASS: Final = "EkRhh7fId50bAAAAAGlHJgAAAAAAAAASZwAGRnDEERgA36Vnn3hnvfpE_6cj8wUh"
Scheme = Literal["light", "dark"]


class Gateway:
    """A room of one person: what its page shows, and what place and passes answer."""

    def __init__(self) -> None:
        self.view = View("signup", "걷기 앱 가입 대기실", "ko", "outside")
        self.places: deque[dict[str, Any] | int] = deque()  # one for each ask, the last for ever; a number: this status
        self.knocks: deque[int] = deque()  # Retry-After of each knock that is refused; then the pass
        self.asked: list[str] = []  # "GET /v1/…", in order
        self.origins: list[str | None] = []  # of each POST
        self._lock = threading.Lock()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                gateway.answer(self, "")

            def do_POST(self) -> None:
                gateway.answer(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name there
                """Not on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/rooms/signup"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def count(self, what: str) -> int:
        """How often this was asked."""
        return self.asked.count(what)

    def answer(self, request: BaseHTTPRequestHandler, body: str) -> None:
        with self._lock:
            what = f"{request.command} {request.path}"
            self.asked.append(what)
            if request.command == "POST":
                self.origins.append(request.headers.get("Origin"))
            if what == "GET /v1/rooms/signup/place":
                self._place(request)
            elif what == "POST /v1/rooms/signup/passes":
                self._passes(request)
            elif request.path.split("?")[0] == "/rooms/signup":
                self._page(request, parse_qs(body).get("act", [""])[0])
            else:
                _say(request, 404, b"{}", [("Content-Type", "application/json")])

    def _place(self, request: BaseHTTPRequestHandler) -> None:
        told = self.places.popleft() if len(self.places) > 1 else self.places[0]
        status, members = (told, {}) if isinstance(told, int) else (200, {"sign_age_ms": 240, **told})
        _say(request, status, json.dumps(members).encode(), [("Content-Type", "application/json")])

    def _passes(self, request: BaseHTTPRequestHandler) -> None:
        if self.knocks:
            _say(request, 429, b'{"code":"not-your-turn"}', [("Content-Type", "application/problem+json"), ("Retry-After", str(self.knocks.popleft()))])
        else:
            until = (datetime.now(UTC) + timedelta(minutes=10)).isoformat(timespec="seconds").replace("+00:00", "Z")
            _say(request, 201, json.dumps({"pass": PASS, "expires_at": until}).encode(), [("Content-Type", "application/json")])

    def _page(self, request: BaseHTTPRequestHandler, act: str) -> None:
        lang = language(request.headers.get("Accept-Language") or "")
        if act == "join":
            self.view = self.view._replace(state="waiting", ahead=5226, p50_s=720, p90_s=1080, next_s=1)
            _say(request, 303, b"", [("Location", "/rooms/signup"), ("Set-Cookie", "ticket=t; HttpOnly; SameSite=Lax; Path=/")])
            return
        if act == "enter" and self.knocks:
            self.view = self.view._replace(state="busy", next_s=self.knocks.popleft())
        elif act == "enter":
            self.view = self.view._replace(state="through", next_s=0, pass_text=PASS)
        view = self.view._replace(lang=lang)
        _say(request, 200, page(view), [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store"), *headers(view)])
        if view.state == "waiting" and not act and not self.places:  # without script: the next look is the call
            self.view = self.view._replace(state="called", ahead=0, next_s=0)


def _say(request: BaseHTTPRequestHandler, status: int, body: bytes, more: list[tuple[str, str]]) -> None:
    request.send_response(status)
    for name, value in [*more, ("Content-Length", str(len(body)))]:
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


class Browser(Chrome):
    """Chromium, with what these tests turn on it."""

    def looks(self, *, width: int = 360, height: int = 740, scheme: Scheme = "light", lang: str = "ko", script: bool = True) -> None:
        """How the next page is shown, and to whom."""
        self.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
        self.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self.execute_cdp_cmd("Network.enable", {})
        self.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"Accept-Language": lang}})
        self.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})

    def shoot(self, path: Path) -> None:
        """The whole page, not the window."""
        png = self.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})["data"]
        path.write_bytes(base64.b64decode(png))
