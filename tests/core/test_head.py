"""What is plain enough to be refused unparsed; and that the parser would have read it likewise."""

import asyncio
from typing import Final
from unittest.mock import Mock

import pytest
from aiohttp.http import HttpRequestParser, HttpVersion11, RawRequestMessage
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.head import PlainHead, read_plain

PLAIN: Final = b"POST /v1/syncs HTTP/1.1\r\nHost: x:80\r\nUser-Agent: a, b/1 (c)\r\nContent-Type: application/json\r\nAuthorization: Bearer t\r\nContent-Length: 2\r\n\r\n{}"


def test_a_plain_sync_is_read() -> None:
    assert read_plain(PLAIN) == PlainHead("x:80", "Bearer t", 2, is_gzip=False)


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
    assert read_plain(PLAIN.replace(old, new)) == PlainHead("x:80", "Bearer t", 2, is_gzip=False)


def test_a_folded_body_is_told() -> None:
    found = read_plain(PLAIN.replace(b"Host", b"Content-Encoding: gzip\r\nHost"))
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
    assert read_plain(PLAIN.replace(old, new, 1)) is None


NAMES: Final = [
    b"Host",
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
    ours = read_plain(segment)
    if ours is None:
        return
    loop = asyncio.new_event_loop()
    try:
        messages, upgraded, tail = HttpRequestParser(Mock(), loop, 2**16, auto_decompress=False).feed_data(segment)
    finally:
        loop.close()
    [(message, payload)] = messages
    assert isinstance(message, RawRequestMessage)
    assert (upgraded, bool(tail), payload.is_eof(), payload.total_bytes) == (False, False, True, 2)
    assert (message.method, message.path, message.version, message.should_close, message.upgrade, message.chunked) == (
        "POST",
        "/v1/syncs",
        HttpVersion11,
        False,
        False,
        False,
    )
    headers = message.headers
    assert (headers.getall("Host"), headers.getall("Authorization")) == ([ours.host], [ours.authorization])
    assert [int(length) for length in headers.getall("Content-Length")] == [ours.body_bytes]
    assert headers.getall("Content-Encoding", []) == (["gzip"] if ours.is_gzip else [])
