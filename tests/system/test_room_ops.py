"""The operator and the waiting room, through the real gateway, a real Redis and a real Kafka."""

import asyncio
import json
import math
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

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
        shown = await until(gateway, "ops-acts", lambda shown: shown["applied"], 30)
        assert (shown["state"], shown["rate_per_s"], shown["told"], shown["paused"]) == ("open", 10.0, None, False)
        # The promise is of each; on a machine that is held up just then, the next one keeps it.
        rates_per_s = [48.0, 49.0, 50.0]
        took_s = min([await seconds_until_it_is_so(gateway, rate_per_s) for rate_per_s in rates_per_s])
        seen = await sign(stack, "ops-acts")
        assert (seen.pace.rate_per_s, seen.pace.reason.value, seen.clock.rate_per_s) == (50.0, "told", 50.0)
        print(f"a told rate was in the sign after {took_s:.3f} s")
        assert took_s < 1.5  # at most one period

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
            (reason, "127.0.0.1", "ops-acts") for reason in (*["a rehearsal"] * len(rates_per_s), "a bug", "fixed")
        ]
        logged = [line for line in gateway.log_lines() if line["event"] == "an operator's act"]
        assert [line["version"] for line in logged] == [line["version"] for line in audit(gateway)]
        secret = keys.load(gateway.directory / "keys.json").ops
        assert secret not in gateway.log() + (gateway.directory / "audit.jsonl").read_text()


async def seconds_until_it_is_so(gateway: Gateway, rate_per_s: float) -> float:
    """Tell the rate, when no change is a second old: there is one a second, and what opened the room was one too."""
    await asyncio.sleep(1.5)
    said_s = asyncio.get_running_loop().time()
    status, told = await call(gateway, "ops-acts", {"rate_per_s": rate_per_s, "reason": "a rehearsal"})
    assert (status, told["applied"], told["kept"]) == (200, True, True)
    await until(gateway, "ops-acts", lambda shown: shown["rate_per_s"] == rate_per_s, 20)
    return asyncio.get_running_loop().time() - said_s


async def test_the_command_line_says_the_same(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), room=room("ops-cli")) as gateway:
        await until(gateway, "ops-cli", lambda shown: shown["applied"], 30)
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
        await until(gateway, "ops-keeps", lambda shown: shown["applied"], 30)
        status, told = await call(gateway, "ops-keeps", {"paused": True, "rate_per_s": 70, "message": "m", "reason": "r"})
        assert status == 200
    await forgotten(stack, "ops-keeps", directory)
    async with running(directory, stack.kafka.bootstrap, deliver=topics, room=room("ops-keeps")) as gateway:
        shown = await until(gateway, "ops-keeps", lambda shown: shown["applied"] and shown["state"] == "paused", 30)
        assert (shown["state"], shown["paused"], shown["told"], shown["message"], shown["version"]) == ("paused", True, 70.0, "m", told["version"])
        seen = await sign(stack, "ops-keeps")
        assert (seen.clock.is_paused, seen.acts.version) == (True, told["version"])


class Public(NamedTuple):
    """A room as phones see it."""

    gateway: Gateway
    path: str

    async def ask(self, method: str, what: str = "", body: object = None, ticket: str = "") -> tuple[int, Mapping[str, str], dict[str, Any]]:
        headers = {"Waiting-Room-Ticket": ticket} if ticket else {}
        async with aiohttp.ClientSession(headers=headers) as session, session.request(method, f"{self.gateway.public}{self.path}{what}", json=body) as got:
            return got.status, got.headers, await got.json(content_type=None)

    async def join(self, join_id: str) -> tuple[int, Mapping[str, str], dict[str, Any]]:
        return await self.ask("POST", "/tickets", {"join_id": join_id})

    async def until_sign(self, state: str) -> None:
        """Each of the two workers says so: the tenth in a row was not by luck."""
        clock = asyncio.get_running_loop().time
        started_s, in_a_row = clock(), 0
        while in_a_row < 10:
            _, _, sign = await self.ask("GET")
            in_a_row = in_a_row + 1 if sign["state"] == state else 0
            assert clock() - started_s < 20, sign
            await asyncio.sleep(0.05)


