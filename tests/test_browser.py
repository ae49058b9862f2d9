"""The page as a browser without JavaScript walks through it: forms, cookies, where it is sent, what it is shown.

Through the front, without a socket, in virtual time.  How the page looks is tests/pages'.
"""

import asyncio
import re
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.core.sign import Acts
from gateway.core.ticket import Office, Ticket
from tests.fakes import count, in_virtual_time
from tests.lines import OFFICE, Entrance, Told, entrance
from tests.test_rooms import NOW_US, OTHER_KEY, crowd

PAGE: Final = "/rooms/signup"
TICKET: Final = "__Host-ticket-signup"
PASS: Final = "__Host-pass-signup"
FORM: Final = "application/x-www-form-urlencoded"


class Phone:
    """A browser: it keeps cookies and goes where it is sent."""

    def __init__(self, door: Entrance, **cookies: str) -> None:
        self.door = door
        self.jar = dict(cookies)

    def _cookie(self) -> dict[str, Any]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())} if self.jar else {}

    async def look(self, **headers: Any) -> Told:
        return self._keep(await self.door.ask("GET", PAGE, **self._cookie(), **headers))

    async def act(self, act: str) -> Told:
        return self._keep(await self.door.ask("POST", PAGE, f"act={act}".encode(), Content_Type=FORM, **self._cookie()))

    def _keep(self, told: Told) -> Told:
        self.jar |= {name: rest.partition(";")[0] for name, rest in told.cookies.items()}
        return told

    @property
    def ticket(self) -> object:
        return OFFICE.read_ticket(self.jar[TICKET])


def state(told: Told) -> str:
    """Which of its states the page shows."""
    found = re.search(r'<main[^>]*data-state="([a-z]+)"', told.text)
    assert found, told.text[:500]
    return found[1]


@in_virtual_time
async def test_a_quiet_day_from_the_button_to_the_pass(tmp_path: Path) -> None:
    async with entrance(tmp_path, continue_url="https://app.example/signup") as door:
        phone = Phone(door)
        first = await phone.look()
        assert (first.status, state(first), first.cookies) == (200, "outside", {})
        joined = await phone.act("join")
        assert (joined.status, joined.headers["Location"]) == (303, PAGE)
        assert joined.cookies.keys() == {TICKET, PASS}
        shown = await phone.look()
        assert (state(shown), f"https://app.example/signup#pass={phone.jar[PASS]}" in shown.text) == ("through", True)
        assert count(door.desk.slot, "sluicegate_requests_total", "page", "303") == 1


