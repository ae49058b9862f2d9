"""The operator and the waiting room, through the real gateway, a real Redis and a real Kafka."""

import asyncio
import json
import math
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis.asyncio import Redis

from devstack import Devstack
from gateway import config, keys
from gateway.core.sign import Sign
from gateway.core.turn import token_us_of
from gateway.redis_room import RedisRoom
from gateway.room import policy_of
from gateway.room_store import Notes, Seen
from tests.system.gateway import ROOT, Gateway, running

Topics = Callable[..., Awaitable[dict[str, str]]]

EPOCH: Final = 20261218
GROUP: Final = "downstream"


def room(name: str) -> dict[str, object]:
    return {"name": name, "epoch": EPOCH, "consumer_group": GROUP, "floor_per_s": 10.0, "ceiling_per_s": 600.0}


async def call(gateway: Gateway, name: str, fields: Mapping[str, object] | None = None, token: str | None = None) -> tuple[int, dict[str, Any]]:
    """GET, or POST where there is something to say."""
    secret = keys.load(gateway.directory / "keys.json").ops if token is None else token
    method, url = "GET" if fields is None else "POST", f"{gateway.ops}/api/rooms/{name}"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {secret}"}) as session, session.request(method, url, json=fields) as got:
        return got.status, await got.json(content_type=None)


async def sign(stack: Devstack, name: str) -> Sign:
    """What any worker of any machine is told."""
    settings = config.Room(name=name, epoch=EPOCH)
    store = RedisRoom(stack.redis.url, name, EPOCH, policy_of(settings), token_us_of(settings.floor_per_s))
    try:
        return await store.tick(Notes(), Seen())
    finally:
        await store.close()


async def until(gateway: Gateway, name: str, claim: Callable[[dict[str, Any]], bool], within_s: float) -> dict[str, Any]:
    """Ask until the claim holds of the answer."""
    clock = asyncio.get_running_loop().time
    started_s = clock()
    while True:
        status, shown = await call(gateway, name)
        if status == 200 and claim(shown):
            return shown
        assert clock() - started_s < within_s, shown
        await asyncio.sleep(0.05)


