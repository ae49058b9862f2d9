"""A disk that is full, read-only, fails or hangs costs nobody a sync while Kafka takes them, makes no 202 a lie, and is used again when it is good.

Each fault comes twice, over one history that the checker judges in the end: while Kafka is there, and while it is away.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from devstack import Devstack, Topic
from devstack.server import Server
from tests.system.crowd import killed_whole, more, sending
from tests.system.faulty_disk import CONTROL, PROGRAM
from tests.system.gateway import Gateway, records, serving
from tests.system.history import found
from tests.system.judgement import judge
from tests.system.load import drained, until
from tests.system.remains import stopped

# So short a hedge that the spool is asked when Kafka only holds its breath; and so long a patience that this never is an outage, where a
# machine is so busy that Kafka holds it ten times as long.
DELIVER: Final = {"timeout_ms": 3000, "stall_ms": 2000, "connect_timeout_ms": 1000, "hedge_ms": 2}
PROCESS: Final[dict[str, object]] = {"workers": 1, "drain_lag_s": 0.0}
FAULTS: Final = {
    "full": "append ENOSPC",
    "read-only": "append EROFS\ncreate EROFS\nunlink EROFS",
    "failing": "sync EIO",
    "failing-and-forgetting": "sync EIO forgets",
    "hanging": "sync HANGS",
}
_SAID: Final = ("the spool's disk failed", "the spool says nothing of an append")


@asynccontextmanager
async def holding_its_breath(kafka: Server) -> AsyncIterator[None]:
    """Meanwhile Kafka stops for moments, each shorter than what would make it slow."""

    async def hold() -> None:
        while True:
            try:
                await kafka.pause()  # cancelled in the middle of it, Kafka stands still as well
                await asyncio.sleep(0.1)
            finally:
                await kafka.resume()
            await asyncio.sleep(0.2)

    holding = asyncio.create_task(hold())
    try:
        yield
    finally:
        holding.cancel()
        await asyncio.wait([holding])


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_disk_that_fails_makes_no_answer_a_lie_and_is_used_again_when_it_is_good(breakable: Devstack, directory: Path, fault: str) -> None:
    topics = {"syncs_topic": f"{fault}.syncs", "signups_topic": f"{fault}.signups"}
    for name in topics.values():
        await breakable.create_topic(Topic(name))
    control, kafka = directory / CONTROL, breakable.kafka
    async with (
        serving(Gateway(directory, kafka.bootstrap, {"deliver": {**topics, **DELIVER}, "process": PROCESS | {"data_dir": str(directory)}}, PROGRAM)) as gateway,
        sending(gateway, topics["syncs_topic"]) as crowd,
    ):
        async with holding_its_breath(kafka):
            await more(lambda: crowd.kept["spool"], 20, "answered from the spool")

        # The disk fails, Kafka is there: it serves on through Kafka.
        control.write_text(FAULTS[fault])
        async with holding_its_breath(kafka):
            await until(lambda: any(said in gateway.log() for said in _SAID), 30, "the disk failed")
        await more(lambda: crowd.kept["kafka"], 100, "answered from Kafka")
        assert not crowd.problems

        # The disk is good again: it is used again, untold.
        control.unlink()
        await kafka.pause()
        try:
            await more(lambda: crowd.kept["spool"], 50, "answered from the spool again")
            before = crowd.problems.copy()

            # The disk fails, Kafka is away: nobody can promise anything, and nobody does.
            control.write_text(FAULTS[fault])
            await more(lambda: crowd.problems["not-durable"], 50, "refused")
            assert (crowd.problems - before).keys() == {"not-durable"}
            await killed_whole(gateway)
            control.unlink()
            await gateway.start()
            await more(lambda: crowd.kept["spool"], 50, "answered from the spool after the kill")
        finally:
            control.unlink(missing_ok=True)
            await kafka.resume()
    await gateway.start()
    await drained(gateway)
    left = await stopped(gateway)
    kept = [found(one.topic, one.partition, one.offset, one.key, one.value, one.headers) for one in await records(kafka.bootstrap, topics["syncs_topic"])]
    judgement = judge(crowd.history, kept, left.spool, left.rejected)
    print(f"{fault}: {judgement}; told {dict(crowd.told)}, {dict(crowd.kept)}, {dict(crowd.problems)}")
    assert not judgement.findings
    assert (judgement.in_spool, judgement.rejected) == (0, 0)
    assert judgement.accepted == judgement.sent
