"""Health: this process answers or it does not; what it depends on are lights.  And who gets which page."""

import asyncio
import contextlib
import json
import math
from pathlib import Path

import pytest

from gateway.acts import Audit
from gateway.ops.access import COOKIE
from gateway.ops.frame import POINT
from tests.screens import BEARER, TOKEN, Desk, board_seeing, seating


async def answer(desk: Desk, path: str) -> tuple[int, str, dict[str, object]]:
    async with desk.client() as client, client.get(path) as got:
        assert (got.headers["Server"], got.headers["Cache-Control"]) == ("sluicegate", "no-store")
        is_json = got.content_type == "application/json"
        return got.status, got.content_type, await got.json() if is_json else {"text": await got.text()}


@pytest.mark.parametrize(("reason", "colour"), [("ok", "green"), ("slow", "amber"), ("connecting", "red")])
async def test_ready_whatever_colour_the_lights_have(tmp_path: Path, reason: str, colour: str) -> None:
    status, _, body = await answer(Desk(tmp_path, board=board_seeing(reason)), "/readyz")
    assert (status, body["ready"], body["why"]) == (200, True, None)
    assert body["lights"]["kafka"]["colour"] == colour  # type: ignore[index]


async def test_not_ready_says_why(tmp_path: Path) -> None:
    desk = Desk(tmp_path, why="draining")
    desk.workers = [seating(0, state="draining", starts=3)]
    status, _, body = await answer(desk, "/readyz")
    assert (status, body["ready"], body["why"], body["workers"]) == (503, False, "draining", [{"worker": 0, "state": "draining", "starts": 3}])


async def test_alive_even_when_not_ready(tmp_path: Path) -> None:
    assert (await answer(Desk(tmp_path, why="draining"), "/livez"))[0] == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/livez", 405), ("GET", "/livez", 200)])
async def test_every_answer_has_our_name_and_not_the_librarys(tmp_path: Path, method: str, path: str, status: int) -> None:
    async with Desk(tmp_path).client() as client, client.request(method, path) as got:
        assert (got.status, got.headers.getall("Server"), got.headers.getall("Cache-Control")) == (status, ["sluicegate"], ["no-store"])


async def test_a_forgotten_connection_is_closed(tmp_path: Path) -> None:
    """aiohttp's own default is an hour."""
    ops = Desk(tmp_path).port.runner()
    await ops.setup()
    assert ops.server is not None
    assert ops.server().keepalive_timeout == 75
    await ops.cleanup()


async def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    status, content_type, body = await answer(Desk(tmp_path), "/metrics")
    assert (status, content_type) == (200, "text/plain")
    assert "# TYPE sluicegate_requests_total counter" in str(body["text"])


async def test_readyz_the_frame_and_the_metrics_show_the_same_lights(tmp_path: Path) -> None:
    desk = Desk(tmp_path, board=board_seeing("ok", "slow"))
    desk.silence("redis", "redis-away")
    desk.second()
    _, _, health = await answer(desk, "/readyz")
    _, _, frame = await answer(desk, "/api/status")
    _, _, metrics = await answer(desk, "/metrics")
    colours = {"workers": "green", "kafka": "amber", "redis": "amber", "room": "grey", "spool": "grey"}
    for lights in (health["lights"], frame["lights"]):
        assert {name: light["colour"] for name, light in lights.items()} == colours  # type: ignore[attr-defined]
    for name, colour in colours.items():
        assert f'sluicegate_light{{dependency="{name}"}} {["grey", "green", "amber", "red"].index(colour)}.0' in str(metrics["text"])
    assert 'sluicegate_probe_seconds{dependency="redis"} NaN' in str(metrics["text"])


# Who may look


LOOKING = ("/api/status", "/api/stream", "/api/history")


@pytest.mark.parametrize("path", LOOKING)
async def test_bound_elsewhere_nothing_is_shown_without_the_token(tmp_path: Path, path: str) -> None:
    async with Desk(tmp_path, is_open=False).client() as client:
        async with client.get(path) as got:
            assert (got.status, (await got.json(content_type=None))["code"]) == (401, "token-missing")
        async with client.get(path, headers=BEARER) as got:
            assert got.status == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_bound_elsewhere_probes_and_scrapes_need_no_token(tmp_path: Path, path: str) -> None:
    async with Desk(tmp_path, is_open=False).client() as client, client.get(path) as got:
        assert got.status == 200


async def test_bound_elsewhere_the_page_asks_for_the_token(tmp_path: Path) -> None:
    async with Desk(tmp_path, is_open=False).client() as client:
        async with client.get("/") as got:
            assert (got.status, got.content_type) == (401, "text/html")
        async with client.get("/", headers=BEARER) as got:
            assert (got.status, got.headers["Content-Security-Policy"].split(";")[0]) == (200, "default-src 'self'")


