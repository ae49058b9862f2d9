"""The operators' screen of a real gateway: its lights, its numbers and its lever, over sockets."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import pytest_asyncio

from devstack import Devstack
from gateway import keys
from tests.system.gateway import Gateway, running, signup
from tests.system.load import load

PATIENCE_S: Final = 60.0  # no measurement: benchmarks/bench_screen.py tells how long it takes
ROOM: Final = {"name": "walk", "epoch": 1, "floor_per_s": 5, "ceiling_per_s": 100}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Devstack]:
    """Servers that this file may freeze and kill."""
    async with Devstack(tmp_path_factory.mktemp("screen"), fast_stop=True) as servers:
        yield servers


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(own: Devstack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with running(tmp_path_factory.mktemp("gateway"), own.kafka.bootstrap, redis={"url": own.redis.url}, room=ROOM) as started:
        yield started


async def get(gateway: Gateway, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.ops}{path}") as answer:
        return await answer.json(content_type=None)


async def frames(gateway: Gateway) -> AsyncIterator[dict[str, Any]]:
    """The stream's, for as long as they are wanted."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session, session.get(f"{gateway.ops}/api/stream") as answer:
        is_status = False
        async for line in answer.content:
            if line.startswith(b"data: ") and is_status:
                yield json.loads(line[6:])
            is_status = line == b"event: status\n" or (is_status and not line.startswith(b"event: "))


