"""One worker of the real gateway whose acknowledgements come no faster than a set rate.

    python -m benchmarks.slow_gateway --config gateway.toml --records-per-s 100

It is both supervisor and worker, in one process: the parts are the worker's own (`build`), the
store, the limits and Kafka are real, and only the broker stands behind a serial server:

    batch ──▶ Kafka (really sent) ──▶ its acknowledgement waits until  max(now, free) + records / rate

What the serial server has taken it works off, whether anyone still waits for it or not: as a
store does, which is what makes a gateway without a limit collapse.
"""

import argparse
import asyncio
import contextlib
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvloop

from gateway import config as configuration
from gateway import control, descriptors, keys, logs
from gateway.board import Board
from gateway.config import Config
from gateway.control import Ready, Setup
from gateway.core.event import Record
from gateway.errors import BrokerAway, ConfigError
from gateway.kafka import Broker, Topic
from gateway.listeners import Listeners
from gateway.worker import Worker, build, real_world


class SlowBroker:
    """A `Broker` in front of another one, that acknowledges so many records a second, in the order they came."""

    def __init__(self, broker: Broker, records_per_s: float) -> None:
        self._broker = broker
        self._records_per_s = records_per_s
        self._free_s = 0.0
        self._discarded = asyncio.Event()

    async def connect(self) -> Mapping[str, Topic]:
        return await self._broker.connect()

    async def topics(self) -> Mapping[str, Topic]:
        return await self._broker.topics()

    async def send(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        """Send at once, acknowledge in turn."""
        discarded = self._discarded
        self._free_s = done_s = max(self._free_s, asyncio.get_running_loop().time()) + len(records) / self._records_per_s
        first_offset = await self._broker.send(topic, partition, records)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(done_s):
                await discarded.wait()
                raise BrokerAway("discarded")
        return first_offset

    def discard(self) -> None:
        self._discarded.set()
        self._discarded = asyncio.Event()
        self._broker.discard()

    async def close(self) -> None:
        self.discard()
        await self._broker.close()


async def serve(config: Config, secrets: keys.Keys, listeners: Listeners, records_per_s: float) -> None:
    """Be the supervisor that says Setup and hears Ready, and the worker in between; until SIGTERM."""
    board = Board.create(config.worker_count)
    setup = Setup(0, config, secrets, secrets.limits_secret, (), board.fd, listeners.fds, is_first=True)
    world = real_world(config)
    world = world._replace(broker=SlowBroker(world.broker, records_per_s), disk=None)  # a spool would take what the store does not
    worker = Worker(setup, build(setup, world, board), world.clock, board.slots[0])
    ours, theirs = socket.socketpair()
    heard, ours_out = await asyncio.open_connection(sock=ours, limit=control.LINE_BYTES_MAX)
    reader, writer = await asyncio.open_connection(sock=theirs, limit=control.LINE_BYTES_MAX)
    listeners.listen()
    announcing = asyncio.create_task(announce(heard, listeners.url))
    try:
        await worker.serve(setup, reader, writer)
    finally:
        announcing.cancel()
        ours_out.close()
        writer.close()


async def announce(reader: asyncio.StreamReader, url: str) -> None:
    """Print READY when the worker is."""
    async for message in control.for_supervisor(reader):
        if isinstance(message, Ready):
            print(f"READY public={url}", flush=True)


def main() -> int:
    """Serve until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(description="One worker with slow acknowledgements.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--records-per-s", type=float, required=True)
    chosen = parser.parse_args()
    logs.configure("slow")
    try:
        config = descriptors.secured(configuration.load(chosen.config))
        listeners = Listeners(config.http.bind, 1, config.http.backlog)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(config, keys.load(config.keys_path), listeners, chosen.records_per_s))
    except ConfigError as error:
        print(f"slow_gateway: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
