"""What every answer has: a walk along all routes, and every code of errors.PROBLEMS provoked once.

One cannot be provoked: `internal` is a bug of ours, and we know of none; that its
answer has this form is a matter of the same function as all others.
`refused-by-kafka` and its like are codes of samples, not of answers.
"""

import asyncio
import contextlib
import gzip
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from devstack import Devstack
from gateway.errors import OPS_ONLY, PROBLEMS
from tests.system.gateway import Gateway, running, signup, sync
from tests.system.raw import Answer, exchange, parse, refused, request, told

Topics = Callable[..., Awaitable[dict[str, str]]]

SYNC = json.dumps(sync()).encode()
SIGNUP = json.dumps(signup("0190a6f0-0000-7000-8000-000000000000")).encode()

# route → its method, and for documents their max-age in seconds.
POSTS = {"/v1/syncs": SYNC, "/v1/signups": SIGNUP}
DOCUMENTS = {"/v1/notices": 60, "/v1/openapi.json": 3600} | {f"/problems/{code}": 3600 for code in PROBLEMS}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
# Those of the waiting room are provoked in tests/test_rooms.py and tests/system/test_room.py: this gateway has none.
ROOM = {
    "pass-required",
    "pass-invalid",
    "pass-expired",
    "ticket-invalid",
    "ticket-room",
    "ticket-epoch",
    "ticket-revoked",
    "not-your-turn",
    "line-full",
    *OPS_ONLY,
    "room-closed",
}
UNPROVOKED = {"internal"} | ROOM

