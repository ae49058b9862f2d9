"""What a Redis can do wrong, and what RedisStore makes of it: StoreAway or a right answer, never another's, never twice."""

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace
from redis.asyncio import Redis
from redis.exceptions import RedisError

from devstack import Devstack
from ratelimit.bucket import Limit
from ratelimit.policy import Ask, Policy, Rule
from ratelimit.redis_pool import CALLS_MAX
from ratelimit.redis_store import RedisStore
from ratelimit.store import StoreAway

LIMIT: Final = Limit.per(1, period_s=86_400, burst=100)
PROMPT_S: Final = 5.0
"""What has to happen at once takes no longer, on a machine that runs other tests as well."""

_names: Final = count(1)


class Own:
    """A server nobody else uses, an ordinary client of it, and a store."""

    def __init__(self, stack: Devstack) -> None:
        self.server = stack.redis
        self.url = stack.redis.url
        self.client: Any = Redis.from_url(self.url)
        self.store = RedisStore(self.url, give_up_s=30)

    async def config(self, name: str, value: str) -> None:
        await self.client.config_set(name, value)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Devstack]:
    async with Devstack(tmp_path_factory.mktemp("redis_store"), kafka=False, fast_stop=True) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def own(own_stack: Devstack) -> AsyncIterator[Own]:
    made = Own(own_stack)
    yield made
    await made.server.resume()
    await made.store.close()
    await made.client.aclose()


def ask(tokens: int = 1) -> Ask:
    return Ask(Policy("p", (Rule("r", LIMIT),)), (b"away:key%d" % next(_names),), tokens)


async def taken(store: RedisStore, one: Ask) -> int:
    """How many tokens an ask's bucket lacks."""
    [decision] = await store.decide([replace(one, tokens=1, kind="peek")])
    return LIMIT.burst - decision.remaining


async def soon(store: RedisStore, one: Ask) -> int:
    """Granted, by this call or the next: the loss of a connection is told to one call at most."""
    try:
        [decision] = await store.decide([one])
    except StoreAway:
        [decision] = await store.decide([one])
    return decision.granted


# Forgotten scripts, lost connections, other servers


async def test_a_script_the_server_forgot_is_sent_again_and_runs_once(own: Own) -> None:
    one = ask()
    await own.store.decide([one])
    await own.client.script_flush()
    await own.store.decide([one])
    assert await own.store.beat("w", 60) == 1
    await own.client.script_flush()
    assert await own.store.beat("w", 60) == 1
    assert await taken(own.store, one) == 2


async def test_a_killed_connection_is_replaced(own: Own) -> None:
    await own.store.decide([ask()])
    await own.client.client_kill_filter(_type="normal", skipme=True)
    assert await soon(own.store, ask()) == 1


async def test_a_server_that_came_back_empty_is_asked_anew(own: Own) -> None:
    one = ask()
    await own.store.decide([one])
    await own.server.restart()
    assert await soon(own.store, one) == 1
    assert await taken(own.store, one) == 1


async def test_a_server_that_is_gone_is_away_at_once_and_back_when_it_is(own: Own) -> None:
    one = ask()
    await own.store.decide([one])
    await own.server.kill()
    try:
        async with asyncio.timeout(PROMPT_S):
            for _ in range(3):
                with pytest.raises(StoreAway):
                    await own.store.decide([one])
    finally:
        await own.server.restart()
    [decision] = await own.store.decide([one])
    assert decision.granted == 1


async def test_a_server_killed_in_the_middle_of_a_call_tells_it_at_once(own: Own) -> None:
    await own.store.decide([ask()])
    await own.server.pause()
    call = asyncio.ensure_future(own.store.decide([ask()]))
    await asyncio.wait([call], timeout=0.05)
    await own.server.kill()
    try:
        async with asyncio.timeout(PROMPT_S):
            with pytest.raises(StoreAway, match="lost"):
                await call
    finally:
        await own.server.restart()


async def test_a_replica_is_no_place_for_buckets(own: Own) -> None:
    """As after a failover: what was the primary answers READONLY, and the next call connects anew."""
    one = ask()
    await own.store.decide([one])
    await own.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        assert not (await own.store.facts()).is_primary
        with pytest.raises(StoreAway, match="READONLY"):
            await own.store.decide([one])
    finally:
        await own.client.execute_command("REPLICAOF", "NO", "ONE")
    assert await taken(own.store, one) == 1


async def test_a_full_server_is_away(own: Own) -> None:
    one = ask()
    await own.store.decide([one])
    await own.config("maxmemory", "1")
    try:
        with pytest.raises(StoreAway, match="OOM"):
            await own.store.decide([one])
    finally:
        await own.config("maxmemory", "512mb")
    assert await taken(own.store, one) == 1


