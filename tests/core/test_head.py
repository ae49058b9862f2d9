"""What is plain enough to be answered unparsed; and that the parser would have read it likewise."""

import asyncio
from collections.abc import Callable
from typing import Final
from unittest.mock import Mock

import pytest
from aiohttp.http import HttpRequestParser, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDictProxy

from gateway.core.head import PlainJoin, PlainLook, PlainSync, read_join, read_look, read_sync

PLAIN: Final = b"POST /v1/syncs HTTP/1.1\r\nHost: x:80\r\nUser-Agent: a, b/1 (c)\r\nContent-Type: application/json\r\nAuthorization: Bearer t\r\nContent-Length: 2\r\n\r\n{}"

JOIN: Final = b"POST /v1/rooms/a-1/tickets HTTP/1.1\r\nHost: x:80\r\nUser-Agent: a, b/1 (c)\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
LOOK: Final = b"GET /v1/rooms/a-1/place HTTP/1.1\r\nHost: x:80\r\nUser-Agent: a, b/1 (c)\r\nWaiting-Room-Ticket: t\r\n\r\n"


def test_a_plain_sync_is_read() -> None:
    assert read_sync(PLAIN) == PlainSync("x:80", "Bearer t", 2, is_gzip=False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Host: x:80", b"hOsT:x:80 \t"),
        (b"Authorization: ", b"AUTHORIZATION: \t "),
        (b"application/json", b"Application/JSON; charset=UTF-8"),
        (b"User-Agent", b"Connection: Keep-Alive\r\nUser-Agent"),
        (b"2\r\n\r\n", b"000000002\r\n\r\n"),
        (b"User-Agent: a, b/1 (c)", b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\nX-Empty:"),
    ],
)
def test_spelling_makes_nothing_odd(old: bytes, new: bytes) -> None:
    assert read_sync(PLAIN.replace(old, new)) == PlainSync("x:80", "Bearer t", 2, is_gzip=False)


def test_a_folded_body_is_told() -> None:
    found = read_sync(PLAIN.replace(b"Host", b"Content-Encoding: gzip\r\nHost"))
    assert found is not None
    assert found.is_gzip


