"""The waiting room of the real gateway: two workers, real Redis and Kafka, phones over sockets."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest_asyncio

from benchmarks.people import Person, crowd, place_in
from devstack import Devstack
from examples.phone import application
from tests.system.gateway import Gateway, header, records, running

RATE: Final = 50.0
BURST: Final = 10  # people: burst_s of the rate
JITTER: Final = 1  # one person: two workers reckon the room's time to a few milliseconds
TICKS_S: Final = 20.0  # by then, by far, each worker's sign knows who went through with a join
EPOCH: Final = 20261218
numbers = iter(range(1, 1_000))


def room(rate_per_s: float = RATE, **settings: object) -> Mapping[str, object]:
    """A door that is as wide as it may be; each a line of its own."""
    return {"name": "signup", "epoch": EPOCH + next(numbers), "floor_per_s": rate_per_s, "ceiling_per_s": rate_per_s, **settings}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def open_gateway(stack: Devstack, fresh_topics: Callable[..., Awaitable[dict[str, str]]], tmp_path_factory: Any) -> AsyncIterator[Gateway]:
    """One with a room, for all that leaves it as it was."""
    directory: Path = tmp_path_factory.mktemp("room")
    deliver = {**await fresh_topics(), "hedge_ms": 4000}  # on a busy machine Kafka may take longer than 250 ms, and then the spool answers
    async with running(directory, stack.kafka.bootstrap, deliver=deliver, room=room(cors_origins=["https://walk.example"])) as gateway:
        yield gateway


async def call(gateway: Gateway, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Mapping[str, str], dict[str, Any]]:
    """One call and its answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.request(method, gateway.public + path, json=body, headers=named, allow_redirects=False) as answer:
        text = await answer.read()
        return answer.status, answer.headers, await answer.json(content_type=None) if text.startswith(b"{") else {}


async def joined(gateway: Gateway) -> dict[str, Any]:
    status, _, body = await call(gateway, "POST", "/v1/rooms/signup/tickets", {"join_id": str(uuid.uuid4())})
    assert status == 201, body
    return body


# A quiet day


async def test_on_a_quiet_day_the_pass_comes_with_the_ticket_and_signs_up_once(open_gateway: Gateway) -> None:
    mine = await joined(open_gateway)
    assert (mine["state"], mine["ahead"]) == ("through", 0)
    form = application()
    for _ in range(2):  # a repeat is the same event
        status, _, body = await call(open_gateway, "POST", "/v1/signups", form, Waiting_Room_Pass=mine["pass"])
        assert (status, body["durability"], body["signup_id"]) == (202, "kafka", form["signup_id"])
    status, _, body = await call(open_gateway, "POST", "/v1/signups", application(), Waiting_Room_Pass=mine["pass"])
    assert (status, body["errors"][0]["pointer"]) == (422, "/signup_id")  # one pass, one applicant
    topic = open_gateway.config_path.read_text().split('signups_topic = "')[1].split('"')[0]
    found = [record for record in await records(open_gateway.bootstrap, topic) if form["signup_id"].encode() in (record.value or b"")]
    assert len({header(record, "ce_id") for record in found}) == 1
    room_name, epoch, place = (found[0].key or b"").decode().split(":")
    assert (room_name, int(epoch) > EPOCH, place.isdigit()) == ("signup", True, True)


async def test_who_joins_again_has_the_same_place_and_the_same_pass(open_gateway: Gateway) -> None:
    join_id = {"join_id": str(uuid.uuid4())}
    first = await call(open_gateway, "POST", "/v1/rooms/signup/tickets", join_id)
    again = await call(open_gateway, "POST", "/v1/rooms/signup/tickets", join_id)
    assert (first[0], again[0]) == (201, 200)
    assert place_in(first[2]["ticket"]) == place_in(again[2]["ticket"])
    assert first[2]["pass"] == again[2]["pass"]
    async with asyncio.timeout(TICKS_S):
        while (knocked := await call(open_gateway, "POST", "/v1/rooms/signup/passes", Waiting_Room_Ticket=first[2]["ticket"]))[0] == 429:
            await asyncio.sleep(0.05)
    assert (knocked[0], knocked[2]["pass"]) == (201, first[2]["pass"])