@in_virtual_time
async def test_a_line_from_the_button_to_the_pass(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        await crowd(door, 40)
        phone = Phone(door)
        joined = await phone.act("join")
        assert joined.cookies.keys() == {TICKET}
        assert phone.ticket == Ticket(40, door.line.now_us)
        waiting = await phone.look()
        assert (waiting.status, state(waiting)) == (200, "waiting")
        refresh = re.search(r'http-equiv="refresh" content="(\d+);url=/rooms/signup"', waiting.text)
        assert refresh
        assert 1 <= int(refresh[1]) <= 5
        early = await phone.act("enter")
        assert (early.status, state(early), int(early.headers["Retry-After"]) >= 1, early.cookies) == (429, "waiting", True, {})
        for _ in range(100):
            await asyncio.sleep(1)
            if state(await phone.look()) == "called":
                break
        entered = await phone.act("enter")
        assert (entered.status, entered.headers["Location"], [*entered.cookies]) == (303, PAGE, [PASS])
        shown = await phone.look()
        assert (state(shown), phone.jar[PASS] in shown.text) == ("through", True)


@in_virtual_time
async def test_cookies_are_bound_to_this_host_and_hidden_from_scripts(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        joined = await Phone(door).act("join")
        for name, age_s in ((TICKET, 7 * 86_400), (PASS, 600)):
            parts = joined.cookies[name].split("; ")
            assert set(parts[1:]) == {"Path=/", f"Max-Age={age_s}", "Secure", "HttpOnly", "SameSite=Lax"}


@in_virtual_time
async def test_joining_twice_keeps_the_place(tmp_path: Path) -> None:
    """In another tab, or by going back; whoever has none is sent to the page."""
    async with entrance(tmp_path) as door:
        await crowd(door, 40)
        phone = Phone(door)
        await phone.act("join")
        door.line.calls.clear()
        again = await phone.act("join")
        assert (again.status, again.cookies, door.line.asked("join")) == (303, {}, [])
        other = await Phone(door).act("enter")
        assert (other.status, other.headers["Location"], other.cookies) == (303, PAGE, {})


@pytest.mark.parametrize(
    "text",
    [
        "x",
        OFFICE.ticket(3, 0)[:-1],
        OFFICE.pass_for(3, 0),
        OFFICE.ticket(7, 0),
        Office("signup", 2, OTHER_KEY, b"j" * 32).ticket(3, 0),
    ],
)
@in_virtual_time
async def test_a_ticket_of_another_day_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    async with entrance(tmp_path, revoked=(7,)) as door:
        phone = Phone(door, **{TICKET: text})
        assert state(await phone.look()) == "outside"
        await phone.act("join")
        assert phone.jar[TICKET] != text


@in_virtual_time
async def test_a_pass_that_has_run_out_shows_the_line_again(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        phone = Phone(door)
        await phone.act("join")
        await asyncio.sleep(605)
        assert state(await phone.look()) == "called"
        await phone.act("enter")
        assert state(await phone.look()) == "through"
        stranger = Phone(door, **{TICKET: phone.jar[TICKET], PASS: OFFICE.ticket(3, NOW_US)})
        assert state(await stranger.look()) == "called"


@in_virtual_time
async def test_who_is_called_and_finds_the_door_booked_out_is_told_so(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        tickets = await crowd(door, 100)
        assert door.line.room is not None
        door.line.room.door(range(29), door.line.now_us)
        busy = await Phone(door, **{TICKET: tickets[29]}).act("enter")
        assert (busy.status, state(busy), int(busy.headers["Retry-After"]) >= 1) == (429, "busy", True)
        assert f'data-next="{busy.headers["Retry-After"]}"' in busy.text


@in_virtual_time
async def test_a_pause_is_said_to_who_waits_and_to_who_is_held(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        tickets = await crowd(door, 100)
        held = [asyncio.create_task(Phone(door, **{TICKET: ticket}).act("enter")) for ticket in tickets[:15]]
        await asyncio.sleep(0.3)
        assert await door.line.act(Acts(1, is_paused=True, message="곧 다시 엽니다"))
        told = await asyncio.gather(*held)
        assert {state(answer) for answer in told if answer.status == 429} == {"paused"}
        waiting = await Phone(door, **{TICKET: tickets[50]}).look()
        assert (state(waiting), "곧 다시 엽니다" in waiting.text) == ("paused", True)


@in_virtual_time
async def test_a_closed_room_is_a_page_for_who_waits_and_for_who_has_no_place(tmp_path: Path) -> None:
    """No page of trouble: it may be closed for a night, and a proxy has a page of its own for each 503."""
    async with entrance(tmp_path) as door:
        tickets = await crowd(door, 100)
        assert await door.line.act(Acts(1, is_closed=True, message="내일 다시 엽니다"))
        phone = Phone(door)
        pressed = await phone.act("join")
        assert (pressed.status, state(pressed), pressed.cookies, "Retry-After" in pressed.headers) == (200, "shut", {}, False)
        await asyncio.sleep(0.3)
        assert (state(await phone.look()), "내일 다시 엽니다" in (await phone.look()).text) == ("shut", True)
        waiting = await Phone(door, **{TICKET: tickets[50]}).look()
        assert (waiting.status, state(waiting), "내일 다시 엽니다" in waiting.text, "refresh" in waiting.text) == (200, "closed", True, True)
        knocked = await Phone(door, **{TICKET: tickets[0]}).act("enter")
        assert (knocked.status, state(knocked)) == (429, "closed")
        assert await door.line.act(Acts(2))
        await asyncio.sleep(0.6)
        assert state(await phone.look()) == "outside"
        assert (await phone.act("join")).status == 303
        assert state(await Phone(door, **{TICKET: tickets[50]}).look()) == "waiting"


@in_virtual_time
async def test_while_the_store_is_away_the_page_waits_and_then_has_a_place(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        await crowd(door, 40)
        door.line.away = True
        phone = Phone(door)
        assert (await phone.act("join")).status == 303
        assert state(await phone.look()) == "provisional"
        entered = await phone.act("enter")
        assert (entered.status, state(entered)) == (429, "provisional")
        door.line.away = False
        await asyncio.sleep(0.6)
        placed = await phone.look()
        assert (state(placed), [*placed.cookies]) == ("waiting", [TICKET])  # a line that forgets keeps only who has a place
        assert isinstance(phone.ticket, Ticket)
        assert (await phone.look()).cookies == {}
        assert door.line.room is not None
        assert door.line.room.tail == 41


@in_virtual_time
async def test_a_full_line_is_a_page_too(tmp_path: Path) -> None:
    async with entrance(tmp_path, line_max=1) as door:
        await crowd(door, 1)
        door.line.room.pause(door.line.now_us)  # type: ignore[union-attr]
        told = [await Phone(door).act("join") for _ in range(4)]
        assert (told[-1].status, state(told[-1]), told[-1].cookies) == (503, "full", {})


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"act=join", "text/plain", "unsupported-media-type"),
        (b"act=join", "", "unsupported-media-type"),
        (b"act=leave", FORM, "invalid"),
        (b"x=1", FORM, "invalid"),
        (b"act", FORM, "invalid"),
        (b"\xff\xfe=\x00", FORM, "invalid"),
        (b"&".join(b"a%d=1" % number for number in range(50)), FORM, "invalid"),
        (b"a" * 1_025, FORM, "body-too-large"),
    ],
)
@in_virtual_time
async def test_a_form_that_is_not_the_pages_is_refused(tmp_path: Path, body: bytes, content_type: str, code: str) -> None:
    async with entrance(tmp_path) as door:
        told = await door.ask("POST", PAGE, body, Content_Type=content_type)
        assert (told.code, told.cookies, door.line.asked("join")) == (code, {}, [])


@in_virtual_time
async def test_a_form_may_name_its_charset(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        told = await door.ask("POST", PAGE, b"act=join", Content_Type="Application/X-WWW-Form-Urlencoded; charset=UTF-8")
        assert told.status == 303


@in_virtual_time
async def test_the_page_speaks_the_language_of_who_reads_it(tmp_path: Path) -> None:
    async with entrance(tmp_path, title="Step by step", title_ko="걸음마다") as door:
        korean, english, other = [await Phone(door).look(Accept_Language=tags) for tags in ("ko-KR,ko;q=0.9", "en-GB", "fr")]
        assert "걸음마다" in korean.text
        assert "Step by step" in english.text
        assert ("Step by step" in other.text) != ("걸음마다" in other.text)
    async with entrance(tmp_path / "other") as door:
        assert "signup" in (await Phone(door).look(Accept_Language="ko")).text


@in_virtual_time
async def test_nobody_else_keeps_the_page(tmp_path: Path) -> None:
    async with entrance(tmp_path) as door:
        told = await Phone(door).look()
        assert told.headers["Content-Type"] == "text/html; charset=utf-8"
        assert told.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in told.headers["Content-Security-Policy"]
