"""What Kafka last said of its topics, on disk: so that a start while it is away knows their partitions.

One file of all workers, replaced whole; not fsynced, for all of it is said again at the next contact.  Without it a
worker that starts while Kafka is away has no lane to spool a record for.

    <data_dir>/kafka-topics.json    {"syncs.v1": {"name": "syncs.v1", "partitions": 12, ...}, ...}
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from gateway import logs
from gateway.kafka import Topic


class TopicsFile:
    """The file; each worker writes it by a draft of its own."""

    def __init__(self, directory: Path, worker: int) -> None:
        self._path = directory / "kafka-topics.json"
        self._draft = directory / f"kafka-topics.{worker}.draft"

    def load(self) -> dict[str, Topic]:
        """The topics as they were; none where there is no file, or none that can be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Topic])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            logs.warning("what was known of kafka's topics cannot be read", reason=type(exc).__name__)
            return {}

    def save(self, topics: Mapping[str, Topic]) -> None:
        """Replace it.  A topic that is not told of now keeps what was known: it may only be missing for a moment."""
        try:
            self._draft.write_bytes(msgspec.json.encode(self.load() | dict(topics)))
            self._draft.replace(self._path)
        except OSError as exc:
            logs.warning("what is known of kafka's topics cannot be kept on disk", reason=exc.strerror)