async def test_what_is_refused_says_so_and_where_to_go(open_gateway: Gateway) -> None:
    mine = await joined(open_gateway)
    rows: list[tuple[str, str, object, dict[str, str], int, str]] = [
        ("POST", "/v1/signups", application(), {}, 403, "pass-required"),
        ("POST", "/v1/signups", application(), {"Waiting_Room_Pass": "x" * 64}, 403, "pass-invalid"),
        ("POST", "/v1/signups", application(), {"Waiting_Room_Pass": mine["ticket"]}, 403, "pass-invalid"),
        ("GET", "/v1/rooms/signup/place", None, {}, 403, "ticket-invalid"),
        ("GET", "/v1/rooms/signup/place", None, {"Waiting_Room_Ticket": mine["pass"]}, 403, "ticket-invalid"),
        ("POST", "/v1/rooms/signup/passes", None, {"Waiting_Room_Ticket": mine["ticket"][:-1]}, 403, "ticket-invalid"),
        ("POST", "/v1/rooms/signup/tickets", {"join_id": "1"}, {}, 422, "invalid"),
        ("POST", "/v1/rooms/signup/tickets", {"join_id": str(uuid.uuid1())}, {}, 422, "invalid"),
        ("POST", "/v1/rooms/signup/tickets", {}, {}, 422, "invalid"),
        ("POST", "/v1/rooms/signup/tickets", [], {}, 422, "invalid"),
        ("GET", "/v1/rooms/signup/tickets", None, {}, 405, "method-not-allowed"),
        ("GET", "/v1/rooms/other/place", None, {}, 404, "not-found"),
    ]
    for method, path, body, headers, status, code in rows:
        found = await call(open_gateway, method, path, body, **headers)
        assert (path, found[0], found[2].get("code")) == (path, status, code)
        assert ("Link" in found[1]) == (status == 403)


async def test_the_sign_is_for_everybody_and_cacheable(open_gateway: Gateway) -> None:
    status, headers, body = await call(open_gateway, "GET", "/v1/rooms/signup")
    assert (status, headers["Cache-Control"], body["state"], body["rate_per_s"]) == (200, "public, max-age=1", "open", RATE)
    assert body["reason"] in {"lag-unknown", "told", "ceiling", "floor"}
    etag = headers["ETag"]
    found = [await call(open_gateway, "GET", "/v1/rooms/signup", If_None_Match=etag) for _ in range(3)]
    assert all(status in (200, 304) for status, *_ in found)


async def test_pages_of_named_origins_may_call_and_no_others(open_gateway: Gateway) -> None:
    for origin, is_allowed in (("https://walk.example", True), ("https://evil.example", False)):
        _, headers, _ = await call(open_gateway, "GET", "/v1/rooms/signup", Origin=origin)
        assert (headers.get("Access-Control-Allow-Origin") == origin, headers["Vary"]) == (is_allowed, "Origin")
        status, headers, _ = await call(open_gateway, "OPTIONS", "/v1/rooms/signup/passes", Origin=origin)
        assert (status, headers.get("Access-Control-Allow-Origin") == origin) == (204, is_allowed)
    status, _, _ = await call(open_gateway, "OPTIONS", "/v1/syncs", Origin="https://walk.example")
    assert status == 405