async def test_another_sites_name_for_this_machine_opens_nothing(tmp_path: Path) -> None:
    """DNS rebinding: a page somewhere reads what loopback shows."""
    async with Desk(tmp_path).client() as client:
        for host, status in (("127.0.0.1:8081", 200), ("localhost:8081", 200), ("[::1]:8081", 200), ("evil.example:8081", 401), ("", 401)):
            async with client.get("/api/status", headers={"Host": host}) as got:
                assert (host, got.status) == (host, status)


# A session


async def test_the_token_buys_a_session(tmp_path: Path) -> None:
    desk = Desk(tmp_path, is_open=False)
    async with desk.client() as client:
        async with client.post("/api/session", json={"token": TOKEN}) as got:
            assert got.status == 204
            cookie = got.headers["Set-Cookie"]
        value = cookie.partition(";")[0].partition("=")[2]
        assert {part.strip() for part in cookie.split(";")[1:]} == {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"}
        assert TOKEN not in cookie
        headers = {"Cookie": f"{COOKIE}={value}"}
        for path in ("/", "/api/status", "/api/audit"):
            async with client.get(path, headers=headers) as got:
                assert (path, got.status) == (path, 200)
        desk.clock.advance(43_201)
        async with client.get("/api/status", headers=headers) as got:
            assert got.status == 401


async def test_a_session_ends_with_its_token(tmp_path: Path) -> None:
    desk = Desk(tmp_path, is_open=False)
    async with desk.client() as client:
        async with client.post("/api/session", json={"token": TOKEN}) as got:
            headers = {"Cookie": got.headers["Set-Cookie"].partition(";")[0]}
        desk.token = TOKEN + "x"
        async with client.get("/api/status", headers=headers) as got:
            assert got.status == 401


async def test_behind_tls_the_cookie_is_for_tls_alone(tmp_path: Path) -> None:
    async with Desk(tmp_path).client() as client:
        async with client.post("/api/session", json={"token": TOKEN}, headers={"X-Forwarded-Proto": "https"}) as got:
            assert "Secure" in got.headers["Set-Cookie"]
        async with client.delete("/api/session") as got:
            assert (got.status, "Max-Age=0" in got.headers["Set-Cookie"]) == (204, True)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'{"token": "wrong"}', {}, 401, "token-invalid"),
        (b"{}", {}, 401, "token-invalid"),
        (b"[]", {}, 400, "invalid-json"),
        (b"\xff", {}, 400, "invalid-json"),
        (json.dumps({"token": TOKEN}).encode(), {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
        (json.dumps({"token": TOKEN}).encode(), {"Origin": "http://evil.example"}, 403, "cross-site"),
        (json.dumps({"token": TOKEN}).encode(), {"Sec-Fetch-Site": "cross-site"}, 403, "cross-site"),
        (b"x" * 20_000, {}, 413, "body-too-large"),
    ],
)
async def test_sessions_that_are_refused_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    desk = Desk(tmp_path)
    async with desk.client() as client, client.post("/api/session", data=body, headers={"Content-Type": "application/json"} | headers) as got:
        assert (got.status, (await got.json(content_type=None))["code"], "Set-Cookie" in got.headers) == (status, code, False)
    assert "an operator's call is refused" in caplog.text
    assert desk.screen.events.last(1)[0]["code"] == code
    assert TOKEN not in caplog.text


async def test_a_session_cannot_be_made_to_last(tmp_path: Path) -> None:
    async with Desk(tmp_path, is_open=False).client() as client:
        async with client.post("/api/session", json={"token": TOKEN}) as got:
            ends, _, proof = got.headers["Set-Cookie"].partition(";")[0].partition("=")[2].partition(".")
        client.session.cookie_jar.clear()
        for later in (int(ends) + 1, int(ends) + 10**6):
            async with client.get("/api/status", headers={"Cookie": f"{COOKIE}={later}.{proof}"}) as got:
                assert got.status == 401


@pytest.mark.parametrize("origin", ["http://127.0.0.1:1", "http://[", "null", "http://127.0.0.1", "http://evil.example"])
async def test_nobody_elsewhere_signs_an_operator_out(tmp_path: Path, caplog: pytest.LogCaptureFixture, origin: str) -> None:
    async with Desk(tmp_path).client() as client, client.delete("/api/session", headers={"Origin": origin}) as got:
        assert (got.status, (await got.json(content_type=None))["code"]) == (403, "cross-site")
    assert "an operator's call is refused" in caplog.text


@pytest.mark.parametrize("host", ["[", "evil.example@127.0.0.1", "127.0.0.1#evil", "[::1]evil:80", "[::1", "127.0.0.1:x", "a b", "127.0.0.1:123456"])
async def test_a_host_that_is_none_is_not_ours(tmp_path: Path, host: str) -> None:
    async with Desk(tmp_path).client() as client, client.get("/api/status", headers={"Host": host}) as got:
        assert (got.status, got.content_type) == (401, "application/problem+json")


