"""What Kafka last said of its topics, on disk: so that a start while it is away knows their partitions.

One file of all workers, replaced whole; not fsynced, for all of it is said again at the next contact.  Without it a
worker that starts while Kafka is away has no lane to spool a record for.

    <data_dir>/kafka-topics.json    {"syncs.v1": ["syncs.v1", 12, ...], ...}      of each topic what gateway.kafka.Topic has, in its order

It is read and written in a disk's thread: one that hangs is waited for a moment, and then nothing is known.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from gateway import logs
from gateway.disk import Disk
from gateway.kafka import Topic

HANGS_S: Final = 2.0


class TopicsFile:
    """The file; each worker writes it by a draft of its own."""

    def __init__(self, disk: Disk, directory: Path, worker: int) -> None:
        """Args: disk: only its thread is used."""
        self._disk = disk
        self._path = directory / "kafka-topics.json"
        self._draft = directory / f"kafka-topics.{worker}.draft"
        self._saving = set[asyncio.Task[None]]()

    async def load(self) -> dict[str, Topic]:
        """The topics as they were; none where there is no file, or none that can be read in time."""
        try:
            async with asyncio.timeout(HANGS_S):
                return await self._disk.run(self._read)
        except TimeoutError:
            logs.warning("what was known of kafka's topics cannot be read", reason="the disk hangs")
            return {}

    def save(self, topics: Mapping[str, Topic]) -> None:
        """Replace it, in the background.  A topic that is not told of now keeps what was known: it may only be missing for a moment."""
        saving = asyncio.get_running_loop().create_task(self._disk.run(partial(self._write, dict(topics))))
        self._saving.add(saving)
        saving.add_done_callback(self._saving.discard)

    # In the disk's thread

    def _read(self) -> dict[str, Topic]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Topic])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            logs.warning("what was known of kafka's topics cannot be read", reason=type(exc).__name__)
            return {}

    def _write(self, topics: dict[str, Topic]) -> None:
        try:
            self._draft.write_bytes(msgspec.json.encode(self._read() | topics))
            self._draft.replace(self._path)
        except OSError as exc:
            logs.warning("what is known of kafka's topics cannot be kept on disk", reason=exc.strerror)
