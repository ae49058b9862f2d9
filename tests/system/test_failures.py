"""Nothing that was accepted is lost, whoever dies; and everything comes back by itself."""

import asyncio
import contextlib
import os
import signal
import socket
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count, pairwise
from pathlib import Path
from typing import Final

import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from devstack import Devstack, Topic
from gateway.core.event import Forge, bytes_max
from gateway.core.payload import Sample
from tests.system.gateway import Gateway, records, running, sample, signup, sync, topics_of
from tests.system.load import Ledger, Phone, accepted, events, light, load, session, until, until_light

Topics = Callable[..., Awaitable[dict[str, str]]]

# Passes through every state within seconds: slow after 0.5 s, given up after 2 s.
QUICK: Final = {"timeout_ms": 2000, "stall_ms": 500, "connect_timeout_ms": 1000}
# What a spool makes of the same is in test_spool.py.
NO_SPOOL: Final = {"enabled": False}
PATIENT: Final = {"hedge_ms": 4000}  # else who waits for Kafka's last word is answered from the spool
_COUNTS: Final = ("_total", "_count", "_bucket", "_sum")


def is_up(stack: Devstack) -> bool:
    host, _, port = stack.kafka.bootstrap.rpartition(":")
    with socket.socket() as visitor:
        return visitor.connect_ex((host, int(port))) == 0


@contextlib.asynccontextmanager
async def scraping(gateway: Gateway, every_s: float = 0.1) -> AsyncIterator[list[dict[str, float]]]:
    """/metrics, again and again; the first is there already."""
    series = [await gateway.metrics()]

    async def scrape() -> None:
        while True:
            series.append(await gateway.metrics())
            await asyncio.sleep(every_s)

    task = asyncio.create_task(scrape())
    try:
        yield series
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def rss_bytes(pids: list[int]) -> int:
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * os.sysconf("SC_PAGE_SIZE")


async def until_started(series: list[dict[str, float]], starts: int) -> None:
    """Wait until so many workers have been started and both that are left serve."""
    await until(lambda: series[-1]["sluicegate_worker_starts_total{}"] >= starts, 10, f"start {starts}")
    await until(lambda: all(series[-1][f'sluicegate_worker_state{{worker="{n}"}}'] == 2 for n in (0, 1)), 20, "both serve")


async def until_idle(gateway: Gateway) -> dict[str, float]:
    """Wait until nothing is in flight and the light is green: gauges are posted with heartbeats, two a second."""
    async with asyncio.timeout(20):
        while True:
            now = await gateway.metrics()
            if all((now[f'sluicegate_in_flight_bytes{{worker="{n}"}}'], now[f'sluicegate_kafka_light{{worker="{n}"}}']) == (0, 1) for n in (0, 1)):
                return now
            await asyncio.sleep(0.1)


