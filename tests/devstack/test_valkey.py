"""What befalls a Redis in production: emptied by a slip, failed over to a replica that lags."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from devstack import Devstack, DevstackError, NotOurs
from devstack.valkey import LOSE_MS_MAX, _has_caught_up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.devstack.conftest import CommandLine, PidsIn, Wait

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE_S = 60.0
# Long enough to write something between the cut and the kill, on a machine that is busy.
LOSE_MS = 1000
LONG_MS = 60_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Devstack]:
    """One Redis for the whole file; every test leaves it running."""
    async with Devstack(tmp_path_factory.mktemp("stack"), kafka=False, fast_stop=True) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def redis(stack: Devstack) -> AsyncIterator[Redis]:
    """Give a client of an empty server; it does not try a broken connection again."""
    async with Redis.from_url(stack.redis.url, retry=Retry(NoBackoff(), 0), socket_timeout=PATIENCE_S) as client:
        await client.flushall()
        await client.config_resetstat()  # see _until_cut
        yield client


async def _run_id(stack: Devstack) -> str:
    async with Redis.from_url(stack.redis.url) as client:
        found = (await client.info("server"))["run_id"]
    assert isinstance(found, str)
    return found


async def _until_cut(redis: Redis) -> None:
    """Return when a replica has come and gone: what is written from here on is lost."""
    async with asyncio.timeout(PATIENCE_S):
        # Not only that one is there: it may have gone again between two looks.
        while (seen := await redis.info())["sync_full"] == 0 or seen["connected_slaves"] > 0:
            await asyncio.sleep(0.002)


async def _is_ours_again(stack: Devstack, redis: Redis) -> bool:
    """Write, read, and see that nothing follows: what a server must do after anything."""
    await redis.set("after", "all")
    role = (await redis.info("replication"))["role"]
    return bool(role == "master" and await redis.get("after") == b"all" and await _run_id(stack))


async def test_empty_takes_the_data_and_leaves_the_process(stack: Devstack, redis: Redis) -> None:
    """Every database's, on connections that stay open; functions are no data to FLUSHALL."""
    before = stack.redis.pid, await _run_id(stack), await redis.client_id()
    await redis.set("key", "value")
    async with Redis.from_url(stack.redis.url.removesuffix("/0") + "/3") as other:
        await other.set("key", "value")
        await stack.redis.empty()
        assert (await redis.dbsize(), await other.dbsize()) == (0, 0)
    assert (stack.redis.pid, await _run_id(stack), await redis.client_id()) == before


async def test_fail_over_loses_what_came_after_the_cut_and_keeps_the_rest(stack: Devstack, redis: Redis) -> None:
    """Written before: there, with its time to live.  Overwritten after: the old value."""
    await redis.set("old", "kept")
    await redis.set("changed", "before")
    await redis.set("mortal", "kept", px=1_000_000)
    expires_ms = await redis.pexpiretime("mortal")
    await redis.set("deleted", "comes back")
    failing_over = asyncio.create_task(stack.redis.fail_over(LOSE_MS))
    await _until_cut(redis)
    await redis.set("new", "lost")
    await redis.set("changed", "after")
    await redis.delete("deleted")
    await failing_over
    async with Redis.from_url(stack.redis.url) as client:
        assert await client.mget("old", "new", "changed", "deleted") == [b"kept", None, b"before", b"comes back"]
        assert await client.pexpiretime("mortal") == expires_ms


async def test_under_traffic_what_is_left_is_all_up_to_one_instant(stack: Devstack, redis: Redis) -> None:
    """No write is lost from the middle, none from before the call; the lost ones span `lose_ms`."""
    acked_s: list[float] = []

    async def write() -> None:
        with suppress(RedisConnectionError):
            while True:
                await redis.rpush("written", len(acked_s))
                acked_s.append(time.monotonic())

    writing = asyncio.create_task(write())
    async with asyncio.timeout(PATIENCE_S):
        while len(acked_s) < 100:
            await asyncio.sleep(0.001)
    before_call = len(acked_s)
    await stack.redis.fail_over(LOSE_MS)
    await writing
    async with Redis.from_url(stack.redis.url) as client:
        left = [int(n) for n in await client.lrange("written", 0, -1)]
    assert left == list(range(len(left)))
    assert before_call <= len(left) < len(acked_s)
    # Before the kill came the wait, before the wait the cut: nothing kept is younger.  Half
    # of it, for on a busy machine the last answer may be well before the kill.
    assert acked_s[-1] - acked_s[len(left) - 1] > 0.5 * LOSE_MS / 1000


