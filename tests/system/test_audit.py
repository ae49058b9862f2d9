"""The loss audit of a real gateway: what it acknowledged, to the unit, whoever was killed; and what was taken away, by name."""

import asyncio
import os
import re
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from devstack import Devstack
from tests.system.gateway import ROOT, Gateway, header, records, running, topics_of
from tests.system.load import accepted, events, load, until

TOPICS: Final = ("syncs", "signups", "audit")
QUICK: Final = {"timeout_ms": 2000, "stall_ms": 500, "connect_timeout_ms": 1000}


class Answer(NamedTuple):
    """What `sluicegate audit` said."""

    code: int
    counts: dict[str, int]  # those that are not 0
    rest: list[str]


async def audit(gateway: Gateway, began: datetime, *flags: str) -> Answer:
    """From the minute the test began until the one that runs, which a gateway that ended has posted as well."""
    since, until_ = began.isoformat(), (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "--config", str(gateway.config_path), "audit", "--from", since, "--to", until_, *flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "GATEWAY_KAFKA_BOOTSTRAP": gateway.bootstrap},
    )
    out, err = await process.communicate()
    assert process.returncode in (0, 3, 4), err.decode()
    counts, rest = {}, []
    for line in out.decode().splitlines()[2:]:
        if match := re.fullmatch(r"(\D+): (\d+)", line):
            counts[match[1]] = int(match[2])
        else:
            rest.append(line)
    return Answer(process.returncode, {name: value for name, value in counts.items() if value}, rest)


async def a_worker(gateway: Gateway, which: int = 0) -> int:
    """The pid of one, when both run."""
    async with asyncio.timeout(20):
        while len(pids := sorted(gateway.worker_pids())) < 2:
            await asyncio.sleep(0.02)
    return pids[which]


def counted(metrics: dict[str, float], *outcomes: str) -> int:
    return sum(int(value) for name, value in metrics.items() if name.startswith("sluicegate_events_total") and any(f'"{one}"' in name for one in outcomes))


async def test_killed_workers_lose_no_minute_and_what_is_taken_away_is_named(stack: Devstack, directory: Path) -> None:
    began = datetime.now(UTC)
    topics = await topics_of(stack, *TOPICS, partitions=2)
    async with running(directory, stack.kafka.bootstrap, deliver=topics) as gateway:
        async with load(gateway, phones=16, pause_s=0.002) as ledger:
            for kill in range(4):
                await accepted(ledger, within_s=30)
                os.kill(await a_worker(gateway, kill % 2), signal.SIGKILL)
            await accepted(ledger, within_s=30)
        acknowledged = counted(await gateway.metrics(), "durable", "spooled")
        assert await gateway.stop() == 0
    whole = await audit(gateway, began, "--strict")
    print(whole)
    assert (whole.code, whole.rest) == (0, [])
    # The counter of a killed worker may be ahead of its sheet, by what one turn of its loop answers: at most one request a phone.
    assert 0 <= acknowledged - whole.counts["acknowledged"] <= 4 * 16
    assert whole.counts["found"] == whole.counts["acknowledged"] >= len(ledger.by(202))
    found = await records(stack.kafka.bootstrap, topics["syncs_topic"])
    assert len(found) == whole.counts["found"] + whole.counts.get("duplicates", 0) + whole.counts.get("found, not acknowledged", 0)

    told = {line.event for line in ledger.by(202)}
    first = [one for one in found if one.partition == 0]
    # What stands first may be of a killed worker, and acknowledged to nobody: that would not be missing.
    gone = first[: 1 + next(at for at, one in enumerate(first) if events([one]).keys() <= told)]
    await delete_before(stack, topics["syncs_topic"], gone[-1].offset + 1)
    cut = await audit(gateway, began)
    assert cut.code == 4
    assert cut.counts["acknowledged"] == whole.counts["acknowledged"]
    assert cut.counts["missing"] + cut.counts["found"] == cut.counts["acknowledged"]
    named = {line.split()[1] for line in cut.rest if line.startswith("missing ")}
    assert named <= {header(one, "ce_id") for one in gone}
    assert len(named) == cut.counts["missing"] >= 1
    assert any(line.startswith("note: ") for line in cut.rest)


async def test_what_waits_in_the_spool_is_not_missing_and_is_found_when_it_was_replayed(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The gateway ends while Kafka is frozen: lines and records wait on its disk, and the next start posts both."""
    began = datetime.now(UTC)
    async with Devstack(tmp_path_factory.mktemp("audit"), redis=False, fast_stop=True) as stack:
        topics = await topics_of(stack, *TOPICS, partitions=2)
        async with running(directory, stack.kafka.bootstrap, deliver={**topics, **QUICK}) as gateway:
            async with load(gateway, phones=12) as ledger:
                await accepted(ledger, within_s=30)
                await stack.kafka.pause()
                try:
                    spooled = len(ledger.by(202)) + 200
                    await until(lambda: len(ledger.by(202)) > spooled, 30, "200 more")
                    os.kill(await a_worker(gateway), signal.SIGKILL)
                    await until(lambda: len(ledger.by(202)) > spooled + 100, 30, "100 more")
                except BaseException:
                    await stack.kafka.resume()
                    raise
            try:
                assert await gateway.stop() == 0
            finally:
                await stack.kafka.resume()
            waiting = await audit(gateway, began, "--strict")
            print(waiting)
            assert (waiting.code, waiting.rest) == (0, [])
            assert waiting.counts["still in spool"] >= 200
            assert waiting.counts["found"] + waiting.counts["still in spool"] == waiting.counts["acknowledged"] >= len(ledger.by(202))
            await gateway.start()
            async with asyncio.timeout(90):
                while (beside := await audit(gateway, began)).counts.get("still in spool"):
                    assert (beside.code, beside.counts["acknowledged"]) == (0, waiting.counts["acknowledged"])
            assert (beside.code, beside.counts["found"]) == (0, waiting.counts["acknowledged"])


async def test_a_killed_supervisors_workers_leave_their_minutes_and_only_who_is_killed_with_it_does_not(stack: Devstack, directory: Path) -> None:
    began = datetime.now(UTC)
    topics = await topics_of(stack, *TOPICS, partitions=2)
    async with running(directory, stack.kafka.bootstrap, deliver=topics) as gateway:
        async with load(gateway, phones=8) as ledger:
            await accepted(ledger, within_s=30)
            workers = gateway.worker_pids()
            gateway.process.kill()
            await gateway.process.wait()
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 30, "they have drained")
        orphaned = await audit(gateway, began)
        print(orphaned)
        assert orphaned.code == 0
        assert orphaned.counts["found"] == orphaned.counts["acknowledged"] >= len(ledger.by(202))
        # A minute in which an orphan did nothing has no line: only the supervisor could vouch for it.
        assert all(line.endswith(": 0 records found") for line in orphaned.rest if line.startswith("unaudited "))
        await gateway.start()
        async with load(gateway, phones=8, prefix="v") as ledger:
            await accepted(ledger, within_s=30)
            workers = gateway.worker_pids()
            for pid in (gateway.process.pid, *workers):
                os.kill(pid, signal.SIGKILL)
            await gateway.process.wait()
        killed = await audit(gateway, began)
        print(killed)
        assert killed.code == 0
        assert killed.counts["acknowledged"] == orphaned.counts["acknowledged"]
        silent = {line.split()[3].rstrip(":") for line in killed.rest if line.startswith("unaudited ")}
        assert len(silent) == 2
        assert (await audit(gateway, began, "--strict")).code == 3


async def delete_before(stack: Devstack, topic: str, offset: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()
