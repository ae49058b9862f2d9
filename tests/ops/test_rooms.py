"""The operator's calls: who may, what is refused and how, what is in force afterwards."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient

from gateway.board import Board
from gateway.core.sign import Policy
from gateway.core.turn import token_us_of
from gateway.pacer import Pacer
from tests.fakes import FakeClock
from tests.memory_room import MemoryRoom
from tests.screens import BEARER, SETTINGS, TOKEN, Desk


class Ops(NamedTuple):
    """The port, and what is behind it."""

    client: "TestClient[Any, Any]"
    store: MemoryRoom
    pacer: Pacer
    clock: FakeClock
    directory: Path
    desk: Desk

    async def second(self) -> None:
        self.clock.advance(1)
        self.store.now_us += 1_000_000
        await self.pacer.step()

    async def post(self, **fields: object) -> tuple[int, dict[str, Any]]:
        async with self.client.post("/api/rooms/walk", json=fields, headers=BEARER) as got:
            return got.status, await got.json(content_type=None)

    async def get(self) -> tuple[int, dict[str, Any]]:
        async with self.client.get("/api/rooms/walk", headers=BEARER) as got:
            return got.status, await got.json(content_type=None)

    def audit(self) -> list[dict[str, Any]]:
        path = self.directory / "audit.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@pytest_asyncio.fixture(loop_scope="session")
async def ops(tmp_path: Path) -> AsyncIterator[Ops]:
    clock, board = FakeClock(), Board.create(workers=1)
    store = MemoryRoom(Policy(), token_us_of(SETTINGS.floor_per_s), clock.now_us)
    pacer = Pacer(SETTINGS, store, None, board, tmp_path, clock.clock, stall_s=1.0, timeout_s=5.0, margin=10)
    desk = Desk(tmp_path, board=board, pacer=pacer, clock=clock)
    async with desk.client() as client:
        made = Ops(client, store, pacer, clock, tmp_path, desk)
        await made.second()
        await made.second()
        yield made


async def test_the_room_is_shown(ops: Ops) -> None:
    status, shown = await ops.get()
    assert status == 200
    assert shown == {
        "room": "walk",
        "epoch": 1,
        "state": "open",
        "rate_per_s": 10.0,
        "reason": "lag-unknown",
        "since": shown["since"],
        "head": 0,
        "tail": 0,
        "waiting": 0,
        "called": 0,
        "passes": 0,
        "consumer_lag": None,
        "sign_age_ms": 0,
        "message": "",
        "told": None,
        "paused": False,
        "closed": False,
        "version": 0,
        "applied": True,
    }
    assert shown["since"].startswith("2026-01-27T")


async def test_what_is_said_is_in_force_and_in_the_audit(ops: Ops, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    status, told = await ops.post(rate_per_s=50, reason="a rehearsal")
    assert (status, told["rate_per_s"], told["reason"], told["told"], told["applied"], told["kept"]) == (200, 50.0, "told", 50.0, True, True)
    status, told = await ops.post(paused=True, message="곧 다시 엽니다", reason="stop")
    assert (status, told["state"], told["paused"], told["told"], told["message"]) == (200, "paused", True, 50.0, "곧 다시 엽니다")
    await ops.second()
    _, shown = await ops.get()
    assert (shown["state"], shown["reason"], shown["rate_per_s"]) == ("paused", "paused", 50.0)
    status, told = await ops.post(rate_per_s=None, paused=False, message="", reason="go on")
    assert (status, told["state"], told["told"], told["message"]) == (200, "open", None, "")
    audit = ops.audit()
    assert [(line["reason"], line["who"]) for line in audit] == [("a rehearsal", "127.0.0.1"), ("stop", "127.0.0.1"), ("go on", "127.0.0.1")]
    assert [line["version"] for line in audit] == sorted({line["version"] for line in audit})
    assert TOKEN not in caplog.text + (ops.directory / "audit.jsonl").read_text()


async def test_a_room_is_closed_and_opened_and_a_pause_is_another_thing(ops: Ops) -> None:
    rows: list[tuple[dict[str, bool], tuple[str, bool, bool]]] = [
        ({"paused": True}, ("paused", True, False)),
        ({"closed": True}, ("closed", True, True)),
        ({"paused": False}, ("closed", False, True)),
        ({"paused": True}, ("closed", True, True)),
        ({"closed": False}, ("paused", True, False)),
        ({"paused": False}, ("open", False, False)),
    ]
    for said, want in rows:
        status, told = await ops.post(**said, reason="r")
        assert (status, (told["state"], told["paused"], told["closed"])) == (200, want)
    assert [line["changed"] for line in ops.audit()[:2]] == [{"is_paused": [False, True]}, {"is_closed": [False, True]}]


async def test_an_undo_names_the_version_that_is_shown(ops: Ops) -> None:
    await ops.post(rate_per_s=50, reason="a rehearsal")
    _, told = await ops.post(closed=True, message="m", reason="the wrong room")
    status, undone = await ops.post(undo=told["version"], reason="not this one")
    assert (status, undone["state"], undone["closed"], undone["message"], undone["told"], undone["applied"]) == (200, "open", False, "", 50.0, True)
    assert undone["version"] > told["version"]
    assert (ops.audit()[-1]["undoes"], ops.audit()[-1]["reason"]) == (told["version"], "not this one")
    status, redone = await ops.post(undo=undone["version"], reason="it was the right one")
    assert (status, redone["state"], redone["message"], redone["told"]) == (200, "closed", "m", 50.0)


async def test_an_undo_that_cannot_be_names_the_newest_act(ops: Ops) -> None:
    _, first = await ops.post(rate_per_s=50, reason="r")
    _, newest = await ops.post(closed=True, reason="r")
    bodies: list[dict[str, object]] = [{"undo": first["version"]}, {"undo": 0}]
    for body in bodies:
        status, problem = await ops.post(**body, reason="r")
        assert (status, problem["code"], [error["pointer"] for error in problem["errors"]]) == (422, "invalid", ["/undo"])
        assert str(newest["version"]) in problem["errors"][0]["detail"]
    status, problem = await ops.post(undo=newest["version"], closed=False, reason="r")
    assert (status, [error["pointer"] for error in problem["errors"]]) == (422, ["/undo"])
    assert (len(ops.audit()), (await ops.get())[1]["closed"]) == (2, True)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "token-missing"),
        ({"Authorization": ""}, "token-missing"),
        ({"Authorization": "Bearer"}, "token-missing"),
        ({"Authorization": f"Basic {TOKEN}"}, "token-missing"),
        ({"Authorization": TOKEN}, "token-missing"),
        ({"Authorization": f"Bearer {TOKEN[:-1]}"}, "token-invalid"),
        ({"Authorization": f"Bearer {TOKEN}x"}, "token-invalid"),
        ({"Authorization": f"Bearer {TOKEN.upper()}"}, "token-invalid"),
        ({"Authorization": "Bearer é"}, "token-invalid"),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/api/rooms/walk"), ("POST", "/api/rooms/walk"), ("DELETE", "/api/rooms/nowhere")])
async def test_without_the_token_nothing_is_learnt(ops: Ops, headers: dict[str, str], code: str, method: str, path: str) -> None:
    async with ops.client.request(method, path, headers=headers, json={"paused": True, "reason": "r"}) as got:
        problem = await got.json(content_type=None)
        assert (got.status, got.content_type, problem["code"], got.headers["WWW-Authenticate"]) == (401, "application/problem+json", code, "Bearer")
        assert (got.headers["Server"], got.headers["Cache-Control"]) == ("sluicegate", "no-store")
    assert ops.audit() == []


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({}, {"paused": True, "reason": "r"}, 401, "token-missing"),
        ({"Authorization": "Bearer wrong"}, {"paused": True, "reason": "r"}, 401, "token-invalid"),
        (BEARER | {"Origin": "https://evil.example"}, {"paused": True, "reason": "r"}, 403, "cross-site"),
        (BEARER | {"Origin": "http://127.0.0.1:1"}, {"paused": True, "reason": "r"}, 403, "cross-site"),
        (BEARER | {"Origin": "null"}, {"paused": True, "reason": "r"}, 403, "cross-site"),
        (BEARER | {"Sec-Fetch-Site": "cross-site"}, {"paused": True, "reason": "r"}, 403, "cross-site"),
        (BEARER | {"Sec-Fetch-Site": "same-site"}, {"paused": True, "reason": "r"}, 403, "cross-site"),
        (BEARER, {"paused": True}, 422, "invalid"),
    ],
)
async def test_what_is_refused_is_logged_counted_and_shown(
    ops: Ops, caplog: pytest.LogCaptureFixture, headers: dict[str, str], body: dict[str, object], status: int, code: str
) -> None:
    refused = ops.desk.board.supervisor.counter("sluicegate_operator_acts_total", "refused")
    before = refused.value
    async with ops.client.post("/api/rooms/walk", json=body, headers=headers) as got:
        assert (got.status, (await got.json(content_type=None))["code"]) == (status, code)
    assert (refused.value - before, ops.audit(), ops.pacer.acts.is_paused) == (1, [], False)
    assert "an operator's call is refused" in caplog.text
    assert next(entry for entry in ops.desk.screen.events.last(9) if entry["kind"] == "act-refused")["code"] == code


async def test_this_screens_own_page_may(ops: Ops) -> None:
    own = {"Origin": f"http://127.0.0.1:{ops.client.port}", "Sec-Fetch-Site": "same-origin"}
    async with ops.client.post("/api/rooms/walk", json={"paused": True, "reason": "r"}, headers=BEARER | own) as got:
        assert got.status == 200


async def test_a_session_may_act_and_not_from_elsewhere(ops: Ops) -> None:
    """The cookie comes along by itself, so where the call comes from is looked at."""
    async with ops.client.post("/api/session", json={"token": TOKEN}) as got:
        headers = {"Cookie": got.headers["Set-Cookie"].partition(";")[0]}
    async with ops.client.post("/api/rooms/walk", json={"paused": True, "reason": "r"}, headers=headers | {"Origin": "http://evil.example"}) as got:
        assert got.status == 403
    async with ops.client.post("/api/rooms/walk", json={"paused": True, "reason": "r"}, headers=headers) as got:
        assert got.status == 200


async def test_an_act_is_shown_with_its_reason_and_counted(ops: Ops) -> None:
    ops.desk.second()
    await ops.post(rate_per_s=50, reason="a rehearsal")
    ops.store.away = True
    await ops.post(paused=True, reason="stop")
    ops.desk.second()
    acts = [entry for entry in ops.desk.screen.events.last(9) if entry["kind"] == "act"]
    assert [(act["reason"], act["version"]) for act in acts] == [("stop", ops.pacer.acts.version)]
    results = ops.desk.board.supervisor.counters_by("sluicegate_operator_acts_total")
    assert {name: counter.value for name, counter in results.items()} == {"applied": 1, "kept": 1, "refused": 0}


async def test_guessing_tokens_does_not_fill_the_log(ops: Ops, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(50):
        async with ops.client.post("/api/rooms/walk", json={}, headers={"Authorization": "Bearer guess"}) as got:
            assert got.status == 401
    assert caplog.text.count("an operator's call is refused") == 1


async def test_the_scheme_is_spelled_in_any_case(ops: Ops) -> None:
    async with ops.client.get("/api/rooms/walk", headers={"Authorization": f"bearer {TOKEN}"}) as got:
        assert got.status == 200


async def test_a_gateway_without_a_token_lets_nobody_in(tmp_path: Path) -> None:
    async with Desk(tmp_path, token="").client() as client:
        for headers in ({}, {"Authorization": "Bearer "}, BEARER):
            async with client.get("/api/rooms/walk", headers=headers) as got:
                assert (got.status, (await got.json(content_type=None))["code"]) == (401, "token-invalid")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/rooms/other", 404, "not-found"),
        ("POST", "/api/rooms/other", 404, "not-found"),
        ("DELETE", "/api/rooms/walk", 405, "method-not-allowed"),
        ("PUT", "/api/rooms/walk", 405, "method-not-allowed"),
    ],
)
async def test_what_is_not_there(ops: Ops, method: str, path: str, status: int, code: str) -> None:
    async with ops.client.request(method, path, headers=BEARER, json={"paused": True, "reason": "r"}) as got:
        assert (got.status, (await got.json(content_type=None))["code"]) == (status, code)
        assert got.headers.get("Allow") == ("GET, POST" if status == 405 else None)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b'{"paused": true, "reason": "r"}', "text/plain", 415, "unsupported-media-type"),
        (b"paused=true&reason=r", "application/x-www-form-urlencoded", 415, "unsupported-media-type"),
        (b"{", "application/json", 400, "invalid-json"),
        (b"\xff", "application/json", 400, "invalid-json"),
        (b"[]", "application/json", 422, "invalid"),
        (b'{"paused": true, "reason": "r"}' + b" " * 16_353, "application/json", 200, None),
        (b'{"paused": true, "reason": "r"}' + b" " * 16_354, "application/json", 413, "body-too-large"),
    ],
)
async def test_bodies_that_are_refused(ops: Ops, body: bytes, content_type: str, status: int, code: str | None) -> None:
    async with ops.client.post("/api/rooms/walk", data=body, headers=BEARER | {"Content-Type": content_type}) as got:
        answer = await got.json(content_type=None)
        assert (got.status, answer.get("code")) == (status, code)
    assert len(ops.audit()) == (status == 200)


async def test_all_that_is_wrong_is_named_by_pointers(ops: Ops) -> None:
    status, problem = await ops.post(rate_per_s=1001, paused="yes", reason="", more=1)
    assert (status, problem["code"]) == (422, "invalid")
    assert [error["pointer"] for error in problem["errors"]] == ["/more", "/rate_per_s", "/paused", "/reason"]
    assert problem["errors"][1]["detail"] == "want a number from 10 to 1000, or null"


async def test_while_the_store_is_away_an_act_is_kept_and_applied_later(ops: Ops) -> None:
    ops.store.away = True
    status, problem = await ops.post(paused=True, reason="stop")
    assert (status, problem["code"], problem["applied"], problem["kept"], problem["paused"]) == (503, "not-durable", False, True, True)
    assert "is applied when the store is back" in problem["detail"]
    assert len(ops.audit()) == 1
    status, shown = await ops.get()
    assert (status, shown["state"], shown["paused"], shown["applied"]) == (200, "open", True, False)
    ops.store.away = False
    await ops.second()
    status, shown = await ops.get()
    assert (status, shown["state"], shown["paused"], shown["applied"]) == (200, "paused", True, True)


async def test_a_store_that_never_answered_shows_what_was_said(tmp_path: Path) -> None:
    clock, board = FakeClock(), Board.create(workers=1)
    store = MemoryRoom(Policy(), token_us_of(SETTINGS.floor_per_s), clock.now_us)
    store.away = True
    pacer = Pacer(SETTINGS, store, None, board, tmp_path, clock.clock, stall_s=1.0, timeout_s=5.0, margin=10)
    desk = Desk(tmp_path, board=board, pacer=pacer, clock=clock)
    async with desk.client() as client:
        ops = Ops(client, store, pacer, clock, tmp_path, desk)
        assert (await ops.post(paused=True, reason="stop"))[0] == 503
        status, problem = await ops.get()
        assert (status, problem["paused"], problem["applied"]) == (503, True, False)


async def test_a_body_that_trickles_is_given_up(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ops.rooms._BODY_TIMEOUT_S", 0.1)

    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(0.5)

    async with ops.client.post("/api/rooms/walk", data=trickle(), headers=BEARER | {"Content-Type": "application/json"}) as got:
        assert got.status == 408


async def test_a_mistake_of_ours_is_a_problem_too(ops: Ops, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(ops.pacer, "say", broken)
    status, problem = await ops.post(paused=True, reason="stop")
    assert (status, problem["code"], problem["outcome"]) == (500, "internal", "unknown")
    assert "an operator's call failed" in caplog.text