async def test_a_killed_worker_loses_nothing_acked_and_no_count(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    topics = await fresh_topics()
    async with running(directory, stack.kafka.bootstrap, deliver=topics) as gateway:
        async with scraping(gateway) as series, load(gateway, phones=16, pause_s=0.002) as ledger:
            for kill in range(5):
                await accepted(ledger, within_s=30)
                os.kill(sorted(gateway.worker_pids())[kill % 2], signal.SIGKILL)
                await until_started(series, 2 + kill + 1)
            await accepted(ledger, within_s=30)
        for before, after in pairwise(series):
            fallen = {name for name, value in after.items() if name.partition("{")[0].endswith(_COUNTS) and value < before[name]}
            assert not fallen
        told = ledger.tally()
        print("kill -9:", dict(told))
        # Who was being served by the killed one is cut off; nobody is turned away.
        assert {status for status, _ in told} <= {202, 0}
        assert not {code for _, code in told} & {"ConnectionRefusedError", "TimeoutError"}
        now = await until_idle(gateway)
        assert now["sluicegate_worker_starts_total{}"] == 2 + 5
        assert now['sluicegate_requests_total{route="syncs",status="202"}'] >= len(ledger.by(202))
        for n in ("0", "1"):
            assert 0 <= now[f'sluicegate_connections{{worker="{n}"}}'] <= 1
    await ledger.reconcile(stack.kafka.bootstrap, topics["syncs_topic"])


def assert_honest_refusals(ledger: Ledger) -> None:
    """While Kafka is away there are two answers, and both say what a phone needs to know."""
    assert {line.code for line in ledger.lines if line.status != 202} <= {"not-durable"}
    for line in ledger.by(503):
        assert line.problem["outcome"] in ("none", "unknown")
        assert line.problem["retryable"] is True
        assert int(line.retry_after) >= 1


async def test_a_paused_broker_is_refused_fast_and_comes_back_by_itself(breakable: Devstack, directory: Path) -> None:
    topics = await topics_of(breakable)
    async with running(directory, breakable.kafka.bootstrap, deliver={**topics, **QUICK}, spool=NO_SPOOL) as gateway:
        clock = asyncio.get_running_loop().time
        # So few that none is refused for an event loop that a busy machine holds up: that is another answer (core/overload.py).
        async with load(gateway, phones=15) as ledger:
            await accepted(ledger, within_s=30)
            await until_light(gateway, "green", within_s=30)
            rss_before = rss_bytes(gateway.worker_pids())
            await breakable.kafka.pause()
            try:
                paused_s = clock()
                shown = [await until_light(gateway, "amber", "red", within_s=30), await until_light(gateway, "red", within_s=30)]
                await asyncio.sleep(max(paused_s + 12 - clock(), 0))
                rss_growth = rss_bytes(gateway.worker_pids()) - rss_before
            finally:
                await breakable.kafka.resume()
            recovery_s = await accepted(ledger, within_s=30)
            await until_light(gateway, "green", within_s=30)
            # Recovered means recovered: nobody is refused any more.
            await until(lambda: {line.status for line in ledger.lines[-100:]} == {202}, 30, "all are accepted")
        # Who was sent last before it went on may have met it on.
        stalled = [line for line in ledger.lines if paused_s + 5 < line.sent_s < paused_s + 11]
        refusal_s = statistics.median(line.took_s for line in stalled)
        print(f"paused: {dict(ledger.tally())}, lights {[s['reason'] for s in shown]}, refused in {refusal_s * 1000:.1f} ms (median)")
        print(f"paused: RSS {rss_growth / 1e3:+.0f} kB, first 202 after resume {recovery_s:.2f} s")
        assert_honest_refusals(ledger)
        assert not [line for line in stalled if line.status == 202]
        assert refusal_s < QUICK["timeout_ms"] / 1000 / 4
        assert max(line.took_s for line in ledger.lines) < QUICK["timeout_ms"] / 1000 * 2.5
        assert rss_growth < 100_000_000
    await ledger.reconcile(breakable.kafka.bootstrap, topics["syncs_topic"])


async def test_a_broker_that_pauses_before_the_first_event_is_no_end(breakable: Devstack, directory: Path) -> None:
    """A producer older than its topic asks for it with the first event: that question may never be answered."""
    topics = {"syncs_topic": "young.syncs", "signups_topic": "young.signups"}
    async with running(directory, breakable.kafka.bootstrap, deliver={**topics, **QUICK}, spool=NO_SPOOL) as gateway:
        for name in topics.values():
            await breakable.create_topic(Topic(name))
        await until_light(gateway, "green", within_s=30)
        await breakable.kafka.pause()
        try:
            async with load(gateway, phones=12) as ledger:
                await until_light(gateway, "red", within_s=30)
        finally:
            await breakable.kafka.resume()
        await until_light(gateway, "green", within_s=30)
        async with load(gateway, phones=12, prefix="v") as later:
            everybody = {f"v{n}" for n in range(12)}  # of every partition, not only some
            await until(lambda: everybody == {line.event[0] for line in later.by(202)}, 30, "a 202 for each")
            rebuilds = (await gateway.metrics())["sluicegate_kafka_rebuilds_total{}"]
            await asyncio.sleep(1)
            assert (await gateway.metrics())["sluicegate_kafka_rebuilds_total{}"] == rebuilds
        print(f"paused before the first event: {dict(ledger.tally())}, then {dict(later.tally())}")
        assert_honest_refusals(ledger)
        ledger.add(later)
    await ledger.reconcile(breakable.kafka.bootstrap, topics["syncs_topic"])


async def test_a_killed_broker_returns_with_all_that_was_acked(breakable: Devstack, directory: Path) -> None:
    topics = await topics_of(breakable)
    async with running(directory, breakable.kafka.bootstrap, deliver={**topics, **QUICK}, spool=NO_SPOOL) as gateway:
        async with load(gateway, phones=6, pause_s=0.1) as ledger:
            await until(lambda: len(ledger.by(202)) > 50, 30, "some load")
            await breakable.kafka.kill()
            try:
                reason = await until_light(gateway, "red", within_s=30)
            finally:
                await breakable.kafka.start()
            recovery_s = await accepted(ledger, within_s=30)
            await until_light(gateway, "green", within_s=30)
        print(f"killed: {dict(ledger.tally())}, light {reason['reason']}, first 202 {recovery_s:.2f} s after the broker answered")
        assert_honest_refusals(ledger)
    await ledger.reconcile(breakable.kafka.bootstrap, topics["syncs_topic"])


async def test_a_broker_away_at_start_is_a_red_light_and_no_more(breakable: Devstack, directory: Path) -> None:
    topics = await topics_of(breakable)
    await breakable.kafka.kill()
    try:
        async with running(directory, breakable.kafka.bootstrap, deliver={**topics, **QUICK}, spool=NO_SPOOL) as gateway:
            shown = await light(gateway)
            assert (shown["colour"], shown["reason"]) == ("red", "connecting")
            ledger = Ledger()
            async with session() as phones:
                phone = Phone(gateway, phones, ledger, "u1")
                refused = await phone.send()
                assert (refused.status, refused.code, refused.problem["outcome"]) == (503, "not-durable", "none")
                assert refused.took_s < QUICK["timeout_ms"] / 1000
                await breakable.kafka.start()
                async with asyncio.timeout(30):
                    while (await phone.send()).status != 202:
                        await asyncio.sleep(0.05)
            await until_light(gateway, "green", within_s=30)
    finally:
        if not is_up(breakable):
            await breakable.kafka.start()
    await ledger.reconcile(breakable.kafka.bootstrap, topics["syncs_topic"])


# A record larger than the topic takes, among small ones of the same request and of others.
BIG: Final = {"id": "큰" * 64, "source": "손목시계" * 8}


def limit_between() -> str:
    """A max.message.bytes that takes a batch of one small record, and no big one."""
    device = (str(sync()["device_id"]), "android", "2.3.1")
    samples = [msgspec.convert(sample(9, **fields), Sample) for fields in ({}, BIG)]
    small, big = (bytes_max([record]) for record in Forge("w" * 8).syncs(b"user-1", device, samples, 0))
    limit = small + 200  # room for the batch's header, and for neighbours' longer names and numbers
    assert big > limit, (small, big)
    return str(limit)


async def big_among_small(gateway: Gateway, bootstrap: str, topic: str) -> None:
    """The big sample is refused for good; its neighbours, in the request and beside it, are kept."""
    samples = [sample(seq) for seq in range(1, 10)]
    samples[4] |= BIG
    async with load(gateway, phones=6, prefix="n") as others, session() as phones:
        await accepted(others, within_s=30)
        for _ in range(100):
            answer = await phones.post(f"{gateway.public}/v1/syncs", headers=gateway.headers("user-1"), json=sync(*samples))
            told = await answer.json()
            if answer.status == 202 and not any(entry["status"] == "retry" for entry in told["results"]):
                break
            assert answer.status in (202, 503), told
            await asyncio.sleep(0.05)  # sooner than Retry-After asks: a test is no phone
        await accepted(others, within_s=30)
    assert [(entry["index"], entry["status"], entry["code"]) for entry in told["results"]] == [(4, "invalid", "refused-by-kafka")]
    assert (told["accepted"], told["ack_through"]) == (8, 9)
    print("big among small:", dict(others.tally()))
    assert {line.code for line in others.lines} <= {"", "not-durable"}
    stored = events(await records(bootstrap, topic))
    assert {seq for user, seq in stored if user == "user-1"} == {1, 2, 3, 4, 6, 7, 8, 9}
    assert {line.event for line in others.by(202)} <= stored.keys()
    assert others.lines[-1].status == 202


@contextlib.asynccontextmanager
async def admin_of(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def test_a_record_too_large_harms_no_other(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """The topic's limit is lowered after the gateway has read it: Kafka refuses whole batches."""
    topics = await fresh_topics()
    async with running(directory, stack.kafka.bootstrap, deliver={**topics, **PATIENT}) as gateway:
        async with admin_of(stack.kafka.bootstrap) as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topics["syncs_topic"], {"max.message.bytes": limit_between()})])
        await big_among_small(gateway, stack.kafka.bootstrap, topics["syncs_topic"])
        now = await gateway.metrics()
        assert now['sluicegate_kafka_batches_total{result="refused"}'] >= 1
        print("rebuilds:", now["sluicegate_kafka_rebuilds_total{}"])


