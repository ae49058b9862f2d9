"""The Kafka of the stack: Apache Kafka 4.1, broker and controller in one process (KRaft).

The data directory is formatted once and kept; server.properties is written anew at every
start, so that ports and settings follow the code and never an old file.

    kafka/server.properties  log4j2.properties   written at every start
    kafka/server.log                             what Kafka logs, appended
    kafka/logs/                                  the data; meta.properties = formatted
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import uuid
from typing import TYPE_CHECKING, ClassVar

from .errors import StartFailed, with_log_tail
from .guarded import start_guarded
from .java import kafka_java
from .ports import HOST
from .server import Launch, Server
from .topics import admin_client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ANSWER_S = 90.0  # 3 s on an idle machine, 6 s after a crash; the rest for a busy one
_FORMAT_S = 60.0  # 1.3 s
_GRACE_S = 20.0  # a clean end takes 1-3 s and saves the log recovery at the next start
_ASK_TIMEOUT_S = 5.0
_JVM_FLAGS = (
    "-Xms128m",
    "-Xmx512m",
    # One core's worth of collector: the machine has to run the gateway and its load too.
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    # Java 25 warns at every start of what Kafka 4.1 still uses.
    "--sun-misc-unsafe-memory-access=allow",
)
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # A misspelt topic is an error, as in production, not a new topic with one partition.
    "auto.create.topics.enable": "false",
    # There is one broker, so one replica of everything; one partition of the inner topics
    # is enough for a handful of groups, and the first consumer waits for fewer files.
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # A test's consumer is alone: nobody to wait for.
    "group.initial.rebalance.delay.ms": "0",
    # A killed broker that comes back is refused until its old session has run out: 9 s by
    # default, most of what a restart takes.  The price: a pause of more than 3 s (not 9) is
    # followed by some NotLeaderForPartition answers, which clients retry within 0.2 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # The cleaner's default buffer is 128 MB of a 512 MB heap.
    "log.cleaner.dedupe.buffer.size": "8388608",
}
_LOG4J = """\
status = error
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1}: %m%n
"""


class Kafka(Server):
    """A Kafka broker, ours or existing."""

    name: ClassVar[str] = "kafka"

    def __init__(self, bootstrap: str, launch: Launch | None = None) -> None:
        """Describe the broker at `bootstrap`; without a launch it is somebody else's."""
        super().__init__(launch)
        self.bootstrap = bootstrap

    @property
    def address(self) -> str:
        """The bootstrap servers, as Kafka clients want them."""
        return self.bootstrap

    async def ask(self) -> None:
        """Ask for the cluster's metadata, on a connection of its own."""
        async with asyncio.timeout(_ASK_TIMEOUT_S):
            if self.is_ours:
                # First the bare port: the client library logs an error for each refusal.
                host, _, port = self.bootstrap.rpartition(":")
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
            async with admin_client(self.bootstrap) as admin:
                await admin.describe_cluster()


async def our_kafka(
    data_dir: Path,
    port: int,
    controller_port: int,
    say: Callable[[str], None],
    *,
    fast_stop: bool = False,
    held_fds: tuple[int, ...] = (),
) -> Kafka:
    """Describe a broker of ours on `port`; fetches the jars and formats its data if need be.

    Raises:
        MissingPart: Java or the jars are not there.
        StartFailed: the data directory could not be formatted.
    """
    properties, log4j = _write_settings(data_dir, port, controller_port)
    java = (*await kafka_java(say), f"-Dlog4j2.configurationFile={log4j}", *_JVM_FLAGS)
    if not _is_formatted(data_dir):
        await _format(java, data_dir, held_fds)
    launch = Launch(
        command=(*java, "kafka.Kafka", str(properties)),
        log_path=data_dir / "server.log",
        answer_s=_ANSWER_S,
        grace_s=0.0 if fast_stop else _GRACE_S,
        held_fds=held_fds,
    )
    return Kafka(f"{HOST}:{port}", launch)


def _write_settings(data_dir: Path, port: int, controller_port: int) -> tuple[Path, Path]:
    """Write both files anew and return where they are."""
    data_dir.mkdir(parents=True, exist_ok=True)
    properties, log4j = data_dir / "server.properties", data_dir / "log4j2.properties"
    properties.write_text(_properties(data_dir / "logs", port, controller_port))
    log4j.write_text(_LOG4J)
    return properties, log4j


def _properties(log_dir: Path, port: int, controller_port: int) -> str:
    broker, controller = f"PLAINTEXT://{HOST}:{port}", f"CONTROLLER://{HOST}:{controller_port}"
    settings = {
        **_SETTINGS,
        "listeners": f"{broker},{controller}",
        "advertised.listeners": broker,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "log.dirs": str(log_dir),
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _is_formatted(data_dir: Path) -> bool:
    return (data_dir / "logs" / "meta.properties").exists()


def _cluster_id(drawn: bytes) -> str:
    """16 bytes as Kafka writes them, but never with a leading "-", which its tool takes for an option."""
    return base64.urlsafe_b64encode(bytes([drawn[0] & 0x7F]) + drawn[1:]).decode().rstrip("=")


async def _format(java: tuple[str, ...], data_dir: Path, held_fds: tuple[int, ...]) -> None:
    """Write the cluster id and the first metadata record (StorageTool format)."""
    log_path = data_dir / "format.log"
    # A format that was killed half-way leaves a directory that Kafka refuses to format
    # again; without meta.properties it holds no data, so it may go.
    shutil.rmtree(data_dir / "logs", ignore_errors=True)
    cluster_id = _cluster_id(uuid.uuid4().bytes)
    tool = ("kafka.tools.StorageTool", "format", "-t", cluster_id)
    command = (*java, *tool, "-c", str(data_dir / "server.properties"))
    with log_path.open("wb") as log:
        process = await start_guarded(command, grace_s=0.0, output=log, held_fds=held_fds)
    try:
        async with asyncio.timeout(_FORMAT_S):
            code = await process.wait()
    except TimeoutError:
        code = -1
    finally:
        await process.stop()
    if code != 0:
        raise StartFailed(with_log_tail(f"formatting {data_dir} ended with {code}", log_path))
