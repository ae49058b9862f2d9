"""The real gateway, supervisor, ops port and all, with one thing wrong with it on purpose.

    python -m benchmarks.faulty_gateway --config gateway.toml --records-per-s 100     acknowledgements come no faster, of each worker
    python -m benchmarks.faulty_gateway --config gateway.toml --loses-one             one record is acknowledged and never sent

The first sets what can be served, for load that should be more than that; with the second a rehearsal shows that
its ledgers would notice.  Which it is goes to the workers through the environment.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.slow_gateway import SlowBroker
from gateway import __main__ as program
from gateway import supervisor, worker
from gateway.config import Config
from gateway.core.event import Record
from gateway.kafka import Broker, Topic
from gateway.worker import World, real_world

RATE: Final = "FAULTY_RECORDS_PER_S"
LOSES: Final = "FAULTY_LOSES_ONE"
_BEFORE: Final = 10  # records that go well


class LosingBroker:
    """A `Broker` in front of another one, that keeps one record back and says that all went well.

    Args: mark: a file; who makes it is the one worker that loses.
    """

    def __init__(self, broker: Broker, mark: Path) -> None:
        self._broker = broker
        self._mark = mark
        self._sent = 0

    async def connect(self) -> Mapping[str, Topic]:
        return await self._broker.connect()

    async def topics(self) -> Mapping[str, Topic]:
        return await self._broker.topics()

    async def send(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        self._sent += len(records)
        kept = records[1:] if self._sent > _BEFORE and self._is_the_one() else records
        return await self._broker.send(topic, partition, kept) if kept else -1

    def _is_the_one(self) -> bool:
        try:
            self._mark.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def discard(self) -> None:
        self._broker.discard()

    async def close(self) -> None:
        await self._broker.close()


def faulty_world(config: Config) -> World:
    """The real one behind what the environment asks for."""
    world = real_world(config)
    if LOSES in os.environ:
        return world._replace(broker=LosingBroker(world.broker, Path(config.process.data_dir) / "lost"))
    return world._replace(broker=SlowBroker(world.broker, float(os.environ[RATE])))


def main() -> int:
    """Be the supervisor, or with `worker FD` one of its workers; returns the exit code."""
    if sys.argv[1:2] == ["worker"]:
        worker.real_world = faulty_world
        return program.main(sys.argv[1:])
    parser = argparse.ArgumentParser(description="The gateway, with one thing wrong with it.")
    parser.add_argument("--config", required=True)
    fault = parser.add_mutually_exclusive_group(required=True)
    fault.add_argument("--records-per-s", type=float)
    fault.add_argument("--loses-one", action="store_true")
    chosen = parser.parse_args()
    os.environ[LOSES if chosen.loses_one else RATE] = "1" if chosen.loses_one else str(chosen.records_per_s)
    supervisor.WORKER = ("-m", "benchmarks.faulty_gateway", "worker")  # type: ignore[misc]
    return program.main(["--config", chosen.config])


if __name__ == "__main__":
    sys.exit(main())
