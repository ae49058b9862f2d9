"""The real gateway as a process, driven over sockets: what the system tests share."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from devstack import Devstack, Topic
from gateway import identity, keys
from gateway.clock import SYSTEM
from gateway.config import Identity

ROOT = Path(__file__).parents[2]
PROGRAM: Final = ("-m", "gateway")
_topics_made: Final = count(1)  # one count for all, since modules may share a Kafka


redis_url = "redis://127.0.0.1:1/0"
"""Where limits are kept; the `stack` fixture says where.  Without it: away, which harms nobody."""

# Quotas no test of something else runs into.
_RULES: Final = [{"by": by, "tokens": 100_000, "per_s": 1, "burst": 1_000_000} for by in ("global", "route", "address", "user")]
WIDE: Final[Mapping[str, object]] = {
    "newcomers_per_s": 100_000,
    "newcomers_burst": 1_000_000,
    "policies": [
        {"name": "syncs", "charge": "syncs", "rules": _RULES},
        {"name": "signups", "charge": "signups", "rules": _RULES[:3]},
        {"name": "samples", "charge": "samples", "rules": _RULES[3:]},
    ],
}


def _toml(value: object) -> str:
    """A value as TOML writes it; tables inline."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


class Gateway:
    """One `python -m gateway`, its settings in a directory of its own."""

    def __init__(self, directory: Path, bootstrap: str, settings: Mapping[str, Mapping[str, object]], program: Sequence[str] = PROGRAM) -> None:
        """Args: settings: sections of gateway.toml that differ from the defaults; program: what Python runs, the gateway or one with something wrong with it."""
        self.directory = directory
        self._program = program
        directory.mkdir(parents=True, exist_ok=True)
        self.bootstrap = bootstrap
        self.config_path = directory / "gateway.toml"
        merged: dict[str, dict[str, object]] = {
            "http": {"bind": "127.0.0.1:0"},
            "ops": {"bind": "127.0.0.1:0"},
            "process": {"workers": 2, "data_dir": str(directory), "drain_lag_s": 0.5},
            "deliver": {"allow_single_copy": True},
        }
        for section, values in settings.items():
            merged.setdefault(section, {}).update(values)
        merged.setdefault("limits", {**WIDE})
        merged.setdefault("redis", {"url": redis_url})
        lines = []
        for section, values in merged.items():
            lines += [f"[{section}]", *(f"{name} = {_toml(value)}" for name, value in values.items())]
        self.config_path.write_text("\n".join(lines) + "\n")
        keys.make(directory / "keys.json")
        self._keys = keys.load(directory / "keys.json")
        self.process: asyncio.subprocess.Process
        self.public = self.ops = ""
        self.log_path = directory / "gateway.log"

    async def start(self, *, ready: bool = True) -> None:
        """Start it, and wait for its READY line."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        environ["GATEWAY_KAFKA_BOOTSTRAP"] = self.bootstrap
        with self.log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, *self._program, "--config", str(self.config_path)),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=environ,
                cwd=ROOT,
            )
        if not ready:
            return
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            line = (await self.process.stdout.readline()).decode()
        match = re.fullmatch(r"READY public=(\S+) ops=(\S+) kafka=\S+ redis=\S+\n", line)
        assert match, (line, self.log())
        self.public, self.ops = match[1], match[2]

    async def stop(self, sign: int = signal.SIGTERM) -> int:
        """End it with one signal; returns the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(sign)
        async with asyncio.timeout(60):
            return await self.process.wait()

    def log(self) -> str:
        """All it has logged."""
        return self.log_path.read_text()

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def token(self, user: str, *, valid_s: int = 3600) -> str:
        return identity.mint(self._keys.tokens, Identity(), user, SYSTEM.now_us() / 1e6, valid_s)

    def headers(self, user: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(user)}", "Content-Type": "application/json"}

    @property
    def public_address(self) -> tuple[str, int]:
        host, _, port = self.public.removeprefix("http://").rpartition(":")
        return host, int(port)

    def worker_pids(self) -> list[int]:
        """Pids of the workers that run now."""
        pids = []
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    pids.append(int(pid))
        return pids

    async def metrics(self) -> dict[str, float]:
        """Every sample of /metrics as `name{label="value",…}` → value."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.ops}/metrics") as answer:
            text = await answer.text()
        return {
            sample.name + "{" + ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items())) + "}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def readyz(self) -> tuple[int, dict[str, Any]]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.ops}/readyz") as answer:
            return answer.status, await answer.json()


@contextlib.asynccontextmanager
async def running(directory: Path, bootstrap: str, **settings: Mapping[str, object]) -> AsyncIterator[Gateway]:
    """A gateway that serves, ended however the test ends."""
    async with serving(Gateway(directory, bootstrap, settings)) as gateway:
        yield gateway


@contextlib.asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[Gateway]:
    """The same of one that is made already."""
    await gateway.start()
    try:
        yield gateway
    finally:
        if gateway.process.returncode is None:
            gateway.process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(20):
                    await gateway.process.wait()
            except TimeoutError:
                gateway.process.kill()
                await gateway.process.wait()


async def topics_of(stack: Devstack, *kinds: str, partitions: int = 6) -> dict[str, str]:
    """New topics that no other test has, for syncs and signups where nothing else is asked for, as the `deliver` settings that name them."""
    n = next(_topics_made)
    names = {f"{kind}_topic": f"own{n}.{kind}" for kind in kinds or ("syncs", "signups")}
    for name in names.values():
        await stack.create_topic(Topic(name, partitions=partitions))
    return names


async def records(bootstrap: str, topic: str) -> list[ConsumerRecord]:
    """Every record of a topic, from its beginning to its end now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic) or await _partitions(consumer, topic))]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[ConsumerRecord] = []
        while any([await consumer.position(p) < ends[p] for p in partitions]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                found += batch
        return found
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    consumer.subscribe([topic])
    async with asyncio.timeout(20):
        while not (found := consumer.partitions_for_topic(topic)):
            await asyncio.sleep(0.05)
    consumer.unsubscribe()
    return set(found)


def header(record: ConsumerRecord, name: str) -> str | None:
    """One header of a record, as text; None where it has none of that name."""
    values = [value.decode() for key, value in record.headers if key == name]
    assert len(values) <= 1, (name, values)
    return values[0] if values else None


def sample(seq: int = 1, **fields: object) -> dict[str, object]:
    """A valid sample, fields replaced."""
    return {
        "id": f"s-{seq}",
        "seq": seq,
        "day": "2026-01-27",
        "steps": 8123,
        "recorded_at": "2026-01-27T22:10:05+09:00",
        "source": "watch",
    } | fields


def sync(*samples: Mapping[str, object]) -> dict[str, object]:
    """A sync of these samples, of one valid one where none is given."""
    return {"device_id": "4f1c", "platform": "android", "app_version": "2.3.1", "samples": list(samples) or [sample()]}


def signup(signup_id: str, **fields: object) -> dict[str, object]:
    """A valid application, fields replaced."""
    return {
        "signup_id": signup_id,
        "revision": 1,
        "name": "홍길동",
        "phone": "+821012345678",
        "birth_date": "1960-03-01",
        "district": "종로구",
        "device": {"platform": "ios", "model": "x"},
        "consents": {"terms": True, "health_data": True, "marketing": False},
    } | fields