async def test_a_closed_room_takes_nobody_new_and_goes_on_where_it_stopped(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), room=room("ops-close")) as gateway:
        line = Public(gateway, "/v1/rooms/ops-close")
        await until(gateway, "ops-close", lambda shown: shown["applied"], 30)
        assert (await call(gateway, "ops-close", {"paused": True, "reason": "a line is to form"}))[0] == 200
        await line.until_sign("paused")
        known = str(uuid.uuid4())
        status, _, mine = await line.join(known)
        assert (status, mine["state"]) == (201, "paused")

        status, told = await call(gateway, "ops-close", {"closed": True, "message": "내일 다시 엽니다", "reason": "the office is shut"})
        assert (status, told["state"], told["closed"], told["paused"], told["applied"]) == (200, "closed", True, True, True)
        for _ in range(6):  # the store knows at once, whatever the worker does
            status, headers, problem = await line.join(str(uuid.uuid4()))
            assert (status, problem["code"], problem["retryable"]) == (503, "room-closed", True)
            assert 150 <= int(headers["Retry-After"]) <= 450
        await line.until_sign("closed")
        assert (await line.ask("GET"))[2]["message"] == "내일 다시 엽니다"
        for status, body in [(200, (await line.ask("GET", "/place", ticket=mine["ticket"]))[2]), (200, (await line.join(known))[2])]:
            assert (status, body["state"], body["ahead"] >= 0, 0 < body["poll_after_s"] <= 55) == (200, "closed", True, True)
        status, headers, problem = await line.ask("POST", "/passes", ticket=mine["ticket"])
        assert (status, problem["code"], problem["state"], int(headers["Retry-After"]) <= 6) == (429, "not-your-turn", "closed", True)
        page = f"{gateway.public}/rooms/ops-close"
        async with aiohttp.ClientSession(headers={"Accept-Language": "ko"}) as session, session.post(page, data={"act": "join"}) as got:
            text = await got.text()
            assert (got.status, "지금은 줄을 서실 수 없습니다" in text, "내일 다시 엽니다" in text, got.cookies) == (200, True, True, {})
        assert (await gateway.metrics())["sluicegate_room_reason{}"] == 9

        status, told = await call(gateway, "ops-close", {"closed": False, "reason": "the office is open"})
        assert (status, told["state"]) == (200, "paused")  # as it was
        assert (await call(gateway, "ops-close", {"paused": False, "message": "", "reason": "go on"}))[1]["state"] == "open"
        await line.until_sign("open")
        async with asyncio.timeout(20):  # until the line has moved on
            while (knocked := await line.ask("POST", "/passes", ticket=mine["ticket"]))[0] == 429:
                await asyncio.sleep(0.05)
        assert (knocked[0], "pass" in knocked[2]) == (201, True)
        assert (await line.join(str(uuid.uuid4())))[0] == 201


async def test_what_was_undone_is_as_before_here_and_by_the_command_line(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics(), room=room("ops-undo")) as gateway:
        await until(gateway, "ops-undo", lambda shown: shown["applied"], 30)
        assert (await call(gateway, "ops-undo", {"rate_per_s": 50, "reason": "a rehearsal"}))[0] == 200
        code, out, err = await command(gateway, "close", "ops-undo", "--reason", "the wrong room", "--message", "m")
        assert (code, err) == (0, "")
        assert {"state: closed", "closed: true", "told: 50.0", "message: m"} <= set(out.splitlines())
        code, out, err = await command(gateway, "undo", "ops-undo", "--reason", "not this one")
        assert (code, err) == (0, "")
        assert {"state: open", "closed: false", "told: 50.0", "message: ", "applied: true"} <= set(out.splitlines())
        seen = await sign(stack, "ops-undo")
        assert (seen.state, seen.acts.told_per_s, seen.acts.message) == ("open", 50.0, "")
        assert (await command(gateway, "undo", "ops-undo", "--reason", "it was the right one"))[1].splitlines().count("state: closed") == 1
        code, out, _ = await command(gateway, "open", "ops-undo", "--reason", "done")
        assert (code, "state: open" in out.splitlines()) == (0, True)

        first, *_, last = audit(gateway)
        status, problem = await call(gateway, "ops-undo", {"undo": first["version"], "reason": "too late"})
        assert (status, problem["errors"][0]["pointer"], str(last["version"]) in problem["errors"][0]["detail"]) == (422, "/undo", True)
        undone = [(line["undoes"], line["reason"]) for line in audit(gateway) if "undoes" in line]
        versions = [line["version"] for line in audit(gateway)]
        assert undone == [(versions[1], "not this one"), (versions[2], "it was the right one")]