async def command(gateway: Gateway, *words: str) -> tuple[int | None, str, str]:
    """`sluicegate room …` as an operator types it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "--config", str(gateway.config_path), "room", *words, "--ops", gateway.ops),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def audit(gateway: Gateway) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (gateway.directory / "audit.jsonl").read_text(encoding="utf-8").splitlines()]


async def test_what_the_operator_says_is_in_the_sign_within_a_second(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """Rate, pause, message and back; each with a line in the audit, and nothing without the token."""
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), room=room("ops-acts")) as gateway:
        shown = await until(gateway, "ops-acts", lambda shown: shown["applied"], 10)
        assert (shown["state"], shown["rate_per_s"], shown["told"], shown["paused"]) == ("open", 10.0, None, False)
        await asyncio.sleep(1.5)  # what opened it is a change too, and there is one a second
        said_s = asyncio.get_running_loop().time()
        status, told = await call(gateway, "ops-acts", {"rate_per_s": 50, "reason": "a rehearsal"})
        assert (status, told["applied"], told["kept"]) == (200, True, True)
        await until(gateway, "ops-acts", lambda shown: shown["rate_per_s"] == 50.0, 5)
        took_s = asyncio.get_running_loop().time() - said_s
        seen = await sign(stack, "ops-acts")
        assert (seen.pace.rate_per_s, seen.pace.reason.value, seen.clock.rate_per_s) == (50.0, "told", 50.0)
        print(f"a told rate was in the sign after {took_s:.3f} s")
        assert took_s < 1.5  # at most one period, on a machine that runs other tests as well

        # Nobody else may, and what is refused changes nothing.
        for forged in ("", "x", keys.load(gateway.directory / "keys.json").tokens[0].key, gateway.token("u1")):
            status, problem = await call(gateway, "ops-acts", {"paused": True, "reason": "mine"}, token=forged)
            assert (status, problem["code"] in ("token-missing", "token-invalid")) == (401, True)
        status, problem = await call(gateway, "ops-acts", {"rate_per_s": 601, "reason": "more"})
        assert (status, problem["errors"][0]["pointer"]) == (422, "/rate_per_s")
        assert (await call(gateway, "another"))[0] == 404

        assert (await call(gateway, "ops-acts", {"paused": True, "message": "곧 다시 엽니다", "reason": "a bug"}))[0] == 200
        seen = await sign(stack, "ops-acts")
        assert (seen.clock.is_paused, seen.acts.is_paused, seen.acts.message, seen.acts.told_per_s) == (True, True, "곧 다시 엽니다", 50.0)
        assert (await call(gateway, "ops-acts", {"paused": False, "message": "", "rate_per_s": None, "reason": "fixed"}))[0] == 200
        seen = await sign(stack, "ops-acts")
        assert (seen.clock.is_paused, seen.acts.message, seen.acts.told_per_s) == (False, "", None)

        assert [(line["reason"], line["who"], line["room"]) for line in audit(gateway)] == [
            (reason, "127.0.0.1", "ops-acts") for reason in ("a rehearsal", "a bug", "fixed")
        ]
        logged = [line for line in gateway.log_lines() if line["event"] == "an operator's act"]
        assert [line["version"] for line in logged] == [line["version"] for line in audit(gateway)]
        secret = keys.load(gateway.directory / "keys.json").ops
        assert secret not in gateway.log() + (gateway.directory / "audit.jsonl").read_text()


async def test_the_command_line_says_the_same(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), room=room("ops-cli")) as gateway:
        await until(gateway, "ops-cli", lambda shown: shown["applied"], 10)
        assert await command(gateway, "show", "other") == (1, "", "sluicegate: 404 not-found: no such room\n")
        code, out, err = await command(gateway, "pause", "ops-cli", "--reason", "a bug", "--message", "잠시만요")
        assert (code, err) == (0, "")
        assert {"state: paused", "paused: true", "message: 잠시만요", "applied: true"} <= set(out.splitlines())
        code, out, err = await command(gateway, "set", "ops-cli", "--rate", "5000", "--reason", "more")
        assert (code, out) == (1, "")
        assert err == "sluicegate: 422 invalid: see errors; /rate_per_s: want a number from 10 to 600, or null\n"
        code, out, _ = await command(gateway, "resume", "ops-cli", "--reason", "fixed", "--message", "")
        assert (code, "state: open" in out.splitlines()) == (0, True)
        assert (await command(gateway, "set", "ops-cli", "--rate", "follow", "--reason", "as it takes"))[0] == 0
        assert (await command(gateway, "set", "ops-cli"))[0] == 2


async def test_a_restart_keeps_a_pause_even_where_redis_forgot_it(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """The disk of the machine that was told alone remembers."""
    topics = await fresh_topics()
    async with running(directory, stack.kafka.bootstrap, deliver=topics, room=room("ops-keeps")) as gateway:
        await until(gateway, "ops-keeps", lambda shown: shown["applied"], 10)
        status, told = await call(gateway, "ops-keeps", {"paused": True, "rate_per_s": 70, "message": "m", "reason": "r"})
        assert status == 200
    redis: Any = Redis.from_url(stack.redis.url)
    forgotten = await redis.keys("*:room:ops-keeps:*")
    assert forgotten
    await redis.delete(*forgotten)
    await redis.aclose()
    for path in directory.glob("*.sign"):
        path.unlink()  # what workers remember of it too
    async with running(directory, stack.kafka.bootstrap, deliver=topics, room=room("ops-keeps")) as gateway:
        shown = await until(gateway, "ops-keeps", lambda shown: shown["applied"], 10)
        assert (shown["state"], shown["paused"], shown["told"], shown["message"], shown["version"]) == ("paused", True, 70.0, "m", told["version"])
        seen = await sign(stack, "ops-keeps")
        assert (seen.clock.is_paused, seen.acts.version) == (True, told["version"])


async def test_what_the_group_consumes_is_read_and_shown(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    topics = await fresh_topics()
    name = topics["signups_topic"]
    async with running(directory, stack.kafka.bootstrap, deliver=topics, room=room("ops-lag")) as gateway:
        producer = AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap)
        await producer.start()
        for partition in range(3):
            await producer.send_and_wait(name, b"x", partition=partition)
        await producer.stop()
        await until(gateway, "ops-lag", lambda shown: shown["consumer_lag"] == 3, 15)
        consumer = AIOKafkaConsumer(name, bootstrap_servers=stack.kafka.bootstrap, group_id=GROUP, enable_auto_commit=False)
        await consumer.start()
        await consumer.commit({TopicPartition(name, partition): 1 for partition in range(2)})
        await consumer.stop()
        await until(gateway, "ops-lag", lambda shown: shown["consumer_lag"] == 1, 15)
        shown = await until(gateway, "ops-lag", lambda shown: shown["reason"] != "lag-unknown", 20)
        metrics = await gateway.metrics()
        assert metrics["sluicegate_room_consumer_lag{}"] == 1
        assert math.isclose(metrics["sluicegate_room_rate_per_second{}"], shown["rate_per_s"], rel_tol=0.5)
        assert metrics["sluicegate_room_pace_changes_total{}"] >= 1


async def test_a_gateway_without_a_room_has_none_to_speak_of(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics()) as gateway:
        assert (await call(gateway, "any"))[0] == 404
        assert (await call(gateway, "any", token="x"))[0] == 401
        assert not (directory / "audit.jsonl").exists()
