"""Quotas as phones and operators see them: a real gateway of two workers before a real Redis."""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest_asyncio
from redis.asyncio import Redis

from devstack import Devstack
from tests.system.gateway import WIDE, Gateway, running, sample, signup, sync

Topics = Callable[..., Awaitable[dict[str, str]]]

_prefixes: Final = count(1)


def limits(charge: str, **burst_by: int) -> dict[str, object]:
    """Buckets of these sizes that hardly refill while a test runs; nobody else is limited.

    The limits wait for Redis as long as they may: who is not answered in time is admitted by a worker's own share, and counts are not exact.
    """
    rules = [{"by": by, "tokens": 1, "per_s": 3600, "burst": burst} for by, burst in burst_by.items()]
    policies = [{"name": "p", "charge": charge, "rules": rules}]
    return {**WIDE, "prefix": f"test{next(_prefixes)}:", "decide_timeout_ms": 100, "policies": policies}


@contextlib.asynccontextmanager
async def phones(keeps: bool = True) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=20, force_close=not keeps)) as session:
        yield session


async def post(gateway: Gateway, user: str, *samples: Mapping[str, object], **headers: str) -> tuple[int, dict[str, Any], Mapping[str, str]]:
    """One sync on a connection of its own, so that it may meet either worker."""
    body = sync(*samples)
    async with phones(keeps=False) as phone, phone.post(f"{gateway.public}/v1/syncs", headers=gateway.headers(user) | headers, json=body) as answer:
        return answer.status, await answer.json(), answer.headers


async def statuses(gateway: Gateway, users: Sequence[str], **headers: str) -> Counter[int]:
    return Counter([status for status, _, _ in await asyncio.gather(*(post(gateway, user, **headers) for user in users))])


async def test_a_user_has_so_many_and_no_more_wherever_they_are_served(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """Exact across workers; told by 429 with the fields of that policy alone; nobody else is the poorer."""
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), limits=limits("syncs", **{"global": 100, "user": 5})) as gateway:
        assert await statuses(gateway, ["u1"] * 20) == {202: 5, 429: 15}
        status, problem, headers = await post(gateway, "u1")
        assert (status, problem["code"], problem["policy"], problem["retryable"]) == (429, "rate-limited", "p-user", True)
        assert headers["RateLimit-Policy"] == '"p-user";q=5;w=18000'
        wait_s = int(headers["Retry-After"])
        assert 3_000 < wait_s <= 3_600
        assert headers["RateLimit"] == f'"p-user";r=0;t={wait_s}'
        assert await statuses(gateway, ["u2"] * 5) == {202: 5}
        metrics = await gateway.metrics()
        assert metrics['sluicegate_limits_total{charge="syncs",result="user"}'] == 16
        assert metrics['sluicegate_limits_total{charge="syncs",result="admitted"}'] == 10


async def test_a_limit_of_all_together_is_our_trouble(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """503, no RateLimit fields, and the refused are spread; who was refused by one bucket has paid into none."""
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), limits=limits("syncs", route=8, user=5)) as gateway:
        found = [await post(gateway, f"u{n % 4}") for n in range(12)]
        assert Counter(status for status, _, _ in found) == {202: 8, 503: 4}
        _, problem, headers = found[-1]
        assert (problem["code"], problem["policy"]) == ("overloaded", "p")
        assert "RateLimit" not in headers
        assert int(headers["Retry-After"]) >= 1


async def test_an_address_is_who_our_proxy_says(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    settings: dict[str, Mapping[str, object]] = {
        "deliver": await fresh_topics(),
        "limits": limits("syncs", address=2),
        "http": {"trusted_proxies": ["127.0.0.0/8"]},
    }
    async with running(directory, stack.kafka.bootstrap, **settings) as gateway:
        users = ["a", "b", "c", "d"]
        assert await statuses(gateway, users, **{"X-Forwarded-For": "198.51.100.7"}) == {202: 2, 429: 2}
        assert await statuses(gateway, users, **{"X-Forwarded-For": "198.51.100.8"}) == {202: 2, 429: 2}
        assert await statuses(gateway, users, **{"X-Forwarded-For": "203.0.113.1, 198.51.100.8"}) == {429: 4}  # the left one anybody can write
        hosts = [f"2001:db8:1:2::{n}" for n in range(4)]
        found = [status for host in hosts for status in await statuses(gateway, ["e"], **{"X-Forwarded-For": host})]
        assert Counter(found) == {202: 2, 429: 2}  # one /64
        assert await statuses(gateway, ["e"], **{"X-Forwarded-For": "2001:db8:1:3::1"}) == {202: 1}


async def test_nobody_names_their_own_address(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), limits=limits("signups", address=2)) as gateway, phones() as phone:
        found = []
        for n in range(4):
            body = signup(f"0190a6f0-0000-7000-8000-00000000000{n}")
            async with phone.post(f"{gateway.public}/v1/signups", json=body, headers={"X-Forwarded-For": f"198.51.100.{n}"}) as answer:
                found.append(answer.status)
        assert found == [202, 202, 429, 429]