Walker = Callable[..., Awaitable[Answer]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(stack: Devstack, fresh_topics: Topics, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    topics = await fresh_topics()
    http = {"headers_timeout_s": 1, "body_grace_s": 0.5, "lingering_s": 0.2}
    async with running(tmp_path_factory.mktemp("answers"), stack.kafka.bootstrap, deliver=topics, http=http) as gateway:
        yield gateway


seen_ids: list[str] = []
seen_codes: set[str] = set()


@pytest.fixture
def ask(gateway: Gateway) -> Walker:
    """Sends one request and returns its one answer; remembers ids and codes."""

    async def send(sent: bytes, *, is_head: bool = False) -> Answer:
        answer = (await exchange(gateway.public_address, sent, answers=1, is_head=is_head)).only
        seen_ids.append(answer.headers["request-id"])
        if answer.headers["content-type"] == "application/problem+json" and answer.body:
            seen_codes.add(answer.problem["code"])
        return answer

    return send


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", [*POSTS, *DOCUMENTS, "/v1/receipts/none-of-ours"])
async def test_each_route_takes_its_methods_and_names_them(ask: Walker, path: str, method: str) -> None:
    allowed = ("POST",) if path in POSTS else ("GET", "HEAD")
    answer = await ask(request(method, path), is_head=method == "HEAD")
    if method in allowed:
        assert answer.status != 405, answer
        return
    if method == "HEAD":
        told(answer)
        assert answer.status == 405
    else:
        refused(answer, "method-not-allowed")
    assert answer.headers["allow"] == ", ".join(allowed)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/syncs/", "//v1/syncs", "/V1/SYNCS", "/v1/%73yncs", "/problems/", "/problems/none", "/problems/../v1/syncs", "/metrics", "/v1/receipts"],
)
async def test_what_is_nowhere_is_404_whatever_the_method(ask: Walker, path: str, method: str) -> None:
    answer = await ask(request(method, path), is_head=method == "HEAD")
    if method == "HEAD":
        told(answer)
        assert answer.status == 404
    else:
        refused(answer, "not-found")


@pytest.mark.parametrize("path", ["/v1/syncs?a=b", "/v1/syncs?"])
async def test_a_query_is_ignored(ask: Walker, gateway: Gateway, path: str) -> None:
    answer = await ask(request("POST", path, SYNC, token=gateway.token("u1")))
    assert answer.status == 202
    told(answer)


async def test_what_is_taken_is_told_plainly(ask: Walker, gateway: Gateway) -> None:
    for sent in (request("POST", "/v1/syncs", SYNC, token=gateway.token("u1")), request("POST", "/v1/signups", SIGNUP)):
        answer = await ask(sent)
        assert answer.status == 202
        assert answer.headers["content-type"] == "application/json"
        assert "retry-after" not in answer.headers
        told(answer)


# Documents


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_documents_are_cacheable_and_know_their_tag(ask: Walker, path: str) -> None:
    cache = f"public, max-age={DOCUMENTS[path]}"
    got = await ask(request("GET", path))
    assert got.status == 200
    told(got, cache)
    assert got.body
    head = await ask(request("HEAD", path), is_head=True)
    assert head.status == 200
    told(head, cache)
    for name in ("content-length", "content-type", "etag"):
        assert head.headers[name] == got.headers[name]
    tag = got.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        same = await ask(request("GET", path, b"", f"If-None-Match: {known}"))
        assert (same.status, same.body, same.headers["etag"]) == (304, b"", tag), known
        told(same, cache)
    other = await ask(request("GET", path, b"", 'If-None-Match: "other"'))
    assert (other.status, other.body) == (200, got.body)


@pytest.mark.parametrize("code", PROBLEMS)
async def test_each_problem_has_a_page_in_two_languages(ask: Walker, code: str) -> None:
    pages = {lang: await ask(request("GET", f"/problems/{code}", b"", f"Accept-Language: {lang}")) for lang in ("ko-KR,ko;q=0.9", "en", "fr")}
    for lang, title in (("ko-KR,ko;q=0.9", PROBLEMS[code].title_ko), ("en", PROBLEMS[code].title), ("fr", PROBLEMS[code].title)):
        assert pages[lang].headers["content-type"] == "text/html; charset=utf-8"
        assert f"<h1>{title}</h1>" in pages[lang].body.decode()
        assert "accept-language" in pages[lang].headers["vary"].lower()


async def test_the_api_document_is_for_this_server(ask: Walker) -> None:
    document = json.loads((await ask(request("GET", "/v1/openapi.json"))).body)
    assert document["openapi"].startswith("3.1")
    assert set(POSTS) | {"/v1/notices"} <= set(document["paths"])


# Every code


@pytest.mark.parametrize("path", POSTS)
async def test_the_codes_of_a_head_and_body(ask: Walker, gateway: Gateway, path: str) -> None:
    body, token = POSTS[path], gateway.token("u1")
    rows = {
        "invalid-json": request("POST", path, b"{", token=token),
        "invalid-gzip": request("POST", path, b"{", "Content-Encoding: gzip", token=token),
        "length-required": request("POST", path, b"", "Content-Length:", token=token).replace(b"Content-Length:\r\n", b""),
        "body-too-large": request("POST", path, b"", "Content-Length: 262145", token=token),
        "unsupported-media-type": request("POST", path, body, "Content-Type: text/json", token=token),
        "unsupported-encoding": request("POST", path, gzip.compress(body), "Content-Encoding: zstd", token=token),
        "invalid": request("POST", path, b"{}", token=token),
        "bad-request": request("POST", path, body, "Expect: much", token=token),
        "request-timeout": request("POST", path, b"", "Content-Length: 10", token=token),
    }
    if path == "/v1/syncs":
        rows |= {
            "token-missing": request("POST", path, body),
            "token-invalid": request("POST", path, body, token="a.b.c"),
            "token-expired": request("POST", path, body, token=gateway.token("u1", valid_s=-60)),
        }
    for code, sent in rows.items():
        problem = refused(await ask(sent), code)
        assert ("errors" in problem) == (code == "invalid")


async def test_every_sample_that_is_refused_is_pointed_at(ask: Walker, gateway: Gateway) -> None:
    samples = [{"id": f"s-{n}", "seq": n, "day": "2026-01-27", "steps": "many", "recorded_at": "now", "source": "w"} for n in range(200)]
    problem = refused(await ask(request("POST", "/v1/syncs", json.dumps(sync(*samples)).encode(), token=gateway.token("u1"))), "invalid")
    assert [error["pointer"] for error in problem["errors"]] == [f"/samples/{n}/steps" for n in range(200)]
    assert problem["ack_through"] == 199


@asynccontextmanager
async def lone(stack: Devstack, fresh_topics: Topics, directory: Path, bootstrap: str = "", **settings: object) -> AsyncIterator[Gateway]:
    """A gateway of one worker with these settings, for one test."""
    sections = {"deliver": await fresh_topics(), "process": {"workers": 1}, **settings}
    async with running(directory, bootstrap or stack.kafka.bootstrap, **sections) as gateway:  # type: ignore[arg-type]
        yield gateway


async def test_too_many_connections_and_overloaded(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with lone(stack, fresh_topics, directory, http={"connections_max": 2, "connections_per_address_max": 1}) as gateway:
        waiting = asyncio.create_task(exchange(gateway.public_address, wait_s=60, source="127.0.0.2"))
        await asyncio.sleep(0.1)
        full = await exchange(gateway.public_address, source="127.0.0.2")
        other = asyncio.create_task(exchange(gateway.public_address, wait_s=60, source="127.0.0.3"))
        await asyncio.sleep(0.1)
        over = await exchange(gateway.public_address, source="127.0.0.4")
        for task in (waiting, other):
            task.cancel()
    for done, code in ((full, "too-many-connections"), (over, "overloaded")):
        refused(done.only, code)
        seen_codes.add(code)
        assert done.closed


async def test_overloaded_by_bytes_before_the_body_comes(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """Two requests announce more than may be in flight: the second is refused while the first one's body is awaited."""
    deliver = await fresh_topics() | {"in_flight_bytes_max": 300_000}
    async with running(directory, stack.kafka.bootstrap, deliver=deliver, process={"workers": 1}, http={"body_grace_s": 4}) as gateway:
        head = request("POST", "/v1/syncs", b"", "Content-Length: 200000", token=gateway.token("u1"))
        reader, writer = await asyncio.open_connection(*gateway.public_address)
        writer.write(request("POST", "/v1/syncs", b"", "Content-Length: 200000", "Expect: 100-continue", token=gateway.token("u1")))
        async with asyncio.timeout(20):
            await reader.readuntil(b"100 Continue\r\n\r\n")  # it has been let in
            second = await exchange(gateway.public_address, head, answers=1)
            [first] = parse(await reader.read())
        writer.close()
        refused(second.only, "overloaded")
        refused(first, "request-timeout")
        # What was reserved has been given back.
        third = await exchange(gateway.public_address, head + b"x" * 200_000, answers=1)
        refused(third.only, "invalid-json")


async def test_not_durable_while_there_is_no_kafka(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    async with lone(stack, fresh_topics, directory, "127.0.0.1:9", deliver={"connect_timeout_ms": 200}) as gateway:
        for path, body in POSTS.items():
            done = await exchange(gateway.public_address, request("POST", path, body, token=gateway.token("u1")), answers=1)
            assert refused(done.only, "not-durable")["outcome"] == "none"
            seen_codes.add("not-durable")
        assert (await exchange(gateway.public_address, request("GET", "/v1/notices"), answers=1)).only.status == 200


async def test_more_than_ones_share(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    rule = {"by": "user", "tokens": 1, "per_s": 3600, "burst": 1}
    # As long as may be waited for Redis: a worker that decides by itself would give what Redis has given already.
    limits = {"prefix": f"{directory.parent.name}:", "decide_timeout_ms": 100, "policies": [{"name": "p", "charge": "syncs", "rules": [rule]}]}
    async with lone(stack, fresh_topics, directory, limits=limits) as gateway:
        sent = request("POST", "/v1/syncs", SYNC, token=gateway.token("u1"))
        done = await exchange(gateway.public_address, sent, sent, answers=2)
    taken, late = done.answers
    assert taken.status == 202
    assert refused(late, "rate-limited")["policy"] == "p-user"
    seen_codes.add("rate-limited")


async def test_draining_on_a_kept_connection(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    """A request that was begun before the drain's lag was over, on a connection that has had one before."""
    async with lone(stack, fresh_topics, directory, process={"workers": 1, "drain_lag_s": 0.4}) as gateway:
        sent = request("POST", "/v1/syncs", SYNC, token=gateway.token("u1"))
        reader, writer = await asyncio.open_connection(*gateway.public_address)
        writer.write(sent)
        async with asyncio.timeout(20):
            received = b""
            while not parse(received):
                received += await reader.read(65_536)
            writer.write(sent[:20])
            gateway.process.send_signal(signal.SIGTERM)
            await closed_to_new_ones(gateway)
            writer.write(sent[20:])
            received += await reader.read()
        writer.close()
        assert await gateway.process.wait() == 0
    taken, late = parse(received)
    assert taken.status == 202
    refused(late, "draining")
    seen_codes.add("draining")


async def closed_to_new_ones(gateway: Gateway) -> None:
    """Return when nobody can connect any more: the lag is over, and a second is left for what was begun."""
    with contextlib.suppress(ConnectionError):
        while True:
            _, writer = await asyncio.open_connection(*gateway.public_address)
            writer.transport.abort()
            await asyncio.sleep(0.02)


# The end of it


async def test_every_id_is_its_own_and_every_code_was_seen() -> None:
    """Holds for what ran before it; run alone it claims nothing."""
    assert len(set(seen_ids)) == len(seen_ids)
    if len(seen_ids) > 300:
        assert set(PROBLEMS) - seen_codes == UNPROVOKED
