"""Start, probe and stop the process tree of one arm.

A server is ready when it prints a line that starts with READY.  It runs in a process group of its
own, so that whatever it started can be ended with it, and nothing else can.
"""

import asyncio
import os
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import machine
from benchmarks.response import ResponseReader

READY = "READY"
READY_TIMEOUT_S = 60.0  # the gateway waits for Kafka first, and Kafka may be cold
READY_POLL_S = 0.05
# A little more than the gateway's own drain_s (40), after which it ends by itself.
STOP_TIMEOUT_S = 45.0
PROBE_TIMEOUT_S = 15.0
LOG_LINES_SHOWN = 15


class ServerError(RuntimeError):
    """An arm did not start, or answered what it should not."""


@dataclass(frozen=True)
class Command:
    """How to start a server."""

    argv: tuple[str, ...]
    port: int
    cwd: Path
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """A running one."""

    name: str
    port: int
    process: asyncio.subprocess.Process
    log: Path


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def start(name: str, command: Command, cores: frozenset[int], log: Path) -> Server:
    """Start a server on its cores and wait until it is ready.

    Raises:
        ServerError: it ended or stayed silent; the message ends with its last words.
    """
    # The log is a file rather than a pipe: a pipe nobody reads stops the server when it is full.
    with log.open("wb") as output, machine.pinned(cores):
        process = await asyncio.create_subprocess_exec(
            *command.argv,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            cwd=command.cwd,
            env=os.environ | command.environment,
            start_new_session=True,
        )
    server = Server(name, command.port, process, log)
    try:
        await ready(server)
    except BaseException:
        await stop(server)
        raise
    return server


async def ready(server: Server) -> None:
    """Wait for the line that says so.

    Raises:
        ServerError: it ended first, or stayed silent.
    """
    for _ in range(round(READY_TIMEOUT_S / READY_POLL_S)):
        if any(line.startswith(READY) for line in lines(server.log)):
            return
        if server.process.returncode is not None:
            break
        await asyncio.sleep(READY_POLL_S)
    code = server.process.returncode
    fate = f"is still silent after {READY_TIMEOUT_S:.0f} s" if code is None else f"ended with {code}"
    raise ServerError(f"{server.name} {fate}: {last_words(server.log)}")


async def stop(server: Server) -> None:
    """Ask it to end; when it will not, end its process group."""
    if server.process.returncode is not None:
        return
    server.process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await server.process.wait()
    except TimeoutError:
        os.killpg(server.process.pid, signal.SIGKILL)
        await server.process.wait()


async def probe(server: Server, request: bytes) -> None:
    """Send one request and insist on a 202, so that a wrong set-up is told before it is measured.

    Raises:
        ServerError: another status, or a 202 that is not durable in Kafka.
    """
    async with asyncio.timeout(PROBE_TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request)
        answer, statuses = b"", list[int]()
        parser = ResponseReader()
        while not statuses:
            received = await reader.read(65_536)
            if not received:
                raise ServerError(f"{server.name} hung up: {last_words(server.log)}")
            answer += received
            statuses = parser.feed(received)
        writer.close()
    if statuses[0] != 202 or b"spool" in answer:
        shown = answer.decode(errors="replace")
        raise ServerError(f"{server.name} answered, where 202 from Kafka was wanted:\n{shown}")


def lines(log: Path) -> list[str]:
    """Return what the server has written so far."""
    return log.read_text(errors="replace").splitlines()


def last_words(log: Path) -> str:
    """Return the end of the log, for a message."""
    return "\n".join(["", *lines(log)[-LOG_LINES_SHOWN:]])