async def until(gateway: Gateway, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first frame of which this is true."""
    seen: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for frame in frames(gateway):
                seen.append(frame)
                if is_so(frame):
                    return frame
    except TimeoutError:
        pytest.fail(f"never seen; the last frame: {seen[-1:]}")
    pytest.fail("the stream ended")


def is_well(frame: dict[str, Any]) -> bool:
    return all(light["colour"] == "green" for light in frame["lights"].values()) and frame["ready"]


async def freeze_worker(gateway: Gateway) -> Callable[[], Awaitable[None]]:
    pid = gateway.worker_pids()[0]
    os.kill(pid, signal.SIGSTOP)

    async def wake() -> None:
        with contextlib.suppress(ProcessLookupError):  # it stood still for so long that it was ended as one that hangs
            os.kill(pid, signal.SIGCONT)

    return wake


async def kill_worker(gateway: Gateway) -> Callable[[], Awaitable[None]]:
    os.kill(gateway.worker_pids()[0], signal.SIGKILL)

    async def nothing() -> None:
        """The supervisor repairs it."""

    return nothing


async def freeze_redis(own: Devstack) -> Callable[[], Awaitable[None]]:
    await own.redis.pause()
    return own.redis.resume


async def kill_redis(own: Devstack) -> Callable[[], Awaitable[None]]:
    await own.redis.kill()
    return own.redis.restart


async def freeze_kafka(own: Devstack) -> Callable[[], Awaitable[None]]:
    await own.kafka.pause()
    return own.kafka.resume


async def kill_kafka(own: Devstack) -> Callable[[], Awaitable[None]]:
    await own.kafka.kill()
    return own.kafka.restart


FAULTS: Final[list[tuple[Callable[[Any], Awaitable[Callable[[], Awaitable[None]]]], set[str], set[str]]]] = [
    (freeze_worker, {"workers"}, {"worker"}),
    (kill_worker, {"workers"}, {"worker"}),
    (freeze_redis, {"redis", "room"}, {"room-store"}),
    (kill_redis, {"redis", "room"}, {"room-store"}),
    (freeze_kafka, {"kafka"}, {"kafka"}),
    (kill_kafka, {"kafka"}, {"kafka"}),
]


@pytest.mark.parametrize(("fault", "lights", "bottleneck"), FAULTS, ids=[fault.__name__ for fault, _, _ in FAULTS])
async def test_each_fault_has_its_light_and_its_name_and_goes(
    own: Devstack, gateway: Gateway, fault: Callable[[Any], Awaitable[Callable[[], Awaitable[None]]]], lights: set[str], bottleneck: set[str]
) -> None:
    """Nobody sends anything meanwhile: a question tells."""
    await until(gateway, is_well)

    def is_told(frame: dict[str, Any]) -> bool:
        told = {name for name, light in frame["lights"].items() if light["colour"] in ("amber", "red")}
        return lights <= told and frame["bottleneck"]["code"] in bottleneck

    repair = await fault(gateway if "worker" in fault.__name__ else own)
    try:
        await until(gateway, is_told)
        _, health = await gateway.readyz()
        if fault is not kill_worker:  # which may be repaired by now
            assert {health["lights"][name]["colour"] for name in lights} <= {"amber", "red"}
            metrics = await gateway.metrics()
            assert all(metrics[f'sluicegate_light{{dependency="{name}"}}'] >= 2 for name in lights)
    finally:
        await repair()  # the next test has the same servers
    await until(gateway, is_well)
    kinds = [entry["kind"] for entry in await entries(gateway)]
    assert "light" in kinds


async def entries(gateway: Gateway) -> list[dict[str, Any]]:
    """All that the log of the screen says."""
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.ops}/api/stream") as answer:
        async for line in answer.content:
            if line.startswith(b'data: {"entries"'):
                found: list[dict[str, Any]] = json.loads(line[6:])["entries"]
                return found
    return []


async def test_a_worker_that_died_is_in_the_log(gateway: Gateway) -> None:
    await until(gateway, is_well)
    os.kill(gateway.worker_pids()[1], signal.SIGKILL)
    await until(gateway, lambda frame: not is_well(frame))
    ended = [entry for entry in await entries(gateway) if entry["kind"] == "worker-ended"]
    assert ended[-1]["code"] == -signal.SIGKILL
    frame = await until(gateway, is_well)
    assert sum(worker["restarts"] for worker in frame["workers"]) >= 1


async def test_a_spool_is_seen_to_fill_and_to_be_emptied(own: Devstack, tmp_path: Path) -> None:
    """As small as one may be.  While Kafka is frozen it is used, then full, which is what people feel; then nothing waits."""
    deliver = {"timeout_ms": 2000, "stall_ms": 500, "connect_timeout_ms": 1000, "batch_bytes_max": 65_536}
    spool = {"bytes_max": 1 << 20, "segment_bytes": 65_536, "signups_reserve_bytes": 0}
    async with running(tmp_path, own.kafka.bootstrap, redis={"url": own.redis.url}, deliver=deliver, spool=spool, room=ROOM | {"epoch": 2}) as gateway:
        # A worker says what it has with its first beat.
        frame = await until(gateway, lambda frame: is_well(frame) and frame["spool"] and frame["spool"]["bytes_max"] == len(frame["workers"]) << 20)
        assert frame["spool"]["records"] == 0
        async with load(gateway, phones=12):
            await own.kafka.pause()
            try:
                used = await until(gateway, lambda frame: frame["lights"]["spool"]["reason"] == "spool-used")
                assert used["spool"]["records"] > 0 < used["spool"]["bytes"]
                full = await until(gateway, lambda frame: frame["bottleneck"] == {"code": "spool", "reason": "spool-full", "worker": None})
                assert full["spool"]["fullest"] > 0.99
                assert (await gateway.readyz())[1]["lights"]["spool"]["colour"] == "red"
                assert max(value for name, value in (await gateway.metrics()).items() if name.startswith("sluicegate_spool_oldest_seconds")) > 1
            finally:
                await own.kafka.resume()
            empty = await until(gateway, lambda frame: frame["spool"]["replayed_per_s"] > 0 == frame["spool"]["records"])
            assert empty["lights"]["spool"]["reason"] == "spool-ok"
        # A busy machine's Kafka may have been slow once more before the last of them had gone.
        await until(gateway, lambda frame: frame["lights"]["spool"]["reason"] == "spool-ok")
        reasons = [entry["reason"] for entry in await entries(gateway) if entry["kind"] == "light" and entry["dependency"] == "spool"]
        assert {"spool-used", "spool-full"} < set(reasons)
        assert reasons[-1] == "spool-ok"


async def test_what_is_shown_is_what_happened(gateway: Gateway) -> None:
    """One who joins and is let in, and one refusal; the screen and /metrics count the same."""
    await until(gateway, is_well)
    before = await gateway.metrics()
    form = signup("0190a6f0-0000-7000-8000-000000000001")
    async with aiohttp.ClientSession() as session, session.post(f"{gateway.public}/v1/signups", json=form) as answer:
        assert answer.status == 403
    frame = await until(gateway, lambda frame: "pass-required" in frame["traffic"]["refused_by_code"])
    after = await gateway.metrics()
    name = 'sluicegate_refusals_total{code="pass-required"}'
    assert after[name] - before[name] == 1
    assert frame["traffic"]["by_class"]["signups"]["refused_per_s"] > 0
    assert frame["room"]["depth"] == after["sluicegate_room_depth{}"] == 0


async def test_the_lever_moves_every_worker(gateway: Gateway) -> None:
    bearer = {"Authorization": f"Bearer {keys.load(gateway.directory / 'keys.json').ops}"}
    act = {"rate_per_s": 42, "reason": "a test"}
    async with aiohttp.ClientSession(headers=bearer) as session, session.post(f"{gateway.ops}/api/rooms/walk", json=act) as answer:
        assert (answer.status, (await answer.json())["rate_per_s"]) == (200, 42.0)
    frame = await until(gateway, lambda frame: frame["room"]["rate_per_s"] == 42.0)
    assert (frame["room"]["reason"], frame["room"]["told_per_s"]) == ("told", 42.0)
    acts = [entry for entry in await entries(gateway) if entry["kind"] == "act"]
    assert (acts[-1]["changed"], acts[-1]["reason"]) == ({"told_per_s": [None, 42.0]}, "a test")
    async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as session:
        for _ in range(20):  # whichever worker answers
            while True:
                async with session.get(f"{gateway.public}/v1/rooms/walk", headers={"Connection": "close"}) as answer:
                    if (await answer.json())["rate_per_s"] == 42.0:
                        break
                await asyncio.sleep(0.05)


async def test_a_reload_is_in_the_log_good_or_bad(gateway: Gateway) -> None:
    good = gateway.config_path.read_text()
    for text, kind in ((good, "reloaded"), (good + "[nonsense]\n", "reload-failed")):
        gateway.config_path.write_text(text)
        gateway.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(PATIENCE_S):
            while kind not in [entry["kind"] for entry in await entries(gateway)]:
                await asyncio.sleep(0.1)
    gateway.config_path.write_text(good)


async def test_machines_that_share_limits_see_each_other(own: Devstack, gateway: Gateway, directory: Path) -> None:
    async with running(directory, own.kafka.bootstrap, redis={"url": own.redis.url}) as other:
        port = other.ops.rpartition(":")[2]
        frame = await until(gateway, lambda frame: any(machine["name"].endswith(f":{port}") for machine in frame["machines"]))
        assert frame["machine"].endswith(f":{gateway.ops.rpartition(':')[2]}")
        assert {machine["ready"] for machine in frame["machines"]} <= {True, False}
    await until(gateway, lambda frame: not frame["machines"])


async def test_frames_follow_the_rooms_signs(gateway: Gateway) -> None:
    """So that what is shown is as fresh as what is known."""
    ages = []
    async for frame in frames(gateway):
        ages.append(frame["room"]["sign_age_ms"])
        if len(ages) == 12:
            break
    assert sorted(ages)[6] < 500  # by a timer of their own they would be of any age up to a second, and then some


async def test_what_workers_use_is_a_share_of_a_core(gateway: Gateway) -> None:
    frame = await until(gateway, lambda frame: all(worker["memory_mb"] for worker in frame["workers"]))
    assert all(0 <= worker["cpu"] <= 1.5 for worker in frame["workers"])
    assert all(10 < worker["memory_mb"] < 1_000 for worker in frame["workers"])


async def test_who_looks_at_once_is_told_that_it_is_ready(own: Devstack, directory: Path) -> None:
    async with running(directory, own.kafka.bootstrap, redis={"url": own.redis.url}) as started:
        frame = await get(started, "/api/status")
        assert (frame["ready"], frame["bottleneck"]["code"] != "starting") == (True, True)


async def test_bound_to_others_without_a_token_it_does_not_start(own: Devstack, directory: Path) -> None:
    gateway = Gateway(directory, own.kafka.bootstrap, {"ops": {"bind": "0.0.0.0:0"}})
    path = directory / "keys.json"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "ops"}))
    await gateway.start(ready=False)
    assert await gateway.process.wait() == 2
    assert "ops.bind 0.0.0.0:0: others reach it" in gateway.log()