ODD: Final = {
    "nothing": (PLAIN, b""),
    "another path": (b"syncs", b"signups"),
    "a query": (b"syncs ", b"syncs?x=1 "),
    "another method": (b"POST", b"PUT"),
    "an older version": (b"HTTP/1.1", b"HTTP/1.0"),
    "an empty line first": (b"POST", b"\r\nPOST"),
    "two hosts": (b"Host: x:80", b"Host: a\r\nHost: b"),
    "the same host twice": (b"Host: x:80", b"Host: x:80\r\nHost: x:80"),
    "no host": (b"Host: x:80\r\n", b""),
    "two tokens": (b"User-Agent", b"authorization: Bearer u\r\nUser-Agent"),
    "two agents": (b"User-Agent", b"user-agent: u\r\nUser-Agent"),
    "no token": (b"Authorization", b"X-Authorization"),
    "no length": (b"Content-Length: 2\r\n", b""),
    "two lengths": (b"User-Agent", b"Content-Length: 2\r\nUser-Agent"),
    "a length that is none": (b": 2", b": +2"),
    "a length of many noughts": (b": 2", b": " + b"0" * 5_000 + b"2"),
    "a body cut off": (b"{}", b"{"),
    "a byte more": (b"{}", b"{}\n"),
    "another request behind it": (b"{}", b"{}POST /v1/syncs HTTP/1.1"),
    "chunked": (b"User-Agent", b"Transfer-Encoding: chunked\r\nUser-Agent"),
    "waits for a word": (b"User-Agent", b"Expect: 100-continue\r\nUser-Agent"),
    "wants another protocol": (b"User-Agent", b"Upgrade: h2c\r\nUser-Agent"),
    "wants one that is no more": (b"User-Agent", b"sec-websocket-key1: k\r\nUser-Agent"),
    "wants to close": (b"User-Agent", b"Connection: close\r\nUser-Agent"),
    "no JSON": (b"application/json", b"text/plain"),
    "another charset": (b"application/json", b"application/json; charset=utf-16"),
    "a coding nobody takes": (b"User-Agent", b"Content-Encoding: br\r\nUser-Agent"),
    "folded twice": (b"User-Agent", b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\nUser-Agent"),
    "a space before the colon": (b"User-Agent:", b"User-Agent :"),
    "a line of its own": (b"(c)", b"(c)\r\n folded"),
    "a name that is none": (b"User-Agent", b"User(Agent"),
    "no name": (b"User-Agent", b""),
    "a bare line feed": (b"(c)", b"(c)\nX: y"),
    "a bare carriage return": (b"(c)", b"(c)\rX: y"),
    "a NUL": (b"(c)", b"\x00"),
    "beyond ASCII": (b"(c)", b"\xc3\xa9"),
}


@pytest.mark.parametrize("what", ODD)
def test_anything_odd_is_for_the_parser(what: str) -> None:
    old, new = ODD[what]
    assert old in PLAIN
    assert read_sync(PLAIN.replace(old, new, 1)) is None


def test_a_plain_join_is_read() -> None:
    assert read_join(JOIN) == PlainJoin("x:80", "", "", b"{}", is_gzip=False)
    more = b"\r\nOrigin: https://a\r\nx-forwarded-for: 192.0.2.1, 192.0.2.2 \r\nCookie: a\r\ncontent-encoding: gzip\r\nAuthorization: t\r\nUser"
    assert read_join(JOIN.replace(b"\r\nUser", more)) == PlainJoin("x:80", "https://a", "192.0.2.1, 192.0.2.2", b"{}", is_gzip=True)


def test_a_plain_question_for_a_place_is_read() -> None:
    assert read_look(LOOK) == PlainLook("x:80", "", "t")
    more = b"\r\nOrigin: https://a\r\nX-Forwarded-For: a\r\nX-Forwarded-For: b\r\nCookie: a\r\nConnection: keep-alive\r\nAuthorization: t\r\nUser"
    assert read_look(LOOK.replace(b"\r\nUser", more).replace(b"t\r\n\r\n", b" t \t\r\n\r\n")) == PlainLook("x:80", "https://a", "t")


ODD_LOOK: Final = {
    "another path": (b"/place", b"/passes"),
    "a path below it": (b"/place", b"/place/x"),
    "a query": (b"/place", b"/place?x"),
    "another method": (b"GET", b"HEAD"),
    "an older version": (b"HTTP/1.1", b"HTTP/1.0"),
    "no host": (b"Host: x:80\r\n", b""),
    "two hosts": (b"User-Agent", b"host: y\r\nUser-Agent"),
    "no ticket": (b"Waiting-Room-Ticket", b"Cookie"),
    "two tickets": (b"User-Agent", b"waiting-room-ticket: u\r\nUser-Agent"),
    "two origins": (b"User-Agent", b"Origin: u\r\nOrigin: u\r\nUser-Agent"),
    "two tokens": (b"User-Agent", b"Authorization: u\r\nAuthorization: u\r\nUser-Agent"),
    "a body": (b"User-Agent", b"Content-Length: 0\r\nUser-Agent"),
    "a chunked body": (b"User-Agent", b"Transfer-Encoding: chunked\r\nUser-Agent"),
    "wants another protocol": (b"User-Agent", b"Upgrade: h2c\r\nUser-Agent"),
    "wants one that is no more": (b"User-Agent", b"Sec-WebSocket-Key1: k\r\nUser-Agent"),
    "waits for a word": (b"User-Agent", b"Expect: 100-continue\r\nUser-Agent"),
    "wants to close": (b"User-Agent", b"Connection: close\r\nUser-Agent"),
    "a byte more": (b"t\r\n\r\n", b"t\r\n\r\nG"),
    "an end that is missing": (b"t\r\n\r\n", b"t\r\n\r"),
    "a line of its own": (b"(c)", b"(c)\r\n folded"),
}


@pytest.mark.parametrize("what", ODD_LOOK)
def test_any_other_question_is_for_the_parser(what: str) -> None:
    old, new = ODD_LOOK[what]
    assert old in LOOK
    assert read_look(LOOK.replace(old, new, 1)) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"tickets", b"ticket"),
        (b"POST", b"PUT"),
        (b"{}", b"{"),
        (b"{}", b"{}\n"),
        (b"Content-Length: 2\r\n", b""),
        (b"application/json", b"text/plain"),
        (b"User-Agent", b"X-Forwarded-For: a\r\nX-Forwarded-For: b\r\nUser-Agent"),
        (b"User-Agent", b"Content-Encoding: br\r\nUser-Agent"),
        (b"User-Agent", b"Transfer-Encoding: chunked\r\nUser-Agent"),
        (b"User-Agent", b"Expect: 100-continue\r\nUser-Agent"),
        (b"User-Agent", b"Connection: close\r\nUser-Agent"),
        (b"User-Agent", b"Sec-WebSocket-Key1: k\r\nUser-Agent"),
        (b": 2", b": " + b"0" * 9 + b"2"),
    ],
)
def test_any_other_join_is_for_the_parser(old: bytes, new: bytes) -> None:
    assert old in JOIN
    assert read_join(JOIN.replace(old, new, 1)) is None


@pytest.mark.parametrize(
    ("more", "is_plain"),
    [
        (b"X: y\r\n" * 61, True),
        (b"X: y\r\n" * 62, False),
        (b"X:" + b" " * 4096, True),
        (b"X:" + b" " * 4097, False),
        (b"X" * 256 + b": y", True),
        (b"X" * 257 + b": y", False),
    ],
)
def test_a_head_of_more_than_the_parser_takes_is_for_the_parser(more: bytes, is_plain: bool) -> None:
    found = read_look(LOOK.replace(b"User-Agent", more.removesuffix(b"\r\n") + b"\r\nUser-Agent"))
    assert (found is not None) == is_plain