async def forgotten(stack: Devstack, name: str, directory: Path) -> None:
    """By Redis, and by the workers' files: only what the operator said is left."""
    redis: Any = Redis.from_url(stack.redis.url)
    keys = await redis.keys(f"*:room:{name}:*")
    assert keys
    await redis.delete(*keys)
    await redis.aclose()
    for path in directory.glob("*.sign"):
        path.unlink()


async def test_a_restart_keeps_a_room_closed_even_where_redis_forgot_it(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """And what was before, for who takes it back then."""
    topics = await fresh_topics()
    async with running(directory, stack.kafka.bootstrap, deliver=topics, room=room("ops-shut")) as gateway:
        await until(gateway, "ops-shut", lambda shown: shown["applied"], 30)
        assert (await call(gateway, "ops-shut", {"rate_per_s": 70, "reason": "r"}))[0] == 200
        status, told = await call(gateway, "ops-shut", {"closed": True, "message": "m", "reason": "r"})
        assert status == 200
    await forgotten(stack, "ops-shut", directory)
    async with running(directory, stack.kafka.bootstrap, deliver=topics, room=room("ops-shut")) as gateway:
        shown = await until(gateway, "ops-shut", lambda shown: shown["applied"] and shown["state"] == "closed", 30)
        assert (shown["closed"], shown["paused"], shown["told"], shown["message"], shown["version"]) == (True, False, 70.0, "m", told["version"])
        line = Public(gateway, "/v1/rooms/ops-shut")
        assert (await line.join(str(uuid.uuid4())))[2]["code"] == "room-closed"
        status, undone = await call(gateway, "ops-shut", {"undo": told["version"], "reason": "open"})
        assert (status, undone["state"], undone["told"], undone["message"]) == (200, "open", 70.0, "")
        await line.until_sign("open")
        assert (await line.join(str(uuid.uuid4())))[0] == 201


async def test_what_the_group_consumes_is_read_and_shown(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    topics = await fresh_topics()
    name = topics["signups_topic"]
    async with running(directory, stack.kafka.bootstrap, deliver=topics, room=room("ops-lag")) as gateway:
        producer = AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap)
        await producer.start()
        for partition in range(3):
            await producer.send_and_wait(name, b"x", partition=partition)
        await producer.stop()
        await until(gateway, "ops-lag", lambda shown: shown["consumer_lag"] == 3, 60)
        consumer = AIOKafkaConsumer(name, bootstrap_servers=stack.kafka.bootstrap, group_id=GROUP, enable_auto_commit=False)
        await consumer.start()
        await consumer.commit({TopicPartition(name, partition): 1 for partition in range(2)})
        await consumer.stop()
        await until(gateway, "ops-lag", lambda shown: shown["consumer_lag"] == 1, 60)
        shown = await until(gateway, "ops-lag", lambda shown: shown["reason"] != "lag-unknown", 60)
        metrics = await gateway.metrics()
        assert metrics["sluicegate_room_consumer_lag{}"] == 1
        assert math.isclose(metrics["sluicegate_room_rate_per_second{}"], shown["rate_per_s"], rel_tol=0.5)
        assert metrics["sluicegate_room_pace_changes_total{}"] >= 1


async def test_a_gateway_without_a_room_has_none_to_speak_of(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with running(directory, stack.kafka.bootstrap, deliver=await fresh_topics()) as gateway:
        assert (await call(gateway, "any"))[0] == 404
        assert (await call(gateway, "any", token="x"))[0] == 401
        assert not (directory / "audit.jsonl").exists()