async def test_a_server_that_holds_much_is_followed_to_the_end(stack: Devstack, redis: Redis) -> None:
    """The cut waits for the replica, however long the first copy takes."""
    await redis.eval("for i = 1, 200000 do redis.call('SET', i, i) end", 0)
    await redis.set("last", "kept")
    await stack.redis.fail_over(0)
    async with Redis.from_url(stack.redis.url) as client:
        assert (await client.dbsize(), await client.get("last")) == (200_001, b"kept")


@pytest.mark.parametrize(("link", "followed", "want"), [("up", 10, True), ("up", 11, True), ("up", 9, False), ("down", 10, False)])
async def test_caught_up_is_a_link_and_every_byte(link: str, followed: int, want: object) -> None:
    """A link that is up has the first copy; what came after it may still be on its way."""
    primary, replica = AsyncMock(), AsyncMock()
    primary.info.return_value = {"master_repl_offset": 10}
    replica.info.return_value = {"master_link_status": link, "slave_repl_offset": followed}
    assert await _has_caught_up(primary, replica) is want


async def test_the_successor_is_another_process_at_the_same_address(stack: Devstack, redis: Redis) -> None:
    """Another pid and run_id, no scripts; a connection from before is dead."""
    sha = await redis.script_load("return 1")
    url, pid, run_id = stack.redis.url, stack.redis.pid, await _run_id(stack)
    await stack.redis.fail_over(0)
    with pytest.raises(RedisConnectionError):
        await redis.ping()
    assert stack.redis.url == url
    assert stack.redis.pid != pid
    assert await _run_id(stack) != run_id
    with pytest.raises(NoScriptError):
        await redis.evalsha(sha, 0)
    assert await _is_ours_again(stack, redis)


async def test_two_in_a_row(stack: Devstack, redis: Redis) -> None:
    """The second is the first's heir; asked for at once, they come one after the other."""
    await redis.set("key", "value")
    run_ids = {await _run_id(stack)}
    for _ in range(2):
        await stack.redis.fail_over(0)
        run_ids.add(await _run_id(stack))
    assert len(run_ids) == 3
    await asyncio.gather(stack.redis.fail_over(10), stack.redis.fail_over(10))
    async with Redis.from_url(stack.redis.url) as client:
        assert await client.get("key") == b"value"
        assert await _is_ours_again(stack, client)


async def test_the_rest_works_on_a_successor(stack: Devstack) -> None:
    """Paused it is silent, resumed it answers, killed and started again it is empty at its address."""
    await stack.redis.fail_over(0)
    async with Redis.from_url(stack.redis.url, socket_timeout=PATIENCE_S) as client:
        await client.set("key", "value")
        await stack.redis.pause()
        asking = asyncio.create_task(_run_id(stack))
        done, _ = await asyncio.wait({asking}, timeout=0.5)
        await stack.redis.resume()
        assert not done
        assert await asyncio.wait_for(asking, PATIENCE_S)
        await stack.redis.empty()
        assert await client.dbsize() == 0
        await client.set("key", "value")
    await stack.redis.kill()
    await stack.redis.restart()
    async with Redis.from_url(stack.redis.url) as client:
        assert await client.dbsize() == 0
    await stack.redis.fail_over(0)
    await stack.redis.restart()
    async with Redis.from_url(stack.redis.url) as client:
        assert await _is_ours_again(stack, client)


async def test_its_end_is_noticed_and_a_fail_over_is_not_one(stack: Devstack, wait: Wait) -> None:
    """Who watches for a server that ends by itself goes on to watch the successor."""
    watching = asyncio.create_task(stack.redis.wait_unasked_end())
    await stack.redis.fail_over(0)
    # The watch looks again every 50 ms; it has to be on the successor before that one ends.
    done, _ = await asyncio.wait({watching}, timeout=0.5)
    assert not done
    ended = stack.redis.pid
    stack.redis._running("kill behind its back").signal(signal.SIGKILL)
    assert await asyncio.wait_for(watching, PATIENCE_S) == -signal.SIGKILL
    wait.gone(ended)
    await stack.redis.restart()