@pytest.mark.parametrize("name", [b"Content-Location", b"Content-Range", b"ETag", b"Max-Forwards", b"Server", b"User-Agent"])
@pytest.mark.parametrize(("plain", "read"), [(PLAIN, read_sync), (JOIN, read_join), (LOOK, read_look)], ids=["sync", "join", "look"])
def test_what_the_parser_takes_once_is_taken_once(name: bytes, plain: bytes, read: Callable[[bytes], object]) -> None:
    sent = [plain.replace(b"User-Agent: a, b/1 (c)", b"\r\n".join([name + b": a"] * times)) for times in (1, 2)]
    assert [read(segment) is not None for segment in sent] == [True, False]
    with pytest.raises(BadHttpMessage):
        HttpRequestParser(Mock(), Mock(), 2**16).feed_data(sent[1])


NAMES: Final = [
    b"Sec-WebSocket-Key1",
    b"Max-Forwards",
    b"Host",
    b"Origin",
    b"Waiting-Room-Ticket",
    b"X-Forwarded-For",
    b"User-Agent",
    b"ETag",
    b"Authorization",
    b"Content-Type",
    b"Content-Length",
    b"content-length",
    b"Content-Encoding",
    b"Transfer-Encoding",
    b"Connection",
    b"X",
]
VALUES: Final = [b"x", b"2", b"02", b"2,2", b"application/json", b"gzip", b"chunked", b"close", b"keep-alive", b"", b" ", b"a\tb", b"\x7f", b"2 "]
lines = st.lists(
    st.builds(lambda name, gap, value: name + gap + value, st.sampled_from(NAMES), st.sampled_from([b": ", b":", b" : ", b":\t"]), st.sampled_from(VALUES)),
    max_size=4,
)


@given(lines, st.permutations([b"Host: x", b"Authorization: Bearer t", b"Content-Type: application/json", b"Content-Length: 2"]), st.integers(0, 4))
def test_what_is_plain_here_is_the_same_there(more: list[bytes], plain: list[bytes], leave_out: int) -> None:
    """Whatever stands in front of us parses too: two readings of one head would be a way to smuggle."""
    segment = b"\r\n".join([b"POST /v1/syncs HTTP/1.1", *plain[leave_out:], *more, b"", b"{}"])
    ours = read_sync(segment)
    if ours is None:
        return
    headers = parsed(segment, "POST", "/v1/syncs", 2)
    assert (headers.getall("Host"), headers.getall("Authorization")) == ([ours.host], [ours.authorization])
    assert [int(length) for length in headers.getall("Content-Length")] == [ours.body_bytes]
    assert headers.getall("Content-Encoding", []) == (["gzip"] if ours.is_gzip else [])


@given(lines, st.permutations([b"Host: x", b"Content-Type: application/json", b"Content-Length: 2"]), st.integers(0, 3))
def test_a_plain_join_is_the_same_there(more: list[bytes], plain: list[bytes], leave_out: int) -> None:
    segment = b"\r\n".join([b"POST /v1/rooms/a/tickets HTTP/1.1", *plain[leave_out:], *more, b"", b"{}"])
    ours = read_join(segment)
    if ours is None:
        return
    headers = parsed(segment, "POST", "/v1/rooms/a/tickets", 2)
    assert (headers.getall("Host"), headers.get("Origin", ""), len(headers.getall("Origin", []))) == ([ours.host], ours.origin, "Origin" in headers)
    assert (headers.get("X-Forwarded-For", ""), len(headers.getall("X-Forwarded-For", []))) == (ours.forwarded, "X-Forwarded-For" in headers)
    assert headers.getall("Content-Encoding", []) == (["gzip"] if ours.is_gzip else [])


@given(lines, st.permutations([b"Host: x", b"Waiting-Room-Ticket: t"]), st.integers(0, 2))
def test_a_plain_question_is_the_same_there(more: list[bytes], plain: list[bytes], leave_out: int) -> None:
    segment = b"\r\n".join([b"GET /v1/rooms/a/place HTTP/1.1", *plain[leave_out:], *more, b"", b""])
    ours = read_look(segment)
    if ours is None:
        return
    headers = parsed(segment, "GET", "/v1/rooms/a/place", 0)
    assert (headers.getall("Host"), headers.getall("Waiting-Room-Ticket"), headers.get("Origin", "")) == ([ours.host], [ours.ticket], ours.origin)
    assert len(headers.getall("Authorization", [])) <= 1


def parsed(segment: bytes, method: str, path: str, body_bytes: int) -> CIMultiDictProxy[str]:
    """The parser's reading of the one whole request in it, after which the connection stays."""
    loop = asyncio.new_event_loop()
    try:
        messages, upgraded, tail = HttpRequestParser(Mock(), loop, 2**16, auto_decompress=False).feed_data(segment)
    finally:
        loop.close()
    [(message, payload)] = messages
    assert isinstance(message, RawRequestMessage)
    assert (upgraded, bool(tail), payload.is_eof(), payload.total_bytes) == (False, False, True, body_bytes)
    assert (message.method, message.path, message.version) == (method, path, HttpVersion11)
    assert (message.should_close, message.upgrade, message.chunked) == (False, False, False)
    return message.headers
