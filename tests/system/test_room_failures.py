"""The waiting room while its Redis is away, comes back, comes back older, or comes back empty; and while workers die."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest_asyncio

from benchmarks.people import Person, crowd, place_in
from devstack import Devstack
from tests.system.gateway import Gateway, running
from tests.system.test_room import BURST, JITTER, call

Topics = Callable[..., Awaitable[dict[str, str]]]
RATE: Final = 20.0
PATIENCE_S: Final = 20.0


@pytest_asyncio.fixture(loop_scope="session")
async def own_redis(tmp_path: Path) -> AsyncIterator[Devstack]:
    """A Valkey nobody else uses, to do things to."""
    async with Devstack(tmp_path / "own", kafka=False, fast_stop=True) as running_stack:
        yield running_stack


def settings(own: Devstack, topics: Mapping[str, str], rate_per_s: float = RATE) -> dict[str, Mapping[str, object]]:
    room = {"name": "signup", "epoch": 20261218, "floor_per_s": rate_per_s, "ceiling_per_s": rate_per_s, "fleet_workers_max": 2}
    return {"deliver": topics, "redis": {"url": own.redis.url}, "room": room}


async def join(gateway: Gateway) -> dict[str, Any]:
    status, _, body = await call(gateway, "POST", "/v1/rooms/signup/tickets", {"join_id": str(uuid.uuid4())})
    assert status == 201, body
    return body


async def place(gateway: Gateway, ticket: str) -> dict[str, Any]:
    status, _, body = await call(gateway, "GET", "/v1/rooms/signup/place", Waiting_Room_Ticket=ticket)
    assert status == 200, body
    return body


async def sign(gateway: Gateway) -> dict[str, Any]:
    status, _, body = await call(gateway, "GET", "/v1/rooms/signup")
    assert status == 200
    return body


async def line_of(gateway: Gateway, people: int) -> list[str]:
    """So many tickets, far more than go through at once."""
    return [(await join(gateway))["ticket"] for _ in range(people)]


async def until(is_so: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await is_so():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE_S:g} s: {what}") from None


async def operate(gateway: Gateway, **fields: object) -> None:
    headers = {"Authorization": f"Bearer {gateway._keys.ops}"}
    body = {"reason": "a test", **fields}
    async with aiohttp.ClientSession() as session, session.post(f"{gateway.ops}/api/rooms/signup", json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


async def test_redis_frozen_places_are_told_and_joins_are_booked_later(stack: Devstack, own_redis: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, **settings(own_redis, await fresh_topics(), 2.0)) as gateway:
        await operate(gateway, paused=True)
        before = await line_of(gateway, 20)
        await own_redis.redis.pause()
        try:
            provisional = []
            for _ in range(6):
                mine = await join(gateway)
                assert mine["state"] == "provisional"
                provisional.append(mine["ticket"])
            told = [await place(gateway, ticket) for ticket in before]
            assert {body["state"] for body in told} <= {"paused", "waiting", "called"}
            assert {(await place(gateway, ticket))["state"] for ticket in provisional} == {"provisional"}
        finally:
            await own_redis.redis.resume()

        async def are_booked() -> bool:
            return "provisional" not in {(await place(gateway, ticket))["state"] for ticket in provisional}

        await until(are_booked, "provisional tickets have places")
        booked = [place_in((await place(gateway, ticket))["ticket"]) for ticket in provisional]
        places = [place_in(ticket) for ticket in before]
        assert min(booked) > max(places)
        assert len({*booked, *places}) == len(booked) + len(places)


async def test_redis_killed_and_empty_again_no_place_is_given_twice_and_a_pause_stays(
    stack: Devstack, own_redis: Devstack, fresh_topics: Topics, directory: Path
) -> None:
    async with running(directory, stack.kafka.bootstrap, **settings(own_redis, await fresh_topics())) as gateway:
        await operate(gateway, paused=True, message="한 시간 뒤에 다시 엽니다")
        before = await line_of(gateway, 30)

        async def is_told() -> bool:
            return bool((await sign(gateway))["state"] == "paused")

        await until(is_told, "the sign says paused")
        await own_redis.redis.kill()
        away = await join(gateway)
        assert away["state"] == "provisional"
        await own_redis.redis.restart()

        async def are_back() -> bool:
            """Both workers: connections fall to either."""
            return "provisional" not in {(await join(gateway))["state"] for _ in range(10)}

        await until(are_back, "joins have places again")
        after = [await join(gateway) for _ in range(20)]
        assert {body["state"] for body in after} == {"paused"}
        assert ((await sign(gateway))["state"], (await sign(gateway))["message"]) == ("paused", "한 시간 뒤에 다시 엽니다")
        assert min(place_in(body["ticket"]) for body in after) > max(map(place_in, before))
        assert {(await place(gateway, ticket))["state"] for ticket in before} == {"paused"}


async def test_redis_killed_while_closed_no_ticket_is_given_and_it_stays_closed(
    stack: Devstack, own_redis: Devstack, fresh_topics: Topics, directory: Path
) -> None:
    """Closed before and, by another act, while it is away: the supervisor tells the workers past it."""
    async with running(directory, stack.kafka.bootstrap, **settings(own_redis, await fresh_topics())) as gateway:
        await operate(gateway, paused=True)
        [ticket] = await line_of(gateway, 1)
        await own_redis.redis.kill()

        async def is_away() -> bool:
            """Both workers: connections fall to either."""
            return {(await join(gateway))["state"] for _ in range(10)} == {"provisional"}

        await until(is_away, "joins are provisional")
        headers = {"Authorization": f"Bearer {gateway._keys.ops}"}
        url = f"{gateway.ops}/api/rooms/signup"
        async with aiohttp.ClientSession() as session, session.post(url, json={"reason": "a test", "closed": True}, headers=headers) as answer:
            assert (answer.status, (await answer.json(content_type=None))["closed"]) == (503, True)

        async def is_closed() -> bool:
            found = [await call(gateway, "POST", "/v1/rooms/signup/tickets", {"join_id": str(uuid.uuid4())}) for _ in range(10)]
            return {(status, body.get("code")) for status, _, body in found} == {(503, "room-closed")}

        await until(is_closed, "nobody may join")
        assert {(await place(gateway, ticket))["state"] for _ in range(10)} == {"closed"}
        assert (await sign(gateway))["state"] == "closed"
        await own_redis.redis.restart()

        async def is_back() -> bool:
            async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
                return bool((await answer.json(content_type=None)).get("applied"))

        await until(is_back, "the act is in the store")
        await until(is_closed, "nobody may join, says the store")
        assert {(await place(gateway, ticket))["state"] for _ in range(10)} == {"closed"}
        await operate(gateway, closed=False, paused=False)
        await until_through(gateway, ticket)


async def test_redis_emptied_by_a_slip_is_raised_again(stack: Devstack, own_redis: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, **settings(own_redis, await fresh_topics())) as gateway:
        await operate(gateway, paused=True)
        before = await line_of(gateway, 30)
        await asyncio.sleep(1)  # two ticks of each worker: what nobody has seen nobody remembers
        await own_redis.redis.empty()
        after = [await join(gateway) for _ in range(20)]
        assert min(place_in(body["ticket"]) for body in after) > max(map(place_in, before))
        assert (await sign(gateway))["state"] == "paused"
        await operate(gateway, paused=False)
        # Who was there first stands in front, and all who come back get in.
        for ticket in before[:5]:
            await until_through(gateway, ticket)


async def until_through(gateway: Gateway, ticket: str) -> None:
    async def is_through() -> bool:
        status, headers, _ = await call(gateway, "POST", "/v1/rooms/signup/passes", Waiting_Room_Ticket=ticket)
        if status == 429:
            await asyncio.sleep(min(float(headers["Retry-After"]), 2.0))
        return status == 201

    await until(is_through, "through")


async def test_a_failover_that_loses_the_last_second_gives_no_place_twice(stack: Devstack, own_redis: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, **settings(own_redis, await fresh_topics())) as gateway:
        await operate(gateway, paused=True)
        tickets: list[str] = []
        is_over = asyncio.Event()

        async def keep_joining() -> None:
            while not is_over.is_set():
                body = await join(gateway)
                if body["state"] != "provisional":
                    tickets.append(body["ticket"])
                await asyncio.sleep(0.005)

        async def some_more() -> None:
            wanted = len(tickets) + 50

            async def have_joined() -> bool:
                return len(tickets) >= wanted

            await until(have_joined, "50 more have places")

        joining = [asyncio.create_task(keep_joining()) for _ in range(4)]
        await some_more()
        await own_redis.redis.fail_over(1_000)
        await some_more()
        await asyncio.sleep(2)  # and all who come while the workers find out
        is_over.set()
        await asyncio.gather(*joining)
        places = [place_in(ticket) for ticket in tickets]
        assert len(set(places)) == len(places)
        assert (await sign(gateway))["state"] == "paused"


async def test_while_redis_is_away_the_door_goes_on_at_its_share(stack: Devstack, own_redis: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """People keep coming through, never faster than the rate; afterwards everybody gets in."""
    people = [Person() for _ in range(240)]
    async with running(directory, stack.kafka.bootstrap, **settings(own_redis, await fresh_topics())) as gateway:

        async def freeze() -> None:
            await asyncio.sleep(1.5)
            await own_redis.redis.pause()
            await asyncio.sleep(8)
            await own_redis.redis.resume()

        seen, _ = await asyncio.gather(crowd(people, gateway.public, over_s=0.5), freeze())
        assert [person.phone.known.failed for person in people if not person.phone.known.is_done] == []
        # The share begins behind what the store had booked; each worker lets one in at a time.
        assert seen.most_in(1.0) <= RATE + BURST + 2 + JITTER
        metrics = await gateway.metrics()
        assert metrics['sluicegate_room_knocks_total{result="alone"}'] > 0


async def test_a_killed_worker_costs_nobody_a_place(stack: Devstack, own_redis: Devstack, fresh_topics: Topics, directory: Path) -> None:
    people = [Person() for _ in range(120)]
    async with running(directory, stack.kafka.bootstrap, **settings(own_redis, await fresh_topics())) as gateway:

        async def kill() -> None:
            for _ in range(2):
                await asyncio.sleep(1.5)
                os.kill(gateway.worker_pids()[0], signal.SIGKILL)

        seen, _ = await asyncio.gather(crowd(people, gateway.public, over_s=0.5), kill())
        assert [person.phone.known.failed for person in people if not person.phone.known.is_done] == []
        places = [place_in(ticket) for ticket in seen.places.values()]
        assert len(set(places)) == len(places) == len(people)
        assert seen.most_in(1.0) <= RATE + BURST + JITTER