async def test_an_address_is_nobody_elses_name(tmp_path: Path) -> None:
    """Through a tunnel or a forwarded port; no page elsewhere can have an address for its name."""
    async with Desk(tmp_path).client() as client, client.get("/api/status", headers={"Host": "10.0.0.5:8081"}) as got:
        assert got.status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "not-found"), ("POST", "/livez", 405, "method-not-allowed"), ("PUT", "/api/session", 405, "method-not-allowed")],
)
async def test_every_refusal_is_a_problem(tmp_path: Path, method: str, path: str, status: int, code: str) -> None:
    async with Desk(tmp_path).client() as client, client.request(method, path) as got:
        assert (got.status, got.content_type, (await got.json(content_type=None))["code"]) == (status, "application/problem+json", code)
        assert ("Allow" in got.headers) == (status == 405)


async def test_a_bug_is_logged_and_is_a_problem(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path)

    def broken(_: int) -> None:
        raise PermissionError("secret")

    monkeypatch.setattr(desk.port._audit, "last", broken)
    async with desk.client() as client, client.get("/api/audit", headers=BEARER) as got:
        assert (got.status, (await got.json(content_type=None))["code"]) == (500, "internal")
    assert "an operator's call failed" in caplog.text


async def test_who_only_connects_takes_nobodys_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ops.server.CONNECTIONS_MAX", 5)
    desk = Desk(tmp_path)
    port = await desk.port.open("127.0.0.1", 0)
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
    await asyncio.sleep(0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    silent[0][1].close()
    await silent[0][1].wait_closed()
    async with asyncio.timeout(20):
        while True:  # its end is noticed in a moment
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if (await reader.readline()).startswith(b"HTTP/1.1 200"):
                    break
    for _, one in (*silent, (reader, writer)):
        one.close()
    await desk.port.close()


async def test_a_port_that_is_taken_is_an_error_and_closing_it_harmless(tmp_path: Path) -> None:
    one, two = Desk(tmp_path), Desk(tmp_path)
    port = await one.port.open("127.0.0.1", 0)
    with pytest.raises(OSError, match=r"."):
        await two.port.open("127.0.0.1", port)
    await two.port.close()
    await one.port.close()


@pytest.mark.parametrize("cookie", ["", "1.x", "x.y", "99999999999", "99999999999.", "99999999999.é", "9" * 400 + ".x", "-1.x", "١.x"])
async def test_a_forged_session_is_none(tmp_path: Path, cookie: str) -> None:
    async with Desk(tmp_path, is_open=False).client() as client, client.get("/api/status", headers={"Cookie": f"{COOKIE}={cookie}"}) as got:
        assert got.status == 401


# History and audit


async def test_history_is_what_was_asked_for(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for _ in range(30):
        desk.second()
    async with desk.client() as client:
        async with client.get("/api/history?seconds=10") as got:
            body = await got.json()
        assert (tuple(body["fields"]), len(body["rows"])) == (POINT, 10)
        assert [row[0] for row in body["rows"]] == [desk.screen.now_ms() - 1_000 * ago for ago in range(9, -1, -1)]
        for wrong in ("0", "-1", "x", "86401", "", "1.5", "٣", "9" * 50):
            async with client.get("/api/history", params={"seconds": wrong}) as got:
                assert (wrong, got.status) == (wrong, 422)


async def test_the_audit_is_for_who_may_act(tmp_path: Path) -> None:
    audit = Audit(tmp_path)
    for number in range(5):
        audit.append({"reason": f"r{number}"})
    async with Desk(tmp_path).client() as client:
        async with client.get("/api/audit") as got:
            assert got.status == 401
        async with client.get("/api/audit?limit=2", headers=BEARER) as got:
            assert (await got.json())["entries"] == [{"reason": "r4"}, {"reason": "r3"}]
        async with client.get("/api/audit?limit=1001", headers=BEARER) as got:
            assert got.status == 422


async def test_files_of_the_page(tmp_path: Path) -> None:
    async with Desk(tmp_path, is_open=False).client() as client:
        async with client.get("/assets/nothing.js") as got:
            assert got.status == 404
        async with client.get("/assets/..%2fserver.py") as got:
            assert got.status == 404
        async with client.get("/assets/index.html") as got:
            assert (got.status, got.headers["Cache-Control"]) == (200, "no-cache")
            etag = got.headers["ETag"]
        async with client.get("/assets/index.html", headers={"If-None-Match": etag}) as got:
            assert got.status == 304


def test_a_probe_that_found_nothing_is_not_a_number(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.silence("kafka", "kafka-silent")
    desk.second()
    assert math.isnan(desk.board.supervisor.gauge("sluicegate_probe_seconds", "kafka").value)