async def test_a_server_busy_with_another_script_is_away(own: Own) -> None:
    await own.config("busy-reply-threshold", "1")
    await own.store.decide([ask()])
    hog = Redis.from_url(own.url, single_connection_client=True)
    busy = asyncio.ensure_future(hog.eval("while true do end", 0))
    try:
        async with asyncio.timeout(PROMPT_S):
            while True:  # until the other script is under way
                try:
                    await own.store.decide([ask()])
                except StoreAway as away:
                    assert "BUSY" in str(away)  # noqa: PT017 - the calls before it succeed
                    break
    finally:
        await own.client.execute_command("SCRIPT", "KILL")
        with contextlib.suppress(RedisError):
            await busy
        await hog.aclose()
        await own.config("busy-reply-threshold", "5000")
    assert await soon(own.store, ask()) == 1


# A server that says nothing


async def test_a_frozen_server_is_given_up_and_its_late_answer_reaches_nobody(own: Own) -> None:
    store = RedisStore(own.url, give_up_s=1.0)  # which on a busy machine is enough for who is not frozen
    late, next_one = ask(tokens=7), ask(tokens=3)
    await store.decide([next_one])
    await own.server.pause()
    with pytest.raises(StoreAway, match="no answer from Redis for 1 s"):
        await store.decide([late])
    await own.server.resume()
    [decision] = await own.store.decide([next_one])
    assert (decision.granted, decision.remaining) == (3, LIMIT.burst - 6)
    assert await taken(own.store, late) in {0, 7}  # done, or not: but once
    await store.close()


async def test_whose_caller_went_away_answers_nobody_else(own: Own) -> None:
    gone, other = ask(tokens=7), ask(tokens=3)
    await own.store.decide([other])
    await own.server.pause()
    call = asyncio.ensure_future(own.store.decide([gone]))
    await asyncio.wait([call], timeout=0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await own.server.resume()
    for n in range(2, 12):
        [decision] = await own.store.decide([other])
        assert (decision.granted, decision.remaining) == (3, LIMIT.burst - 3 * n)


async def test_no_more_calls_wait_than_may(own: Own) -> None:
    """And they all end when the store is closed."""
    await own.store.decide([ask()])
    await own.server.pause()
    calls = [asyncio.ensure_future(own.store.decide([ask()])) for _ in range(CALLS_MAX)]
    await asyncio.wait(calls, timeout=0.05)
    with pytest.raises(StoreAway, match=f"{CALLS_MAX} calls"):
        await own.store.decide([ask()])
    await own.store.close()
    async with asyncio.timeout(PROMPT_S):
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreAway] * CALLS_MAX
    with pytest.raises(StoreAway, match="closed"):
        await own.store.beat("w", 1)


async def test_connections_are_used_again(own: Own) -> None:
    await own.store.decide([ask()])
    before = (await own.client.info("stats"))["total_connections_received"]
    for _ in range(20):
        await asyncio.gather(own.store.decide([ask()]), own.store.beat("w", 60))
    assert (await own.client.info("stats"))["total_connections_received"] <= before + 1


# Answers that are none, from a server that is none


class Fake:
    """Answers every EVALSHA with the same bytes and counts what it was asked."""

    def __init__(self, reply: bytes) -> None:
        self.reply, self.scripts, self.connections = reply, 0, 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while asked := await reader.read(65_536):
            scripts = asked.count(b"EVALSHA") + asked.count(b"$4\r\nEVAL\r\n")
            self.scripts += scripts
            if not self.reply:
                break
            writer.write(self.reply if scripts else b"+OK\r\n" * asked.count(b"*"))
        writer.close()