async def test_a_browser_without_javascript_gets_in(open_gateway: Gateway) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        url = f"{open_gateway.public}/rooms/signup"
        async with session.get(url, headers={"Accept-Language": "en"}) as page:
            assert (page.status, "text/html" in page.headers["Content-Type"], 'value="join"' in await page.text() or "value=join" in await page.text()) == (
                200,
                True,
                True,
            )
        async with session.post(url, data={"act": "join"}, allow_redirects=False) as answer:
            cookies = answer.headers.getall("Set-Cookie")
            assert (answer.status, answer.headers["Location"]) == (303, "/rooms/signup")
            assert all("Secure; HttpOnly; SameSite=Lax" in cookie and cookie.startswith("__Host-") for cookie in cookies)
        sent = "; ".join(cookie.partition(";")[0] for cookie in cookies)  # by hand: Secure cookies go to no http address
        async with session.get(url, headers={"Cookie": sent, "Accept-Language": "ko"}) as page:
            text = await page.text()
            assert (page.status, 'lang="ko"' in text or "lang=ko" in text) == (200, True)
        passed = [cookie for cookie in cookies if cookie.startswith("__Host-pass-")]
        assert passed, cookies  # a quiet day
        ticket = next(cookie for cookie in cookies if cookie.startswith("__Host-ticket-")).partition(";")[0]

        async def entered() -> str:
            async with session.post(url, data={"act": "enter"}, headers={"Cookie": ticket}, allow_redirects=False) as answer:
                return answer.headers.get("Set-Cookie", "").partition(";")[0] if answer.status == 303 else ""

        async with asyncio.timeout(TICKS_S):
            while not (got := await entered()).startswith("__Host-pass-"):
                await asyncio.sleep(0.05)
        assert got == passed[0].partition(";")[0]


# A crowd


async def test_a_crowd_goes_through_at_the_rate_and_everybody_who_stays_gets_in(
    stack: Devstack, fresh_topics: Callable[..., Awaitable[dict[str, str]]], directory: Path
) -> None:
    """A third leaves, some sleep, most are cut off and come back at once; nobody loses a place."""
    random_ = random.Random(4)
    people = []
    for _ in range(400):
        lot = random_.random()
        person = Person()
        if lot < 0.3:
            person.leaves_after_s = random_.uniform(0.5, 6)
        elif lot < 0.9:
            person.away_from_s, person.away_s = random_.uniform(0, 2), 3.0
        people.append(person)
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), room=room()) as gateway:
        seen = await crowd(people, gateway.public)
        stayed = [person for person in people if not person.has_left]
        assert [person.phone.known.failed for person in stayed if not person.phone.known.is_done] == []
        places = [place_in(ticket) for ticket in seen.places.values()]
        assert len(set(places)) == len(places) == len(people)
        assert seen.most_in(1.0) <= RATE + BURST + JITTER
        assert seen.most_in(5.0) <= 5 * RATE + BURST + JITTER
        assert not {status for (_, status) in seen.statuses} & {500, 503}
        metrics = await gateway.metrics()
        assert metrics['sluicegate_room_joins_total{result="new"}'] == len(people)


async def test_who_knocks_without_pause_wins_nothing(stack: Devstack, fresh_topics: Callable[..., Awaitable[dict[str, str]]], directory: Path) -> None:
    """Fifty phones that ignore every Retry-After: the door is exact, and those who behave get in all the same."""
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), room=room()) as gateway:

        async def hammer(session: aiohttp.ClientSession, ticket: str) -> None:
            while True:
                async with session.post(f"{gateway.public}/v1/rooms/signup/passes", headers={"Waiting-Room-Ticket": ticket}) as answer:
                    if answer.status == 201:
                        return
                    assert answer.status == 429, await answer.text()

        async def all_hammer() -> None:
            await asyncio.sleep(0.6)
            tickets = [(await joined(gateway))["ticket"] for _ in range(50)]
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
                await asyncio.wait_for(asyncio.gather(*(hammer(session, ticket) for ticket in tickets)), 60)

        seen, _ = await asyncio.gather(crowd([Person() for _ in range(200)], gateway.public, over_s=0.5), all_hammer())
        assert seen.most_in(1.0) <= RATE + BURST + JITTER
        assert len(seen.released_s) == 200
