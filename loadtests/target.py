"""What is rehearsed: a gateway with its Redis and Kafka that is ours to start and to hurt, or another's by its URL."""

import asyncio
import dataclasses
import json
import os
import time
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
import tomli_w

from benchmarks import servers, sut
from devstack import Devstack
from loadtests.crowd import tethered
from loadtests.scenario import Scenario

SETTINGS: Final = sut.ROOT / "gateway.toml"
SYNCS, SIGNUPS = "syncs.v1", "signups.v1"  # the topics, as shipped
GROUP: Final = "rehearsal"
_PATIENCE_S: Final = 10.0
# The generator says whose address each request comes from, as a proxy does; else a city would come from one.
PROXIES: Final = ("127.0.0.0/8", "::1/128")


@dataclasses.dataclass(frozen=True)
class Target:
    """Where the load goes."""

    url: str
    room: str  # its name; empty: none
    secret_file: Path | None = None  # of the members' tokens
    tokens_file: Path | None = None  # or these
    ops_url: str = ""  # empty: nobody lets us scrape
    bootstrap: str = ""  # empty: nobody lets us read Kafka
    pid: int = 0  # of the supervisor; 0: not on this machine
    stack: Devstack | None = None  # None: not ours to hurt


class TargetError(Exception):
    """The gateway does not start, or does not answer: the harness broke."""


async def reach(where: Target) -> None:
    """One look before a crowd is sent.

    Raises:
        TargetError: nobody answers there, or there is no such room.
    """
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE_S)) as session:
        try:
            async with session.get(f"{where.url}/v1/rooms/{where.room}" if where.room else where.url) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise TargetError(f"nobody answers at {where.url}: {error or type(error).__name__}") from None
    if where.room and status != HTTPStatus.OK:
        raise TargetError(f"{where.url} has no room called {where.room!r} ({status}): name it with --room")


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables joined, all else replaced."""
    both = dict(base)
    for name, value in over.items():
        known = both.get(name)
        both[name] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return both


def settings(scenario: Scenario, epoch: int) -> dict[str, Any]:
    """The shipped gateway.toml, what the scenario says, and what a rehearsal needs."""
    ours: dict[str, Any] = {"http": {"trusted_proxies": list(PROXIES)}, "process": {"drain_lag_s": 0.0}}
    if scenario.has_room:
        ours["room"] = {"epoch": epoch, **({"consumer_group": GROUP} if scenario.downstream else {})}
    return merged(merged(tomllib.loads(SETTINGS.read_text(encoding="utf-8")), scenario.gateway.settings), ours)


@asynccontextmanager
async def own(scenario: Scenario, directory: Path) -> AsyncIterator[Target]:
    """A stack and a gateway of our own, ended afterwards.

    Raises:
        TargetError: something does not start; the message ends with its last words.
    """
    async with Devstack(directory / "stack", fast_stop=True) as stack:
        secret = sut.new_secret()
        described = sut.command(sut.ROOT, directory / "data", sut.Addresses(stack.kafka.bootstrap, stack.redis.url), secret)
        path, secret_file = directory / "gateway.toml", directory / "secret.json"
        path.write_text(tomli_w.dumps(settings(scenario, int(time.time()))), encoding="utf-8")
        secret_file.touch(mode=0o600)
        secret_file.write_text(json.dumps({"kid": sut.KEY_ID, "issuer": sut.ISSUER, "audience": sut.AUDIENCE, "key": sut.base64url(secret)}))
        environment = described.environment | {"GATEWAY_WORKERS": str(scenario.gateway.workers)}
        # It ends with us, however we end; its workers end with it.
        argv = tuple(tethered.command([*described.argv[:1], *_program(scenario), "--config", str(path)]))
        command = dataclasses.replace(described, argv=argv, environment=environment)
        try:
            server = await servers.start("the gateway", command, frozenset(os.sched_getaffinity(0)), directory / "gateway.log")
        except servers.ServerError as exc:
            raise TargetError(str(exc)) from None
        try:
            yield Target(
                url=f"http://127.0.0.1:{server.port}",
                room=scenario.gateway.settings.get("room", {}).get("name", ""),
                secret_file=secret_file,
                ops_url=f"http://{environment['GATEWAY_OPS_BIND']}",
                bootstrap=stack.kafka.bootstrap,
                pid=server.process.pid,
                stack=stack,
            )
        finally:
            await asyncio.shield(servers.stop(server))


def _program(scenario: Scenario) -> tuple[str, ...]:
    gateway = scenario.gateway
    if gateway.loses_one:
        return "-m", "benchmarks.faulty_gateway", "--loses-one"
    if gateway.records_per_s:
        return "-m", "benchmarks.faulty_gateway", "--records-per-s", str(gateway.records_per_s / gateway.workers)
    return "-m", "gateway"