@pytest_asyncio.fixture(loop_scope="session")
async def fake() -> AsyncIterator[Callable[[bytes], Awaitable[tuple[Fake, RedisStore]]]]:
    """Starts a server of one answer, and a store that talks to it."""
    async with contextlib.AsyncExitStack() as undo:

        async def start(reply: bytes) -> tuple[Fake, RedisStore]:
            answering = Fake(reply)
            server = await asyncio.start_server(answering, "127.0.0.1", 0)
            undo.callback(server.close)
            store = RedisStore(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", give_up_s=PROMPT_S)
            undo.push_async_callback(store.close)
            return answering, store

        yield start


def bulk(reply: Any) -> bytes:
    packed = msgspec.msgpack.encode(reply)
    return b"$%d\r\n%b\r\n" % (len(packed), packed)


@pytest.mark.parametrize(
    "reply",
    [
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MISCONF Errors writing to the AOF file\r\n",
        b"-MASTERDOWN Link with MASTER is down\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-ERR user_script:1: something\r\n",
        b"-NOSCRIPT\r\n",  # to EVAL, too
        b"",  # hangs up
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+OK\r\n",
        b":1\r\n",
        b"*1\r\n:1\r\n",
        b"$-1\r\n",
        b"$3\r\nabc\r\n",
        bulk([]),
        bulk([(1, 0, -1, 5), (1, 0, -1, 5)]),  # to another question
        bulk([(1, 0, -1)]),
        bulk([(1, 0, -1, "x")]),
        bulk([(1, 0, -1, 5)]) * 2,
    ],
)
async def test_what_is_no_answer_is_no_contact(fake: Callable[[bytes], Awaitable[tuple[Fake, RedisStore]]], reply: bytes) -> None:
    """And nothing is asked twice, but the one script that was not run."""
    answering, store = await fake(reply)
    for n in (1, 2):
        with pytest.raises(StoreAway):
            await store.decide([ask()])
        assert answering.scripts == n * (2 if reply.startswith(b"-NOSCRIPT") else 1)
    if reply != b":1\r\n":  # which is one, to a beat
        with pytest.raises(StoreAway):
            await store.beat("w", 60)


# URLs


async def test_a_url_with_password_and_database(own: Own) -> None:
    one = ask()
    await own.config("requirepass", "sesame")
    try:
        store = RedisStore(own.url.replace("redis://", "redis://:sesame@").replace("/0", "/3?client_name=limits"))
        await store.decide([one])
        await own.client.execute_command("AUTH", "sesame")
        names = [(client["name"], client["db"]) for client in await own.client.client_list()]
        with pytest.raises(StoreAway, match="WRONGPASS") as told:
            await RedisStore(own.url.replace("redis://", "redis://:hunter2@")).decide([one])
        with pytest.raises(StoreAway, match="NOAUTH"):
            await RedisStore(own.url).decide([one])
    finally:
        await own.client.execute_command("AUTH", "sesame")
        await own.config("requirepass", "")
        await store.close()
    assert ("limits", "3") in names
    assert "hunter2" not in str(told.value)


async def test_a_url_of_a_unix_socket(tmp_path: Path) -> None:
    server = await asyncio.start_unix_server(Fake(bulk([(1, 0, -1, 5)])), tmp_path / "s")
    store = RedisStore(f"unix://{tmp_path / 's'}")
    assert [decision.granted for decision in await store.decide([ask()])] == [1]
    await store.close()
    server.close()


async def test_a_url_of_tls_trusts_only_whom_it_should(tmp_path: Path) -> None:
    server = await asyncio.start_server(Fake(bulk([(1, 0, -1, 5)])), "127.0.0.1", 0, ssl=certified(tmp_path))
    url = f"rediss://localhost:{server.sockets[0].getsockname()[1]}"
    store = RedisStore(f"{url}?ssl_ca_certs={tmp_path / 'cert.pem'}")
    assert [decision.granted for decision in await store.decide([ask()])] == [1]
    with pytest.raises(StoreAway, match="CERTIFICATE_VERIFY_FAILED"):
        await RedisStore(url).decide([ask()])
    await store.close()
    server.close()


def certified(directory: Path) -> ssl.SSLContext:
    """A server's side of TLS; who trusts cert.pem trusts it, as "localhost"."""
    secret, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, secret.public_key(), x509.random_serial_number(), now, now + dt.timedelta(1))
    certificate = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False).sign(secret, hashes.SHA256())
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem, pkcs8, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (directory / "key.pem").write_bytes(secret.private_bytes(pem, pkcs8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", "redis://127.0.0.1?colour=red", "redis://127.0.0.1:port"])
def test_a_url_that_is_none_is_said_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)url|port"):
        RedisStore(url)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "redis://nobody.invalid", f"redis://{'a' * 70}.invalid", "unix:///nowhere"])
async def test_a_url_where_nobody_is_is_away(url: str) -> None:
    async with asyncio.timeout(PROMPT_S):
        with pytest.raises(StoreAway, match="no contact"):
            await RedisStore(url).decide([ask()])


# What start-up is told


async def test_facts_are_the_servers_own(own: Own) -> None:
    facts = await own.store.facts()
    assert facts.server.startswith("valkey 9.")
    assert facts[1:] == ((await own.client.info("server"))["run_id"], True, "noeviction", 512 * 2**20, False, "")
    await own.config("save", "900 1")
    assert (await own.store.facts()).save == "900 1"
    await own.config("save", "")


async def test_facts_without_the_right_to_see_the_configuration(own: Own) -> None:
    await own.client.execute_command("ACL", "SETUSER", "limits", "on", ">s3", "~*", "+@all", "-config")
    store = RedisStore(own.url.replace("redis://", "redis://limits:s3@"))
    facts = await store.facts()
    assert (facts.save, facts.maxmemory_policy) == (None, "noeviction")
    await store.close()