async def test_a_limit_known_at_start_costs_no_producer(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    topics = await fresh_topics(**{"max.message.bytes": limit_between()})
    async with running(directory, stack.kafka.bootstrap, deliver={**topics, **PATIENT}) as gateway:
        await big_among_small(gateway, stack.kafka.bootstrap, topics["syncs_topic"])
        now = await gateway.metrics()
        assert now["sluicegate_kafka_rebuilds_total{}"] == 0
        assert now['sluicegate_kafka_batches_total{result="refused"}'] == 0


async def test_topics_missing_at_start_are_a_red_light_until_they_come(stack: Devstack, directory: Path) -> None:
    topics = {"syncs_topic": "late.syncs", "signups_topic": "late.signups"}
    async with running(directory, stack.kafka.bootstrap, deliver=topics) as gateway, session() as phones:
        assert (await until_light(gateway, "red", within_s=30))["reason"] == "topic-missing"
        phone = Phone(gateway, phones, Ledger(), "u1")
        refused = await phone.send()
        assert (refused.status, refused.code, refused.problem["outcome"]) == (503, "not-durable", "none")
        await stack.create_topic(Topic(topics["syncs_topic"]))
        async with asyncio.timeout(30):
            while (await phone.send()).status != 202:
                await asyncio.sleep(0.05)
        assert (await light(gateway))["reason"] == "topic-missing"  # the other one still is
        await stack.create_topic(Topic(topics["signups_topic"]))
        await until_light(gateway, "green", within_s=30)


async def test_a_single_copy_stops_the_start_unless_allowed(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    topics = await fresh_topics()
    gateway = Gateway(directory, stack.kafka.bootstrap, {"deliver": topics | {"allow_single_copy": False}})
    await gateway.start(ready=False)
    async with asyncio.timeout(30):
        out, _ = await gateway.process.communicate()
    assert (gateway.process.returncode, out) == (2, b"")
    [line] = [line for line in gateway.log().splitlines() if not line.startswith("{")]
    assert line.startswith(f"sluicegate: {topics['syncs_topic']}, {topics['signups_topic']}: ")
    assert "deliver.allow_single_copy" in line


async def test_a_topic_deleted_under_load_harms_no_other(stack: Devstack, directory: Path) -> None:
    """The sign-ups' topic is gone; syncs go on, though both share a producer."""
    topics = {"syncs_topic": "kept.syncs", "signups_topic": "deleted.signups"}
    for name in topics.values():
        await stack.create_topic(Topic(name))
    async with running(directory, stack.kafka.bootstrap, deliver={**topics, **QUICK}, spool=NO_SPOOL) as gateway, session() as phones:

        async def sign_up(n: int) -> tuple[int, str]:
            async with phones.post(f"{gateway.public}/v1/signups", json=signup(f"0190a6f0-0000-7000-8000-{n:012}")) as answer:
                return answer.status, (await answer.json()).get("code", "")

        async with load(gateway, phones=6) as ledger:
            assert await sign_up(0) == (202, "")
            async with admin_of(stack.kafka.bootstrap) as admin:
                await admin.delete_topics([topics["signups_topic"]])
            async with asyncio.timeout(30):  # Kafka says that it is deleted, and takes some more until it is
                await anext(n for n in count(1) if await sign_up(n) != (202, ""))
            for n in range(1_000, 1_005):
                assert await sign_up(n) == (503, "not-durable")
                await accepted(ledger, within_s=30)
            await asyncio.sleep(2)
        now = await gateway.metrics()
        print(f"deleted topic: syncs {dict(ledger.tally())}, rebuilds {now['sluicegate_kafka_rebuilds_total{}']}")
        assert_honest_refusals(ledger)
        assert len(ledger.by(202)) > len(ledger.by(503))
    await ledger.reconcile(stack.kafka.bootstrap, topics["syncs_topic"])


async def test_a_topic_that_refuses_everything_harms_no_other(stack: Devstack, directory: Path) -> None:
    """Every sign-up's timestamp is refused, whoever tears down producers over it: no sync is refused meanwhile."""
    topics = {"syncs_topic": "calm.syncs", "signups_topic": "strict.signups"}
    await stack.create_topic(Topic(topics["syncs_topic"]))
    await stack.create_topic(Topic(topics["signups_topic"], config={"message.timestamp.before.max.ms": "0"}))
    # A busy machine's Kafka may be silent for half a second, and then syncs are refused for that.
    deliver = {**topics, **QUICK, "timeout_ms": 5000, "stall_ms": 4000}
    async with running(directory, stack.kafka.bootstrap, deliver=deliver, spool=NO_SPOOL) as gateway, session() as phones:

        async def sign_up(n: int) -> int:
            async with phones.post(f"{gateway.public}/v1/signups", json=signup(f"0190a6f0-0000-7000-8000-{n:012}")) as answer:
                return answer.status

        async with load(gateway, phones=6) as ledger:
            assert set(await asyncio.gather(*(sign_up(n) for n in range(8)))) == {503}
            await until(lambda: len(ledger.by(202)) > 200, within_s=60, what="200 syncs")
        now = await gateway.metrics()
        lost = now['sluicegate_kafka_batches_total{result="lost"}']
        print(f"strict topic: syncs {dict(ledger.tally())}, lost batches {lost}")
        assert set(ledger.tally()) == {(202, "")}
        assert now["sluicegate_kafka_rebuilds_total{}"] == 0
    await ledger.reconcile(stack.kafka.bootstrap, topics["syncs_topic"])
