"""What one request costs on the whole path, in ratios to bare aiohttp.  Linux only.

    python -m benchmarks.bench_path                        all arms, about four minutes
    python -m benchmarks.bench_path --quick --arms bare    is the harness sound?  seconds
    python -m benchmarks.bench_path --against main         this work tree beside a commit

Exit codes, as the rehearsals have them: 0 measured; 1 a target missed, with --enforce; 2 the
harness broke (an arm did not start, or answered something other than 202); 3 the load generator
was the bottleneck, so the figures are its own.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import load, machine, plan, report, rounds, servers, sut, table, traffic
from benchmarks.command import EXIT_BROKEN, EXIT_GENERATOR, EXIT_MISSED, parsed_with_servers, run, say
from devstack import Devstack

PAIRS, SECONDS, CONNECTIONS = 12, 1.5, 64
# Enough to see that everything runs; too few for an interval worth its name.
QUICK_PAIRS, QUICK_SECONDS = 2, 0.3
PEERS = {"bare": "bare", "naive": "naive", "fastapi": "fastapi_app"}


def main() -> int:
    """Measure, print, and return the exit code."""
    return run(bench(arguments()))


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="CPU per request, in ratios to bare aiohttp.")
    parser.add_argument("--pairs", type=int, default=0, help=f"per arm (default {PAIRS})")
    parser.add_argument("--seconds", type=float, default=0.0, help=f"a round (default {SECONDS})")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--arms", default="", help=f"of {', '.join(plan.ARMS)}; default: all")
    parser.add_argument("--against", default="", metavar="COMMIT", help="measure it beside this")
    parser.add_argument("--generator", choices=("auto", "asyncio", "wrk"), default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures say little")
    parser.add_argument("--enforce", action="store_true", help="exit 1 when a target is missed")
    chosen = parsed_with_servers(parser)
    chosen.pairs = chosen.pairs or (QUICK_PAIRS if chosen.quick else PAIRS)
    chosen.seconds = chosen.seconds or (QUICK_SECONDS if chosen.quick else SECONDS)
    return chosen


async def bench(chosen: argparse.Namespace) -> int:
    """Do everything, in order."""
    pairs = plan.pairs(arm_names(chosen), chosen.against)
    cores = machine.divide(frozenset(os.sched_getaffinity(0)))
    facts = machine.facts()  # before the run is the load average
    generator = load.choose(chosen.generator)
    settings: dict[str, object] = {
        "pairs": chosen.pairs,
        "seconds": chosen.seconds,
        "connections": chosen.connections,
        "generator": generator.name,
        "pinning": str(cores),
    }
    say(f"{chosen.pairs} pairs of {chosen.seconds:g} s for {', '.join(p.arm.name for p in pairs)}")
    os.sched_setaffinity(0, cores.others)  # inherited by the stack and the generator
    with tempfile.TemporaryDirectory(prefix="sluicegate-bench-") as directory:
        async with set_up(chosen, pairs, cores, generator, Path(directory)) as bench_of:
            await bench_of.warm_up(pairs)
            measured = await bench_of.run(pairs, chosen.pairs, say)
    found = report.build(measured)
    sys.stdout.write(table.text(found, settings, facts) + "\n")
    if chosen.json:
        chosen.json.write_text(json.dumps(report.as_json(found, settings, facts), indent=2) + "\n")
    return exit_code(found, is_enforced=chosen.enforce)


def arm_names(chosen: argparse.Namespace) -> list[str]:
    """Return the arms asked for; by default all there are, said aloud when some are not."""
    gateways = [plan.GATEWAY.name, plan.GATEWAY_BATCH.name]
    if chosen.arms:
        names = [name.strip() for name in chosen.arms.split(",")]
    else:
        names = gateways if chosen.against else list(plan.ARMS)
        if not sut.is_there():
            say("there is no gateway/__main__.py yet: measuring the peers alone")
            names = [name for name in names if name not in gateways]
    if set(names) & set(gateways) and not sut.is_there():
        raise servers.ServerError("there is no gateway/__main__.py to start")
    return names


@asynccontextmanager
async def set_up(
    chosen: argparse.Namespace,
    pairs: list[plan.Pair],
    cores: machine.Cores,
    generator: load.Generator,
    directory: Path,
) -> AsyncIterator[rounds.Bench]:
    """Start stack and servers, prove that each answers, and end them all afterwards."""
    secret = sut.new_secret()
    arms = {arm for pair in pairs for arm in (pair.arm, pair.reference)}
    tokens = sut.tokens(secret, chosen.connections, int(time.time()))
    now = datetime.now(UTC)
    requests = {arm.events: traffic.requests(tokens, arm.events, now) for arm in arms}
    for events, one_kind in requests.items():
        traffic_path(directory, events).write_bytes(traffic.framed(one_kind))
    async with AsyncExitStack() as cleanup:
        trees = {plan.GATEWAY.server: sut.ROOT}
        if chosen.against:
            old = cleanup.enter_context(sut.worktree(chosen.against, directory / "against"))
            trees[f"{plan.GATEWAY.server}@{chosen.against}"] = old
        where = sut.NOWHERE
        if arms != {plan.BARE}:
            where = await cleanup.enter_async_context(stack(chosen, directory / "stack"))
        cleanup.push_async_callback(generator.close)
        running = {}
        for name in sorted({arm.server for arm in arms}):
            command = command_of(name, trees, where, secret, directory)
            log = directory / f"{name.replace('/', '_')}.log"
            server = await servers.start(name, command, cores.servers, log)
            cleanup.push_async_callback(servers.stop, server)
            await servers.probe(server, requests[min(requests)][0])
            running[name] = server
        files = {events: str(traffic_path(directory, events)) for events in requests}
        yield rounds.Bench(running, generator, files, chosen.connections, chosen.seconds)


@asynccontextmanager
async def stack(chosen: argparse.Namespace, directory: Path) -> AsyncIterator[sut.Addresses]:
    """Give the real servers: those named on the command line, else a devstack's own."""
    async with Devstack(
        directory,
        redis_url=chosen.redis or None,
        kafka_bootstrap=chosen.kafka or None,
        fast_stop=True,  # nobody reads these topics again
        say=say,
    ) as own:
        yield sut.Addresses(own.kafka.bootstrap, own.redis.url)


def command_of(name: str, trees: dict[str, Path], where: sut.Addresses, secret: bytes, directory: Path) -> servers.Command:
    """Return how to start the server of that name."""
    if name in PEERS:
        return sut.peer_command(PEERS[name], where, secret)
    if not sut.is_there(trees[name]):
        raise servers.ServerError(f"{name}: there is no gateway/__main__.py in that tree")
    return sut.command(trees[name], directory / f"data-{list(trees).index(name)}", where, secret)


def traffic_path(directory: Path, events: int) -> Path:
    """Return where the requests of that many events lie."""
    return directory / f"traffic-{events}"


def exit_code(found: report.Report, *, is_enforced: bool) -> int:
    """Turn a report into the process's answer."""
    if found.broken:
        return EXIT_BROKEN
    if found.bottlenecks:
        return EXIT_GENERATOR
    if is_enforced and not all(verdict.is_met for verdict in found.verdicts):
        return EXIT_MISSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
