"""What Kafka does not take in time waits on this machine's disk: nobody is refused for it, and nothing of it is lost."""

import asyncio
import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import aiohttp

from devstack import Devstack
from tests.system.gateway import Gateway, records, running, sample, signup, sync, topics_of
from tests.system.load import Ledger, accepted, drained, events, load, session, until, until_light

QUICK: Final = {"timeout_ms": 2000, "stall_ms": 500, "connect_timeout_ms": 1000}


async def ended(pids: Iterable[int]) -> None:
    """Return when these processes are gone."""
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 60, "they are gone")


async def assert_in_order(bootstrap: str, topic: str) -> None:
    """The first copies of each person's events stand in the order they were sent: each had one request at a time."""
    first: dict[str, list[int]] = {}
    for user, seq in events(await records(bootstrap, topic)):
        first.setdefault(user, []).append(seq)
    assert all(seqs == sorted(seqs) for seqs in first.values())


async def test_a_broker_that_is_paused_costs_nobody_a_sync(breakable: Devstack, directory: Path) -> None:
    topics = await topics_of(breakable)
    async with running(directory, breakable.kafka.bootstrap, deliver={**topics, **QUICK}) as gateway:
        async with load(gateway, phones=24) as ledger:
            await accepted(ledger, within_s=30)
            await breakable.kafka.pause()
            try:
                await until_light(gateway, "red", within_s=30)
                await asyncio.sleep(5)
            finally:
                await breakable.kafka.resume()
            await until_light(gateway, "green", within_s=30)
            await accepted(ledger, within_s=30)
        assert set(ledger.tally()) == {(202, "")}
        await drained(gateway)
        now = await gateway.metrics()
        assert now['sluicegate_events_total{outcome="spooled",topic="syncs"}'] > 100
        assert now["sluicegate_spool_replayed_total{}"] > 100
    await ledger.reconcile(breakable.kafka.bootstrap, topics["syncs_topic"])
    await assert_in_order(breakable.kafka.bootstrap, topics["syncs_topic"])


async def test_everything_killed_while_kafka_is_away_loses_nothing(breakable: Devstack, directory: Path) -> None:
    """And what starts meanwhile accepts at once: it knows the topics from before."""
    topics = await topics_of(breakable)
    ledger = Ledger()
    async with running(directory, breakable.kafka.bootstrap, deliver={**topics, **QUICK}) as gateway:
        async with load(gateway, phones=6) as before:
            await accepted(before, within_s=30)
        await breakable.kafka.kill()
        try:
            async with load(gateway, phones=12, prefix="v") as during:
                await until(lambda: len(during.by(202)) > 300, 60, "300 accepted")
                pids = [gateway.process.pid, *gateway.worker_pids()]
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                await gateway.process.wait()
            await ended(pids)
            await gateway.start()
            async with load(gateway, phones=6, prefix="w") as after:
                await accepted(after, within_s=30)
        finally:
            await breakable.kafka.start()
        assert set(after.tally()) == {(202, "")}
        await until_light(gateway, "green", within_s=30)
        await drained(gateway)
        for one in (before, during, after):
            ledger.add(one)
    assert {line.status for line in during.lines} <= {202, 0}
    await ledger.reconcile(breakable.kafka.bootstrap, topics["syncs_topic"])


async def test_ten_thousand_in_flight_at_the_end_are_delivered_by_the_next_start(breakable: Devstack, directory: Path) -> None:
    topics = await topics_of(breakable)
    # So long a hedge that they are still in memory when the drain flushes.
    deliver = {**topics, "timeout_ms": 9000, "hedge_ms": 8000}
    async with running(directory, breakable.kafka.bootstrap, deliver=deliver) as gateway:
        async with load(gateway, phones=6) as first:
            await accepted(first, within_s=30)
        await breakable.kafka.pause()
        try:
            async with session() as phones:
                sending = [asyncio.create_task(_send_200(gateway, phones, f"v{n}")) for n in range(50)]
                await _until_in_flight(gateway, 10_000)
                began_s = asyncio.get_running_loop().time()
                assert await gateway.stop() == 0
                took_s = asyncio.get_running_loop().time() - began_s
                answers = await asyncio.gather(*sending)
        finally:
            await breakable.kafka.resume()
        print(f"SIGTERM with {sum(answers)} samples in flight: exit after {took_s:.1f} s")
        assert answers == [200] * 50
        await gateway.start()
        await drained(gateway)
    stored = events(await records(breakable.kafka.bootstrap, topics["syncs_topic"]))
    assert {(f"v{n}", seq) for n in range(50) for seq in range(1, 201)} <= stored.keys()


async def _send_200(gateway: Gateway, phones: aiohttp.ClientSession, user: str) -> int:
    """One sync of 200 samples: how many were accepted, of which none is in Kafka yet."""
    body = sync(*[sample(seq) for seq in range(1, 201)])
    async with phones.post(f"{gateway.public}/v1/syncs", headers=gateway.headers(user), json=body) as answer:
        told = await answer.json()
        assert (answer.status, told["durability"]) == (202, "spool"), told
        return int(told["accepted"])


async def _until_in_flight(gateway: Gateway, count: int) -> None:
    async with asyncio.timeout(20):
        while True:
            now = await gateway.metrics()
            if sum(value for name, value in now.items() if name.startswith("sluicegate_in_flight_bytes")) > count * 200:
                return
            await asyncio.sleep(0.05)


async def test_fewer_workers_adopt_what_more_have_left(breakable: Devstack, directory: Path) -> None:
    topics = await topics_of(breakable)
    settings = {"deliver": {**topics, **QUICK}}
    async with running(directory, breakable.kafka.bootstrap, **settings, process=_workers(directory, 3)) as gateway:
        async with load(gateway, phones=6) as ledger:
            await accepted(ledger, within_s=30)
        await breakable.kafka.kill()
        try:
            async with load(gateway, phones=24, prefix="v", keeps=False) as during:
                await until(lambda: len(during.by(202)) > 500, 60, "500 accepted")
            assert await gateway.stop() == 0
        finally:
            await breakable.kafka.start()
    assert [index for index in range(3) if any((directory / "spool" / str(index)).glob("*.spool"))] == [0, 1, 2]
    async with running(directory, breakable.kafka.bootstrap, **settings, process=_workers(directory, 1)) as gateway:
        await until_light(gateway, "green", within_s=30)
        await drained(gateway)
    ledger.add(during)
    await ledger.reconcile(breakable.kafka.bootstrap, topics["syncs_topic"])


def _workers(directory: Path, count: int) -> dict[str, object]:
    return {"workers": count, "data_dir": str(directory), "drain_lag_s": 0.5}


async def test_signups_are_accepted_while_kafka_is_away(breakable: Devstack, directory: Path) -> None:
    topics = await topics_of(breakable)
    forms = [signup(f"0190a6f0-0000-7000-8000-{n:012}") for n in range(20)]
    async with running(directory, breakable.kafka.bootstrap, deliver={**topics, **QUICK}) as gateway, session() as phones:
        await breakable.kafka.pause()
        try:
            for form in forms:
                async with phones.post(f"{gateway.public}/v1/signups", json=form) as answer:
                    told = await answer.json()
                    assert (answer.status, told["durability"], told["signup_id"]) == (202, "spool", form["signup_id"])
        finally:
            await breakable.kafka.resume()
        await until_light(gateway, "green", within_s=30)
        await drained(gateway)
    found = [json.loads(record.value)["signup_id"] for record in await records(breakable.kafka.bootstrap, topics["signups_topic"])]
    assert set(found) == {form["signup_id"] for form in forms}