async def test_samples_beyond_the_share_are_told_to_come_again(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """The first is paid for with the request; the lowest seqs pass, so the phone may forget as much as possible."""
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), limits=limits("samples", user=5)) as gateway:
        status, told, headers = await post(gateway, "u1", *(sample(seq) for seq in (9, 1, 8, 2, 7, 3, 6, 4, 5, 10)))
        assert (status, told["accepted"], told["ack_through"]) == (202, 6, 6)
        assert {(entry["seq"], entry["status"], entry["code"]) for entry in told["results"]} == {(seq, "retry", "rate-limited") for seq in (7, 8, 9, 10)}
        assert int(headers["Retry-After"]) > 3_600
        assert (await post(gateway, "u1", sample(7)))[0] == 202  # one by one they still come through
        status, told, _ = await post(gateway, "u1", sample(8), sample(9))
        assert (status, told["accepted"], [entry["seq"] for entry in told["results"]]) == (202, 1, [9])
        metrics = await gateway.metrics()
        assert metrics['sluicegate_events_total{outcome="limited",topic="syncs"}'] == 5
        assert metrics['sluicegate_limits_total{charge="samples",result="user"}'] == 5


async def test_a_shadow_measures_and_refuses_nobody(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    settings = limits("syncs", user=5)
    assert isinstance(settings["policies"], list)
    settings["policies"][0]["shadow"] = True
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), limits=settings) as gateway:
        assert await statuses(gateway, ["u1"] * 20) == {202: 20}
        metrics = await gateway.metrics()
        assert metrics['sluicegate_limits_total{charge="syncs",result="shadow_admitted"}'] == 5
        assert metrics['sluicegate_limits_total{charge="syncs",result="shadow_refused"}'] == 15


async def test_a_reload_changes_limits_and_keeps_what_was_spent(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), limits=limits("syncs", user=5)) as gateway:
        assert await statuses(gateway, ["u1"] * 8) == {202: 5, 429: 3}
        text = gateway.config_path.read_text()
        changed = text.replace("burst = 5}", "burst = 8}").replace('prefix = "test', 'prefix = "other')
        assert len(changed) == len(text) + 1
        gateway.config_path.write_text(changed)
        gateway.process.send_signal(signal.SIGHUP)
        await both_refuse_by(gateway, "u2", '"p-user";q=8;w=28800')
        assert await statuses(gateway, ["u1"] * 8) == {202: 3, 429: 5}
        assert any(line["event"].startswith("limits.prefix stays") and line["refused"].startswith("other") for line in gateway.log_lines())


async def both_refuse_by(gateway: Gateway, user: str, policy: str) -> None:
    """Spend what this user has, until each of the two workers has said so of it: each hears of a reload by itself."""
    told: dict[str, str] = {}
    async with asyncio.timeout(20):
        while list(told.values()) != [policy] * 2:
            status, _, headers = await post(gateway, user)
            if status == 429:
                told[headers["Request-Id"].partition("-")[0]] = headers["RateLimit-Policy"]


async def test_no_identity_stands_in_redis(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    settings = limits("syncs", address=100, user=100) | {"newcomers_per_s": 1}
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), limits=settings) as gateway:
        await post(gateway, "somebody-we-know")
        async with Redis.from_url(stack.redis.url) as redis:
            keys = [key.decode() async for key in redis.scan_iter(f"{settings['prefix']}*")]
        assert {key.removeprefix(str(settings["prefix"])).rpartition(":")[0] for key in keys} >= {"p:address", "p:user", "newcomers"}
        assert not any("somebody" in key or "127.0.0.1" in key for key in keys)
        assert "somebody" not in gateway.log()


# Redis slow or away


@pytest_asyncio.fixture(loop_scope="session")
async def own_redis(tmp_path: Path) -> AsyncIterator[Devstack]:
    """A Valkey nobody else uses, to freeze."""
    async with Devstack(tmp_path / "own", kafka=False, fast_stop=True) as running_stack:
        yield running_stack


async def until(is_so: Callable[[], Awaitable[bool]], within_s: float, what: str) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not await is_so():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {within_s} s: {what}") from None


async def test_redis_frozen_harms_nobody_and_is_exact_again_afterwards(stack: Devstack, own_redis: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """202 by local buckets meanwhile, no 5xx; afterwards what was spent in Redis still counts."""
    settings: dict[str, Mapping[str, object]] = {"deliver": await fresh_topics(), "limits": limits("syncs", user=8), "redis": {"url": own_redis.redis.url}}
    async with running(directory, stack.kafka.bootstrap, **settings) as gateway:

        async def is_degraded() -> bool:
            return any(value for name, value in (await gateway.metrics()).items() if name.startswith("sluicegate_limiter_degraded{"))

        assert await statuses(gateway, ["u1"] * 12) == {202: 8, 429: 4}
        await own_redis.redis.pause()
        try:
            users = [f"v{n}" for n in range(100)]
            assert await statuses(gateway, users) == {202: 100}
            await until(is_degraded, 5, "it is told")
        finally:
            await own_redis.redis.resume()

        async def is_exact() -> bool:
            await statuses(gateway, [f"x{n}" for n in range(4)])  # an idle gateway does not look
            return not await is_degraded()

        await until(is_exact, 10, "Redis decides again")
        assert await statuses(gateway, ["u1"] * 4) == {429: 4}
        metrics = await gateway.metrics()
        assert metrics['sluicegate_limiter_answers_total{source="local"}'] >= 90


async def test_redis_away_at_the_start_is_no_hindrance(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    settings: dict[str, Mapping[str, object]] = {"deliver": await fresh_topics(), "limits": limits("syncs", user=8), "redis": {"url": "redis://127.0.0.1:1/0"}}
    async with running(directory, stack.kafka.bootstrap, **settings) as gateway:
        assert await statuses(gateway, [f"u{n}" for n in range(30)]) == {202: 30}
        assert set(await statuses(gateway, ["u1"] * 30)) == {202, 429}  # each worker has a share
