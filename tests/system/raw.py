"""HTTP as bytes: sends what no client library would, and reads back all that comes.

A script is a sequence of pieces: bytes are sent, a number is a pause in seconds.
What the server closes early is no error here; it is what most of these tests ask.
"""

import asyncio
import json
import re
from collections.abc import Sequence
from time import monotonic
from typing import Any, NamedTuple

from gateway.errors import PROBLEMS

Piece = bytes | float


class Answer(NamedTuple):
    """One response.  Header names are in lower case; one sent twice is joined by ", "."""

    status: int
    version: str
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """Its problem document."""
        assert self.headers["content-type"] == "application/problem+json", self
        document: dict[str, Any] = json.loads(self.body)
        return document


class Exchange(NamedTuple):
    """What came back: the answers in order, whether the server closed, after how long."""

    answers: list[Answer]
    closed: bool
    seconds: float

    @property
    def only(self) -> Answer:
        """The one final answer; 100 Continue does not count."""
        [answer] = [answer for answer in self.answers if answer.status >= 200]
        return answer


async def exchange(
    address: tuple[str, int], *pieces: Piece, wait_s: float = 5.0, answers: int | None = None, is_head: bool = False, source: str | None = None
) -> Exchange:
    """Send the pieces, and read until the server closes, `answers` final ones are there, or `wait_s` is over.

    Args: source: the address to come from, one of 127.0.0.0/8.
    """
    started_s = monotonic()
    reader, writer = await asyncio.open_connection(*address, local_addr=(source, 0) if source else None)
    received = bytearray()
    sending = asyncio.create_task(_send(writer, pieces))
    closed = False
    try:
        async with asyncio.timeout(wait_s):
            while True:
                chunk = await reader.read(65_536)
                if not chunk:
                    closed = True
                    break
                received += chunk
                if answers is not None and sum(a.status >= 200 for a in parse(bytes(received), is_head=is_head)) >= answers:
                    break
    except TimeoutError:
        pass
    except ConnectionError:
        closed = True
    finally:
        sending.cancel()
        writer.transport.abort()
    return Exchange(parse(bytes(received), is_head=is_head), closed, monotonic() - started_s)


async def _send(writer: asyncio.StreamWriter, pieces: Sequence[Piece]) -> None:
    try:
        for piece in pieces:
            if isinstance(piece, bytes):
                writer.write(piece)
                await writer.drain()
            else:
                await asyncio.sleep(piece)
    except ConnectionError:
        pass  # closed early


def refused(answer: Answer, code: str) -> dict[str, Any]:
    """Assert that this is the refusal `code`, with all that every refusal has; returns its document."""
    problem = answer.problem
    known = PROBLEMS[code]
    assert (answer.status, problem["code"], problem["status"]) == (known.status, code, known.status), answer
    assert problem["type"] == f"/problems/{code}"
    assert (problem["title"], problem["retryable"]) == (known.title, known.retryable)
    assert problem["detail"]
    told(answer)
    asked = {
        "www-authenticate": known.status == 401,
        "allow": known.status == 405,
        "accept-encoding": code == "unsupported-encoding",
        "retry-after": known.status in (429, 503),
    }
    assert {name: name in answer.headers for name in asked} == asked, answer
    if asked["retry-after"]:
        assert re.fullmatch(r"[1-9][0-9]*", answer.headers["retry-after"]), answer
    return problem


def told(answer: Answer, cache: str = "no-store") -> str:
    """Assert what every answer has; returns its Request-Id."""
    assert answer.version in ("1.0", "1.1"), answer
    assert answer.headers["server"] == "sluicegate", answer
    assert answer.headers["cache-control"] == cache, answer
    assert re.fullmatch(r"[0-9a-f]{8}-[1-9][0-9]*", answer.headers["request-id"]), answer
    return answer.headers["request-id"]


def parse(received: bytes, *, is_head: bool = False) -> list[Answer]:
    """Every complete response in what was received; `is_head`: none has a body whatever it says."""
    found = []
    while b"\r\n\r\n" in received:
        head, _, received = received.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/(\d\.\d) (\d{3}) .*", status_line)
        assert match, status_line
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        status = int(match[2])
        has_body = not is_head and status >= 200 and status not in (204, 304)
        length = int(headers.get("content-length", "0")) if has_body else 0
        if len(received) < length:
            break
        found.append(Answer(status, match[1], headers, received[:length]))
        received = received[length:]
    return found


def request(method: str, target: str, body: bytes = b"", *headers: str, token: str = "", host: str = "gateway") -> bytes:
    """A request as clients write it; with a body also its length and `application/json`, unless `headers` name their own."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    named = {line.partition(":")[0].lower() for line in headers}
    if body or method == "POST":
        if "content-type" not in named:
            lines.append("Content-Type: application/json")
        if not named & {"content-length", "transfer-encoding"}:
            lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("utf-8", "surrogateescape") + body
