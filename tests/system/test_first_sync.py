"""The main job: a sync and a sign-up, sent over a socket, become Kafka records."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final
from unittest.mock import ANY

import aiohttp
from jsonschema import Draft202012Validator

from devstack import Devstack
from tests.system.gateway import ROOT, header, records, running, sample, signup, sync

Topics = Callable[..., Awaitable[dict[str, str]]]

# On a busy machine Kafka may take longer than 250 ms, and then the spool answers, and sends a second copy of each record.
PATIENT: Final = {"hedge_ms": 4000}


def schema(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((ROOT / "docs/schemas" / name).read_text()))


async def test_a_sync_becomes_a_record_keyed_by_its_user(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    topics = await fresh_topics()
    async with running(directory, stack.kafka.bootstrap, deliver={**topics, **PATIENT}) as gateway, aiohttp.ClientSession() as phone:
        answer = await phone.post(f"{gateway.public}/v1/syncs", headers=gateway.headers("u1"), json=sync(sample(41)))
        assert answer.status == 202, await answer.text()
        assert await answer.json() == {"durability": "kafka", "accepted": 1, "ack_through": 41, "results": [], "receipt": ANY}
    [record] = await records(stack.kafka.bootstrap, topics["syncs_topic"])
    assert record.key == b"u1"
    schema("sync-event-v1.json").validate(json.loads(record.value))
    assert json.loads(record.value) == {"device_id": "4f1c", "platform": "android", "app_version": "2.3.1", **sample(41)}
    assert header(record, "ce_specversion") == "1.0"
    assert header(record, "ce_type") == "sluicegate.sync.v1"
    assert header(record, "ce_time") == "2026-01-27T22:10:05+09:00"
    assert header(record, "content-type") == "application/json"
    received_us = header(record, "received_us")
    assert received_us is not None
    assert record.timestamp == int(received_us) // 1000
    assert header(record, "worker") == answer.headers["Request-Id"].partition("-")[0]


async def test_a_signup_becomes_a_record_keyed_by_its_signup(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    topics = await fresh_topics()
    signup_id = "0190a6f0-0000-7000-8000-000000000000"
    async with running(directory, stack.kafka.bootstrap, deliver={**topics, **PATIENT}) as gateway, aiohttp.ClientSession() as phone:
        answer = await phone.post(f"{gateway.public}/v1/signups", json=signup(signup_id))
        assert answer.status == 202, await answer.text()
        assert await answer.json() == {"durability": "kafka", "signup_id": signup_id, "receipt": ANY}
        assert "홍길동" not in gateway.log()
    [record] = await records(stack.kafka.bootstrap, topics["signups_topic"])
    assert record.key == f"signup:{signup_id}".encode()
    schema("signup-event-v1.json").validate(json.loads(record.value))
    assert json.loads(record.value) == signup(signup_id)


async def test_the_same_request_five_times_carries_one_event_id(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    topics = await fresh_topics()
    async with running(directory, stack.kafka.bootstrap, deliver={**topics, **PATIENT}) as gateway, aiohttp.ClientSession() as phone:
        for _ in range(5):
            answer = await phone.post(f"{gateway.public}/v1/syncs", headers=gateway.headers("u1"), json=sync(sample(1), sample(2)))
            assert answer.status == 202
    found = await records(stack.kafka.bootstrap, topics["syncs_topic"])
    ids = [header(record, "ce_id") for record in found]
    assert len(ids) == 10
    assert len(set(ids)) == 2


# Ten kinds of wrong, none of which may become 0 steps or take a neighbour with it.
BAD: list[tuple[dict[str, object], str]] = [
    ({"steps": None}, "/steps"),
    ({"steps": 1.5}, "/steps"),
    ({"steps": "8123"}, "/steps"),
    ({"steps": -1}, "/steps"),
    ({"steps": 200_001}, "/steps"),
    ({"seq": True}, "/seq"),
    ({"day": "27.01.2026"}, "/day"),
    ({"recorded_at": "2026-01-27T22:10:05"}, "/recorded_at"),
    ({"source": "a\0b"}, "/source"),
    ({"id": 7}, "/id"),
]


async def test_twenty_bad_samples_of_two_hundred_leave_180(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    topics = await fresh_topics()
    samples = [sample(seq, steps=seq) for seq in range(200)]
    for n in range(20):
        fields, _ = BAD[n % len(BAD)]
        samples[n * 7] |= fields
    async with running(directory, stack.kafka.bootstrap, deliver={**topics, **PATIENT}) as gateway, aiohttp.ClientSession() as phone:
        answer = await phone.post(f"{gateway.public}/v1/syncs", headers=gateway.headers("u1"), json=sync(*samples))
        assert answer.status == 202, await answer.text()
        told = await answer.json()
    assert told["accepted"] == 180
    assert told["ack_through"] == 199  # all are final: made durable, or refused for good
    assert [(entry["index"], entry["status"], entry["pointer"]) for entry in told["results"]] == [
        (n * 7, "invalid", f"/samples/{n * 7}{BAD[n % len(BAD)][1]}") for n in range(20)
    ]
    found = await records(stack.kafka.bootstrap, topics["syncs_topic"])
    assert sorted(json.loads(record.value)["steps"] for record in found) == [n for n in range(200) if n % 7 or n >= 140]


async def test_without_any_linger_too(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """The event loop's own timers differ where one is due at once: no worker may die of that."""
    settings: dict[str, Mapping[str, object]] = {"deliver": {**await fresh_topics(), "linger_ms": 0}, "process": {"workers": 1}}
    async with running(directory, stack.kafka.bootstrap, **settings) as gateway, aiohttp.ClientSession() as phone:

        async def send(user: str) -> int:
            async with phone.post(f"{gateway.public}/v1/syncs", headers=gateway.headers(user), json=sync(sample())) as answer:
                return answer.status

        for _ in range(5):
            assert {*await asyncio.gather(*(send(f"u{n}") for n in range(40)))} == {202}
        assert not [line for line in gateway.log_lines() if line["level"] == "error"]