async def test_a_server_that_does_not_answer_is_not_failed_over(stack: Devstack, redis: Redis, pids_in: PidsIn) -> None:
    """Said in words; no replica stays, and the server goes on with its data."""
    await redis.set("key", "value")
    pid = stack.redis.pid
    await stack.redis.pause()
    with pytest.raises(DevstackError, match=r"redis at redis://127.0.0.1:\d+/0: Timeout"):
        await stack.redis.fail_over(0)
    await stack.redis.resume()
    assert (stack.redis.pid, await redis.get("key")) == (pid, b"value")
    assert pids_in(stack.data_dir / "redis" / "replica") == []


async def test_a_cancelled_fail_over_leaves_no_replica(stack: Devstack, redis: Redis, pids_in: PidsIn) -> None:
    """The server goes on as if nobody had asked."""
    pid = stack.redis.pid
    failing_over = asyncio.create_task(stack.redis.fail_over(LONG_MS))
    await _until_cut(redis)
    failing_over.cancel()
    with pytest.raises(asyncio.CancelledError):
        await failing_over
    assert pids_in(stack.data_dir / "redis" / "replica") == []
    assert stack.redis.pid == pid
    assert await _is_ours_again(stack, redis)
    await stack.redis.fail_over(0)


@pytest.mark.parametrize("lose_ms", [-1, LOSE_MS_MAX + 1])
async def test_a_span_that_is_a_mistaken_unit_is_refused(stack: Devstack, lose_ms: int) -> None:
    """Before anything is started."""
    with pytest.raises(ValueError, match=rf"lose_ms {lose_ms}: want 0\.\.60000"):
        await stack.redis.fail_over(lose_ms)


async def test_somebody_elses_is_neither_emptied_nor_failed_over(stack: Devstack, redis: Redis, tmp_path: Path) -> None:
    """Its data is not ours to lose."""
    await redis.set("key", "value")
    async with Devstack(tmp_path, kafka=False, redis_url=stack.redis.url) as guest:
        with pytest.raises(NotOurs, match="cannot empty redis"):
            await guest.redis.empty()
        with pytest.raises(NotOurs, match="cannot fail over redis"):
            await guest.redis.fail_over(0)
    assert await redis.get("key") == b"value"


async def test_nothing_is_left_running_when_the_stack_ends(tmp_path: Path, pids_in: PidsIn) -> None:
    """After a fail-over, and in the middle of one that nobody waits for."""
    async with Devstack(tmp_path, kafka=False) as own:
        await own.redis.fail_over(0)
        failing_over = asyncio.create_task(own.redis.fail_over(LONG_MS))
        async with Redis.from_url(own.redis.url) as client:
            await _until_cut(client)
        assert len(pids_in(tmp_path)) == 4  # two servers, two guards
    assert pids_in(tmp_path) == []
    failing_over.cancel()
    await asyncio.wait({failing_over})
    assert pids_in(tmp_path) == []


_OWNER = """
import asyncio, pathlib, sys
from devstack import Devstack
async def main():
    async with Devstack(pathlib.Path(sys.argv[1]), kafka=False) as stack:
        await stack.redis.fail_over(0)
        print(stack.redis.url, flush=True)
        await stack.redis.fail_over(60_000)
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_nothing_is_left_running_when_the_owner_ends(devstack: CommandLine, tmp_path: Path, wait: Wait, pids_in: PidsIn, number: signal.Signals) -> None:
    """Killed with -9 or by Ctrl-C, while a fail-over is under way."""
    owner = devstack.start_command(sys.executable, "-c", _OWNER, str(tmp_path))
    assert owner.stdout is not None
    url = owner.stdout.readline().strip()
    assert url, owner.communicate()[1]
    async with Redis.from_url(url) as client:
        await _until_cut(client)
    others = [pid for pid in pids_in(tmp_path) if pid != owner.pid]
    assert len(others) == 4
    owner.send_signal(number)
    wait.gone(owner.pid, *others)
