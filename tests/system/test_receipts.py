"""A receipt is believed: whichever worker or machine is asked, what it says of a record is so."""

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiokafka import ConsumerRecord

from devstack import Devstack
from tests.system.gateway import Gateway, header, records, running, sample, signup, sync, topics_of

QUICK: Final = {"timeout_ms": 2000, "stall_ms": 500, "connect_timeout_ms": 1000}


@pytest.fixture(scope="module")
def breakable_has_redis() -> bool:
    """Machines hear of each other there."""
    return True


PATIENT: Final = {"timeout_ms": 5000, "hedge_ms": 4000}
"""For tests of Kafka's answer: on a busy machine it may take longer than 250 ms."""


async def settings_for(stack: Devstack, **process: object) -> dict[str, dict[str, object]]:
    """Topics of its own, and a fleet of its own."""
    made: dict[str, dict[str, object]] = {"deliver": {**await topics_of(stack), **QUICK}, "redis": {"url": stack.redis.url}}
    return made | ({"process": process} if process else {})


async def posted(gateway: Gateway, phone: aiohttp.ClientSession, *seqs: int, user: str = "u1") -> dict[str, Any]:
    """One sync, and the 202 it was answered with."""
    async with phone.post(f"{gateway.public}/v1/syncs", headers=gateway.headers(user), json=sync(*[sample(seq) for seq in seqs])) as answer:
        assert answer.status == 202, await answer.text()
        told: dict[str, Any] = await answer.json()
        return told


async def asked(gateway: Gateway, receipt: str) -> tuple[int, str, dict[str, Any]]:
    """Status, which worker answered, and what; on a connection of its own, so that any worker may."""
    async with aiohttp.ClientSession() as somebody, somebody.get(f"{gateway.public}/v1/receipts/{receipt}") as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.status, answer.headers["Request-Id"].partition("-")[0], await answer.json()


async def all_say(gateway: Gateway, receipt: str, state: str, *, workers: int = 2, within_s: float = 20) -> None:
    """Return when each of so many workers has said so."""
    said: dict[str, str] = {}
    async with asyncio.timeout(within_s):
        while list(said.values()) != [state] * workers:
            status, worker, body = await asked(gateway, receipt)
            assert status == 200
            said[worker] = body["state"]


async def stored_at(stack: Devstack, body: dict[str, Any]) -> list[ConsumerRecord]:
    """What stands between the offsets that a receipt names, in order."""
    found = [one for one in await records(stack.kafka.bootstrap, body["topic"]) if one.partition == body["partition"]]
    return sorted((one for one in found if body["first_offset"] <= one.offset <= body["last_offset"]), key=lambda one: one.offset)


async def test_kafkas_receipt_names_the_very_records(breakable: Devstack, directory: Path) -> None:
    settings = await settings_for(breakable)
    settings["deliver"] |= PATIENT
    async with running(directory, breakable.kafka.bootstrap, **settings) as gateway, aiohttp.ClientSession() as phone:
        for user in ("u1", "u2", "u3"):
            told = await posted(gateway, phone, 1, 2, 3, user=user)
            _, _, body = await asked(gateway, told["receipt"])
            assert (told["durability"], body["state"]) == ("kafka", "kafka")
            found = await stored_at(breakable, body)
            assert [(one.key.decode(), header(one, "ce_id") is not None) for one in found] == [(user, True)] * 3
        form = signup("0190a6f0-0000-7000-8000-000000000001")
        async with phone.post(f"{gateway.public}/v1/signups", json=form) as answer:
            receipt = (await answer.json())["receipt"]
        _, _, body = await asked(gateway, receipt)
        [record] = await stored_at(breakable, body)
        assert record.key.decode() == f"signup:{form['signup_id']}"
        await all_say(gateway, receipt, "kafka")


