"""Every message arrives as it was sent, and the end of the stream is the end of the other one."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest_asyncio

from gateway import control
from gateway.config import Config, Http, Limits, Room
from gateway.control import Acted, Adopt, Drain, Ready, Release, Reload, Setup, ToSupervisor, ToWorker, Unfit
from gateway.core.sign import Acts
from gateway.keys import Keys, SecretKey, TokenKey

KEYS = Keys(tokens=(TokenKey("k1", "EdDSA", "-----BEGIN…\n…"),), tickets=(SecretKey("1", "c2VjcmV0"),))
CONFIG = Config(http=Http(bind="[::1]:80", trusted_proxies=("10.0.0.0/8",)))

TO_WORKER: list[ToWorker] = [
    Setup(1, CONFIG, KEYS, b"\0secret", (b"\0spool",), board_fd=5, listener_fds=(6, 7), is_first=True),
    Adopt(2),
    Release(2),
    Reload(KEYS, Limits(memory_max=7), "/etc/알림.json", Room(revoked=(3,))),
    Acted(Acts(7, True, 12.5, "잠시")),
    Drain(),
]
TO_SUPERVISOR: list[ToSupervisor] = [Ready(), Unfit("t1: two\nlines")]


def test_no_message_is_forgotten_here() -> None:
    assert {type(message) for message in (*TO_WORKER, *TO_SUPERVISOR)} == set(ToWorker.__args__) | set(ToSupervisor.__args__)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest_asyncio.fixture
async def pipe() -> AsyncIterator[tuple[Streams, Streams]]:
    """Both ends of a control connection."""
    ours, theirs = socket.socketpair()
    ends = [await asyncio.open_connection(sock=sock, limit=control.LINE_BYTES_MAX) for sock in (ours, theirs)]
    yield ends[0], ends[1]
    for _, writer in ends:
        writer.close()


async def test_what_the_supervisor_says_arrives_as_it_was_said(pipe: tuple[Streams, Streams]) -> None:
    (_, supervisor), (worker, _) = pipe
    for message in TO_WORKER:
        control.send(supervisor, message)
    supervisor.write_eof()
    async with asyncio.timeout(5):
        assert [message async for message in control.for_worker(worker)] == TO_WORKER


async def test_what_a_worker_says_arrives_as_it_was_said(pipe: tuple[Streams, Streams]) -> None:
    (supervisor, _), (_, worker) = pipe
    for message in TO_SUPERVISOR:
        control.send(worker, message)
    worker.write_eof()
    async with asyncio.timeout(5):
        assert [message async for message in control.for_supervisor(supervisor)] == TO_SUPERVISOR


async def test_many_keys_fit_one_line(pipe: tuple[Streams, Streams]) -> None:
    """A hundred RSA keys in PEM: far more than anybody rotates."""
    (_, supervisor), (worker, _) = pipe
    many = Keys(tokens=tuple(TokenKey(f"k{n}", "RS256", "x" * 800, "y" * 3_300) for n in range(100)))
    control.send(supervisor, Reload(many, Limits(), "", Room()))
    async with asyncio.timeout(5):
        assert await anext(control.for_worker(worker)) == Reload(many, Limits(), "", Room())


def test_secrets_do_not_show_in_a_message() -> None:
    assert "c2VjcmV0" not in repr(TO_WORKER)
    assert "BEGIN" not in repr(TO_WORKER)


async def test_a_supervisor_that_was_killed_while_it_was_told_something_is_gone_and_no_error() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(control.encode(Adopt(2)) + b"\n")
    heard = []
    async for message in control.for_worker(reader):
        heard.append(message)
        reader.set_exception(BrokenPipeError())
    assert heard == [Adopt(2)]
