"""The room's calls in HTTP: what each reads and says, and every code it refuses with.

Through the front, without a socket, in virtual time; the line itself is tests/test_room.py's.
"""

import asyncio
import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from gateway import config
from gateway.core.admission import REQUEST_OVERHEAD_BYTES
from gateway.core.pace import Pace
from gateway.core.sign import Acts
from gateway.core.ticket import PASS_US, Key, Office
from gateway.room import MARGIN
from tests.fakes import count, in_virtual_time
from tests.lines import OFFICE, Entrance, Told, entrance
from tests.system.gateway import signup

ROOM: Final = "/v1/rooms/signup"
JSON: Final = "application/json"
LINK: Final = f'<{ROOM}>; rel="up"'
SIGNUP_ID: Final = "0190a6f0-0000-7000-8000-000000000001"
JOINS: Final = config.LimitPolicy("joins", "joins", (config.LimitRule("address", 1, 3600, 2),))
OTHER_KEY: Final = [Key("t9", b"x" * 32)]


@pytest.fixture(autouse=True, params=[False, True], ids=["parsed", "at-once"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One exam for both ways: a plain request is told what any other is."""
    monkeypatch.setattr(Entrance, "asks_at_once", request.param)


def join_id(number: int) -> str:
    return f"0190a6f0-0000-4000-8000-{number:012d}"


async def join(door: Entrance, number: int) -> Told:
    return await door.ask("POST", f"{ROOM}/tickets", json.dumps({"join_id": join_id(number)}).encode(), Content_Type=JSON)


async def crowd(door: Entrance, people: int) -> list[str]:
    """Their tickets, none of them through."""
    assert door.line.room is not None
    door.line.room.pause(door.line.now_us)
    told = [
        answer for first in range(0, people, 20) for answer in await asyncio.gather(*(join(door, number) for number in range(first, min(first + 20, people))))
    ]
    door.line.room.resume(door.line.now_us)
    await asyncio.sleep(0.6)
    return [answer.body["ticket"] for answer in told]


async def apply(door: Entrance, signup_id: str = SIGNUP_ID, **headers: Any) -> Told:
    return await door.ask("POST", "/v1/signups", json.dumps(signup(signup_id)).encode(), Content_Type=JSON, **headers)


# The calls


@in_virtual_time
async def test_what_is_plain_and_most_of_all_that_comes_needs_no_parser(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        [ticket] = await crowd(door, 1)
        for text in (ticket, "", "x", OFFICE.provisional(b"x" * 8, 0)):
            await door.ask("GET", f"{ROOM}/place", Waiting_Room_Ticket=text)  # who has no place yet may need the store
        await door.ask("POST", f"{ROOM}/tickets", b" " * 1_025, Content_Type=JSON)
        await door.ask("POST", f"{ROOM}/tickets", b"{", Content_Type=JSON)  # comes whole: refused as any other
        as_long_as_may_be = json.dumps({"join_id": join_id(2)}).encode().ljust(1_024)
        assert (await door.ask("POST", f"{ROOM}/tickets", as_long_as_may_be, Content_Type=JSON)).status == 201
        for method, path in (("GET", ROOM), ("POST", f"{ROOM}/passes"), ("GET", f"{ROOM}/place?x"), ("HEAD", f"{ROOM}/place"), ("GET", "/v1/rooms/x/place")):
            await door.ask(method, path, Waiting_Room_Ticket=ticket)
        assert door.answered_at_once == (4 if door.asks_at_once else 0)
        door.front.closes_connections = True
        told = await door.ask("GET", f"{ROOM}/place", Waiting_Room_Ticket=ticket)
        assert (told.status, told.headers["Connection"]) == (200, "close")
        assert door.answered_at_once == (4 if door.asks_at_once else 0)


@in_virtual_time
async def test_a_host_that_is_none_is_refused(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        [ticket] = await crowd(door, 1)
        joined = await door.ask("POST", f"{ROOM}/tickets", json.dumps({"join_id": join_id(2)}).encode(), Content_Type=JSON, Host="a b")
        placed = await door.ask("GET", f"{ROOM}/place", Waiting_Room_Ticket=ticket, Host="a b")
        assert [(told.status, told.code) for told in (joined, placed)] == [(400, "bad-request")] * 2


@in_virtual_time
async def test_a_mistake_of_ours_is_told_as_one_and_ends_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is left without an answer, and nobody is told what it was."""

    def fails(*_: object) -> None:
        raise KeyError("a mistake")

    async with entrance(tmp_path) as door:
        [ticket] = await crowd(door, 1)
        monkeypatch.setattr(door.desk.room, "join", fails)
        monkeypatch.setattr(door.desk.room, "look", fails)
        placed = await door.ask("GET", f"{ROOM}/place", Waiting_Room_Ticket=ticket)
        for told in (await join(door, 2), placed):
            assert (told.status, told.code, told.headers["Connection"]) == (500, "internal", "close")
        assert [count(door.desk.slot, "sluicegate_requests_total", name, "500") for name in ("tickets", "place")] == [1, 1]


@in_virtual_time
async def test_a_join_takes_the_room_of_its_body_until_the_store_has_it(tmp_path: Path) -> None:
    """Folded or not: what unfolding it may take counts."""
    async with entrance(tmp_path) as door:
        door.line.latency_s = lambda: 0.5
        body = json.dumps({"join_id": join_id(1)}).encode()
        plain, folded = {"Content_Type": JSON}, {"Content_Type": JSON, "Content_Encoding": "gzip"}
        rows: list[tuple[bytes, Any, int]] = [(body, plain, len(body)), (gzip.compress(body), folded, 1_024)]
        for sent, headers, held_bytes in rows:
            asked = asyncio.create_task(door.ask("POST", f"{ROOM}/tickets", sent, **headers))
            await asyncio.sleep(0.1)
            assert door.admission.bodies_bytes == held_bytes + REQUEST_OVERHEAD_BYTES
            assert (await asked).status in (200, 201)


@in_virtual_time
async def test_who_joins_has_a_ticket_and_a_repeat_the_same(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        [*_, ticket] = await crowd(door, 50)
        told = await join(door, 77)
        assert (told.status, told.headers["Location"], told.headers["Cache-Control"]) == (201, f"{ROOM}/place", "no-store")
        assert told.body.keys() == {"ticket", "state", "ahead", "p50_s", "p90_s", "poll_after_s", "sign_age_ms"}
        assert (told.body["state"], told.body["ahead"] > 0, told.body["poll_after_s"] > 0) == ("waiting", True, True)
        again = await join(door, 49)
        assert again.status == 200
        assert OFFICE.read_ticket(again.body["ticket"])[0] == OFFICE.read_ticket(ticket)[0] == 49  # type: ignore[index]


@in_virtual_time
async def test_on_a_quiet_day_the_pass_comes_with_the_ticket(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        told = await join(door, 1)
        assert (told.status, told.body["state"], told.body["ahead"], told.body["poll_after_s"]) == (201, "through", 0, 0)
        assert (await apply(door, Waiting_Room_Pass=told.body["pass"])).status == 202
        expires_us = datetime.fromisoformat(told.body["pass_expires_at"]).timestamp() * 1e6
        assert 0 <= expires_us - door.line.now_us - PASS_US + 1e6 <= 2e6
        again = await join(door, 1)
        assert (again.status, again.body["pass"]) == (200, told.body["pass"])


@in_virtual_time
async def test_a_place_is_told_to_header_and_cookie_alike_and_to_nobody_else(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        tickets = await crowd(door, 50)
        by_header = await door.ask("GET", f"{ROOM}/place", Waiting_Room_Ticket=tickets[49])
        by_cookie = await door.ask("GET", f"{ROOM}/place", Cookie=f"a=b; __Host-ticket-signup={tickets[49]}; c")
        assert (by_header.status, by_header.body) == (200, by_cookie.body)
        assert by_header.body.keys() == {"state", "ahead", "p50_s", "p90_s", "poll_after_s", "sign_age_ms"}
        first = await door.ask("GET", f"{ROOM}/place", Waiting_Room_Ticket=tickets[0])
        assert (first.body["state"], first.body["poll_after_s"]) == ("called", 0)
        assert (await door.ask("GET", f"{ROOM}/place", Waiting_Room_Ticket=tickets[0], Cookie="__Host-ticket-signup=x")).status == 200
        assert count(door.desk.slot, "sluicegate_requests_total", "place", "200") == 4


@in_virtual_time
async def test_a_knock_has_the_pass_at_its_turn_or_is_told_when(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        tickets = await crowd(door, 50)
        told = await asyncio.gather(*(door.ask("POST", f"{ROOM}/passes", Waiting_Room_Ticket=ticket) for ticket in tickets[:10]))
        assert {answer.status for answer in told} == {201}
        assert {"pass", "expires_at"} <= told[0].body.keys()
        assert (await apply(door, Waiting_Room_Pass=told[3].body["pass"])).status == 202
        early = await door.ask("POST", f"{ROOM}/passes", Waiting_Room_Ticket=tickets[49])
        assert (early.status, early.code, early.body["state"], early.body["retryable"]) == (429, "not-your-turn", "waiting", True)
        assert int(early.headers["Retry-After"]) >= 1
        assert early.body["ahead"] > 0


@in_virtual_time
async def test_while_the_store_is_away_a_join_is_provisional_and_its_place_comes_later(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        await crowd(door, 50)
        door.line.away = True
        told = await join(door, 77)
        assert (told.status, told.body["state"]) == (201, "provisional")
        assert 2.5 <= told.body["poll_after_s"] <= 7.5  # spread: else all of an outage would come at once
        ticket = told.body["ticket"]
        knocked = await door.ask("POST", f"{ROOM}/passes", Waiting_Room_Ticket=ticket)
        assert (knocked.status, knocked.code, knocked.body["state"]) == (429, "not-your-turn", "provisional")
        placed = await door.ask("GET", f"{ROOM}/place", Waiting_Room_Ticket=ticket)
        assert (placed.body["state"], placed.body["ticket"]) == ("provisional", ticket)
        door.line.away = False
        await asyncio.sleep(0.6)
        placed = await door.ask("GET", f"{ROOM}/place", Waiting_Room_Ticket=ticket)
        assert placed.body["state"] == "waiting"
        assert OFFICE.read_ticket(placed.body["ticket"])[0] == 50  # type: ignore[index]


@in_virtual_time
async def test_the_sign_over_the_door_is_one_for_all(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        await crowd(door, 50)
        told, again = [await door.ask("GET", ROOM) for _ in range(2)]
        assert (told.status, told.text, told.headers["Cache-Control"]) == (200, again.text, "public, max-age=1")
        etag = told.headers["ETag"]
        for tag in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            known = await door.ask("GET", ROOM, If_None_Match=tag)
            assert (known.status, known.text, known.headers["ETag"]) == (304, "", etag)
        assert (await door.ask("GET", ROOM, If_None_Match='"x"')).status == 200
        body = told.body
        assert (body["room"], body["state"], body["rate_per_s"], body["tail"]) == ("signup", "open", 10.0, 50)
        assert 0 < body["called"] <= 31
        assert 0 < body["p90_s"] <= 10
        assert datetime.fromisoformat(body["since"]).tzinfo is not None
        assert await door.line.act(Acts(1, is_paused=True, message="곧 다시 엽니다"))
        assert await door.line.set_pace(Pace.opening(2.0, door.line.now_us), 0)
        await asyncio.sleep(0.3)
        paused = await door.ask("GET", ROOM, If_None_Match=etag)
        assert (paused.status, paused.body["state"], paused.body["reason"], paused.body["message"]) == (200, "paused", "paused", "곧 다시 엽니다")


@in_virtual_time
async def test_a_closed_room_is_said_to_everybody_and_everybody_keeps_the_place(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        tickets = await crowd(door, 60)
        await door.line.say(1, is_closed=True)
        await asyncio.sleep(0.3)
        told = [await join(door, number) for number in range(100, 120)]
        assert {(one.status, one.code, one.body["retryable"]) for one in told} == {(503, "room-closed", True)}
        after_s = [int(one.headers["Retry-After"]) for one in told]
        assert 150 <= min(after_s) < max(after_s) <= 450
        known = await join(door, 30)
        placed = await door.ask("GET", f"{ROOM}/place", Waiting_Room_Ticket=tickets[30])
        for one in (known, placed):
            assert (one.status, one.body["state"], one.body["ahead"] > 0, one.body["poll_after_s"] > 0) == (200, "closed", True, True)
        knocked = await door.ask("POST", f"{ROOM}/passes", Waiting_Room_Ticket=tickets[0])
        assert (knocked.status, knocked.code, knocked.body["state"], int(knocked.headers["Retry-After"]) <= 6) == (429, "not-your-turn", "closed", True)
        sign = await door.ask("GET", ROOM)
        assert (sign.body["state"], sign.body["reason"], sign.body["tail"]) == ("closed", "closed", 60)
        await door.line.say(2)
        await asyncio.sleep(0.6)
        assert (await join(door, 100)).status == 201
        assert (await door.ask("GET", f"{ROOM}/place", Waiting_Room_Ticket=tickets[0])).body["state"] == "called"
        assert (await door.ask("GET", ROOM)).body["state"] == "open"


# Refusals


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"{", "invalid-json", None),
        (b"\xff", "invalid-json", None),
        (b"", "invalid-json", None),
        (b"[" * 1_000, "invalid", "/join_id"),
        (b"{}", "invalid", "/join_id"),
        (b"[]", "invalid", "/join_id"),
        (b'{"join_id": 7}', "invalid", "/join_id"),
        (b'{"join_id": "x"}', "invalid", "/join_id"),
        (b'{"join_id": "0190a6f0-0000-7000-8000-000000000001"}', "invalid", "/join_id"),  # version 7 tells when it was made
        (b'{"join_id": "00000000-0000-0000-0000-000000000000"}', "invalid", "/join_id"),
        (b" " * 1_025, "body-too-large", None),
    ],
)
@in_virtual_time
async def test_a_join_that_is_none_is_refused(tmp_path: Path, body: bytes, code: str, pointer: str | None) -> None:
    async with entrance(tmp_path) as door:
        told = await door.ask("POST", f"{ROOM}/tickets", body, Content_Type=JSON)
        assert told.code == code
        assert [error["pointer"] for error in told.body.get("errors", [])] == ([] if pointer is None else [pointer])
        assert door.line.asked("join") == []


@in_virtual_time
async def test_what_the_phone_adds_later_is_no_mistake(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        body = json.dumps({"join_id": join_id(1).upper(), "app": "2.0"}).encode()
        assert (await door.ask("POST", f"{ROOM}/tickets", body, Content_Type="application/json; charset=utf-8")).status == 201


@in_virtual_time
async def test_a_join_in_another_form_or_of_no_length_is_refused(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        assert (await door.ask("POST", f"{ROOM}/tickets", b"{}", Content_Type="text/plain")).code == "unsupported-media-type"
        assert (await door.ask("POST", f"{ROOM}/tickets", b"{}", Content_Type=JSON, Content_Encoding="br")).code == "unsupported-encoding"
        assert (await door.ask("GET", f"{ROOM}/tickets")).code == "method-not-allowed"
        assert (await door.ask("POST", f"{ROOM}/place")).code == "method-not-allowed"
        assert (await door.ask("GET", "/v1/rooms/other/place")).code == "not-found"


@in_virtual_time
async def test_who_joins_slowly_takes_nobodys_turn_and_is_told_in_the_end(tmp_path: Path) -> None:
    """As with a sync: what the store may have in flight is not taken up by a phone that is slow."""
    async with entrance(tmp_path) as door:
        stream = door.stream()
        slow = asyncio.create_task(door.ask("POST", f"{ROOM}/tickets", stream, Content_Type=JSON))
        never = asyncio.create_task(door.ask("POST", f"{ROOM}/tickets", door.stream(), Content_Type=JSON))
        await asyncio.sleep(0.5)
        door.admission.show()
        assert door.desk.slot.gauge("sluicegate_overload_in_flight").value == 0
        stream.feed_data(json.dumps({"join_id": join_id(1)}).encode())
        stream.feed_eof()
        assert (await slow).status == 201
        assert (await never).code == "request-timeout"
        door.admission.show()
        assert door.desk.slot.gauge("sluicegate_overload_in_flight").value == 0


@in_virtual_time
async def test_who_is_held_for_the_door_is_not_in_flight_for_the_store(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        held = [asyncio.create_task(join(door, number)) for number in range(8)]
        await asyncio.sleep(0.1)
        door.admission.show()
        assert (door.admission.bodies_bytes, door.desk.slot.gauge("sluicegate_overload_in_flight").value) == (0, 0)
        assert not all(task.done() for task in held)
        assert {told.body["state"] for told in await asyncio.gather(*held)} == {"through"}


@in_virtual_time
async def test_quotas_and_a_full_line_and_a_drain_are_said_with_when_to_come(tmp_path: Path) -> None:
    async with entrance(tmp_path, JOINS, line_max=2) as door:
        for _ in range(2):
            assert (await join(door, 1)).status in (200, 201)
        limited = await join(door, 2)
        assert (limited.status, limited.code, int(limited.headers["Retry-After"]) > 3_000) == (429, "rate-limited", True)
    async with entrance(tmp_path / "other", line_max=2) as door:
        await crowd(door, 2)
        door.line.room.pause(door.line.now_us)  # type: ignore[union-attr]
        told = [await join(door, number) for number in range(5, 12)]
        assert (told[-1].status, told[-1].code, int(told[-1].headers["Retry-After"]) >= 1) == (503, "line-full", True)
        door.admission.is_draining = True
        [ticket, *_] = [answer.body["ticket"] for answer in told if answer.status == 201] or [OFFICE.ticket(0, 0)]
        for method, path in (("GET", "place"), ("POST", "passes")):
            gone = await door.ask(method, f"{ROOM}/{path}", is_kept=True, Waiting_Room_Ticket=ticket)
            assert (gone.status, gone.code, gone.headers["Retry-After"]) == (503, "draining", "1")
            assert (await door.ask(method, f"{ROOM}/{path}", Waiting_Room_Ticket=ticket)).status in (200, 201, 429)
        kept = await door.ask("POST", f"{ROOM}/tickets", json.dumps({"join_id": join_id(1)}).encode(), is_kept=True, Content_Type=JSON)
        assert kept.code == "draining"


@in_virtual_time
async def test_the_quota_is_of_whom_our_proxy_names(tmp_path: Path) -> None:
    async with entrance(tmp_path, JOINS) as door:
        bodies = [json.dumps({"join_id": join_id(number)}).encode() for number in range(4)]
        hops = ["192.0.2.7", "203.0.113.9, 192.0.2.7", "192.0.2.7", "192.0.2.8"]
        told = [await door.ask("POST", f"{ROOM}/tickets", body, Content_Type=JSON, X_Forwarded_For=hop) for body, hop in zip(bodies, hops, strict=True)]
        assert [answer.status for answer in told] == [201, 201, 429, 201]


@in_virtual_time
async def test_under_overload_joins_are_refused_and_places_are_told(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        [ticket] = await crowd(door, 1)
        for number in range(2_000):
            try:
                door.admission.admit("joins", 0, str(number))
            except Exception:  # noqa: BLE001 - until there is no room
                break
        for _ in range(3):
            await asyncio.sleep(0.15)
            door.admission.lagged(0.0)
        told = [await join(door, number) for number in range(100, 140)]
        assert "overloaded" in {answer.body.get("code") for answer in told}
        assert (await door.ask("GET", f"{ROOM}/place", Waiting_Room_Ticket=ticket)).status == 200
        door.admission.bodies_bytes = 0


TICKETS: Final = [
    ("", "ticket-invalid"),
    ("x", "ticket-invalid"),
    (OFFICE.ticket(3, 0)[:-1], "ticket-invalid"),
    (OFFICE.ticket(3, 0)[:-1] + "A", "ticket-invalid"),
    (OFFICE.pass_for(3, 0), "ticket-invalid"),
    (Office("signup", 1, OTHER_KEY, b"j" * 32).ticket(3, 0), "ticket-invalid"),
    (Office("other", 1, [Key("t1", b"k" * 32)], b"j" * 32).ticket(3, 0), "ticket-room"),
    (Office("signup", 2, [Key("t1", b"k" * 32)], b"j" * 32).ticket(3, 0), "ticket-epoch"),
    (OFFICE.ticket(7, 0), "ticket-revoked"),
]


@pytest.mark.parametrize(("method", "path"), [("GET", "place"), ("POST", "passes")])
@pytest.mark.parametrize(("text", "code"), TICKETS)
@in_virtual_time
async def test_what_is_no_ticket_of_this_line_is_sent_to_the_room(tmp_path: Path, text: str, code: str, method: str, path: str) -> None:
    async with entrance(tmp_path, revoked=(7,)) as door:
        header: dict[str, Any] = {"Waiting_Room_Ticket": text} if text else {}
        told = await door.ask(method, f"{ROOM}/{path}", **header)
        assert (told.status, told.code, told.headers["Link"]) == (403, code, LINK)
        assert text not in told.text or not text
        by_cookie = await door.ask(method, f"{ROOM}/{path}", Cookie=f"__Host-ticket-signup={text}")
        assert by_cookie.code == code


# Sign-ups come with a pass

NOW_US: Final = 1_769_520_405_000_000
"""When a virtual loop begins."""
PASSES: Final = [
    ("", "pass-required"),
    ("x", "pass-invalid"),
    (OFFICE.ticket(3, 0), "pass-invalid"),
    (OFFICE.pass_for(7, NOW_US), "pass-invalid"),  # revoked
    (Office("other", 1, [Key("t1", b"k" * 32)], b"j" * 32).pass_for(3, NOW_US), "pass-invalid"),
    (OFFICE.pass_for(3, NOW_US - PASS_US), "pass-expired"),
]


@pytest.mark.parametrize(("text", "code"), PASSES)
@in_virtual_time
async def test_who_signs_up_without_a_good_pass_is_sent_to_the_room(tmp_path: Path, text: str, code: str) -> None:
    async with entrance(tmp_path, revoked=(7,)) as door:
        told = await apply(door, **({"Waiting_Room_Pass": text} if text else {}))
        assert (told.status, told.code, told.headers["Link"]) == (403, code, LINK)
        assert (door.line.asked("owners"), door.broker.log("signups.v1")) == ([], [])


@in_virtual_time
async def test_a_pass_is_for_the_first_application_and_may_repeat_that(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        text = (await join(door, 1)).body["pass"]
        assert (await apply(door, Waiting_Room_Pass=text)).status == 202
        assert (await apply(door, Waiting_Room_Pass=text)).status == 202
        other = await apply(door, SIGNUP_ID[:-1] + "2", Waiting_Room_Pass=text)
        assert (other.status, other.code, other.body["errors"][0]["pointer"]) == (422, "invalid", "/signup_id")
        keys = {record.key for _, record in door.broker.log("signups.v1")}
        assert keys == {b"signup:1:0"}
        await asyncio.sleep(0.3)
        assert door.line.room is not None
        assert door.line.room.signups == 2
        door.line.away = True
        assert (await apply(door, SIGNUP_ID[:-1] + "3", Waiting_Room_Pass=text)).status == 202  # downstream holds the same rule


@in_virtual_time
async def test_an_emptied_line_keeps_who_shows_a_ticket(tmp_path: Path) -> None:
    """And who has only a join_id joins anew."""
    async with entrance(tmp_path) as door:
        tickets = await crowd(door, 50)
        door.line.forget()
        told = await join(door, 49)
        assert told.status == 201
        place: Any = OFFICE.read_ticket(told.body["ticket"])
        assert place.place >= 50
        await asyncio.sleep(0.6)
        kept = await door.ask("GET", f"{ROOM}/place", Waiting_Room_Ticket=tickets[49])
        assert kept.body["ahead"] <= 50 < MARGIN


# Other pages


@in_virtual_time
async def test_a_page_of_ours_elsewhere_may_ask_and_another_may_not(tmp_path: Path) -> None:
    async with entrance(tmp_path, cors_origins=("https://app.example",)) as door:
        [ticket] = await crowd(door, 1)
        for method, path in (("POST", f"{ROOM}/tickets"), ("GET", f"{ROOM}/place"), ("POST", f"{ROOM}/passes"), ("GET", ROOM), ("POST", "/v1/signups")):
            asked = await door.ask("OPTIONS", path, Origin="https://app.example", Access_Control_Request_Method=method)
            assert (asked.status, asked.headers["Access-Control-Allow-Origin"]) == (204, "https://app.example")
            assert method in asked.headers["Access-Control-Allow-Methods"]
            assert "Waiting-Room-Ticket" in asked.headers["Access-Control-Allow-Headers"]
            assert "Access-Control-Allow-Origin" not in (await door.ask("OPTIONS", path, Origin="https://evil.example")).headers
        told = await door.ask("GET", f"{ROOM}/place", Origin="https://app.example", Waiting_Room_Ticket=ticket)
        assert (told.status, told.headers["Access-Control-Allow-Origin"]) == (200, "https://app.example")
        body = json.dumps({"join_id": join_id(2)}).encode()
        told = await door.ask("POST", f"{ROOM}/tickets", body, Content_Type=JSON, Origin="https://app.example")
        assert (told.status, told.headers["Access-Control-Allow-Origin"]) == (201, "https://app.example")
        assert (await door.ask("GET", f"{ROOM}/place", Origin="https://app.example")).headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert (await door.ask("OPTIONS", "/v1/syncs", Origin="https://app.example")).status == 405
    async with entrance(tmp_path / "other") as door:
        assert (await door.ask("OPTIONS", f"{ROOM}/place", Origin="https://app.example")).status == 405