async def test_what_is_no_receipt_of_ours_is_not_found(breakable: Devstack, directory: Path) -> None:
    """Nor one of another service, which has another secret."""
    settings = await settings_for(breakable)
    async with running(directory / "a", breakable.kafka.bootstrap, **settings) as one, running(directory / "b", breakable.kafka.bootstrap, **settings) as other:
        async with aiohttp.ClientSession() as phone:
            receipt = (await posted(one, phone, 1))["receipt"]
        forged = [receipt[:-1] + ("A" if receipt[-1] != "A" else "B"), receipt[:20], receipt + "A", "x", "%2F"]
        for gateway, text in [*((one, text) for text in forged), (other, receipt)]:
            status, _, body = await asked(gateway, text)
            assert (status, body["code"], body["retryable"]) == (404, "receipt-invalid", False), text
        assert (await asked(one, receipt))[0] == 200


async def test_a_spools_receipt_becomes_kafkas_when_kafka_is_back(breakable: Devstack, directory: Path) -> None:
    """At each worker of the machine, also while the one whose spool it is starts anew."""
    settings = await settings_for(breakable)
    async with running(directory, breakable.kafka.bootstrap, **settings) as gateway, aiohttp.ClientSession() as phone:
        before = await posted(gateway, phone, 1)
        await all_say(gateway, before["receipt"], "kafka")
        await breakable.kafka.pause()
        try:
            told = await posted(gateway, phone, 2, 3)
            assert told["durability"] == "spool"
            await all_say(gateway, told["receipt"], "spool")
            for pid in gateway.worker_pids():
                os.kill(pid, signal.SIGKILL)
                status, _, body = await asked(gateway, told["receipt"])
                assert (status, body["state"]) == (200, "spool")
        finally:
            await breakable.kafka.resume()
        await all_say(gateway, told["receipt"], "kafka", within_s=30)
        stored = {one.value for one in await records(breakable.kafka.bootstrap, str(settings["deliver"]["syncs_topic"]))}
        assert len(stored) == 3
        assert await gateway.stop() == 0
        await gateway.start()
        await all_say(gateway, told["receipt"], "kafka")


async def test_another_machine_answers_too_until_it_hears_nothing_more(breakable: Devstack, directory: Path) -> None:
    """Two machines of one fleet: they share the secret of the limits and its Redis."""
    settings = await settings_for(breakable, workers=1)
    here, there = directory / "here", directory / "there"
    async with running(here, breakable.kafka.bootstrap, **settings) as one:
        there.mkdir()
        shutil.copy(here / "keys.json", there / "keys.json")
        async with running(there, breakable.kafka.bootstrap, **settings) as other, aiohttp.ClientSession() as phone:
            await posted(one, phone, 1)
            await breakable.kafka.pause()
            try:
                receipt = (await posted(one, phone, 2))["receipt"]
                await all_say(other, receipt, "spool", workers=1)
            finally:
                await breakable.kafka.resume()
            await all_say(other, receipt, "kafka", workers=1, within_s=30)
            assert await one.stop() == 0
            await all_say(other, receipt, "unknown", workers=1, within_s=30)


async def test_who_adopts_a_spool_answers_for_it(breakable: Devstack, directory: Path) -> None:
    settings = await settings_for(breakable)

    def workers(number: int) -> dict[str, dict[str, object]]:
        return {**settings, "process": {"workers": number, "data_dir": str(directory), "drain_lag_s": 0.1}}

    async with running(directory, breakable.kafka.bootstrap, **workers(3)) as gateway:
        await breakable.kafka.pause()
        spools: dict[str, str] = {}
        try:
            async with asyncio.timeout(20):
                while len(spools) < 3:
                    async with aiohttp.ClientSession() as phone:
                        receipt = (await posted(gateway, phone, 1, user=f"u{len(spools)}"))["receipt"]
                    _, _, body = await asked(gateway, receipt)
                    spools[body["spool"]] = receipt
            assert await gateway.stop() == 0
        finally:
            await breakable.kafka.resume()
    for _ in range(2):  # the second time there is nothing left to adopt but the answer
        async with running(directory, breakable.kafka.bootstrap, **workers(1)) as gateway:
            for receipt in spools.values():
                await all_say(gateway, receipt, "kafka", workers=1, within_s=30)
