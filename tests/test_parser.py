"""Where a head may have begun, however the bytes of requests are cut into segments.  The bounds are asked over sockets: system/test_connections.py."""

import asyncio
from typing import Any, Final

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import BadHttpMessage
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.parser import QUEUE_MAX, Parser

HEAD_BYTES_MAX: Final = 4_096
GET: Final = b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"
PART: Final = b"POST / HTTP/1.1\r\nHost: gate"


def post(body: bytes, *, chunks: int = 0, trailer: bytes = b"") -> bytes:
    """A whole request; with `chunks` its body comes in so many."""
    if not chunks:
        return b"POST / HTTP/1.1\r\nHost: gateway\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    size = max(1, -(-len(body) // chunks))
    framed = b"".join(b"%x\r\n%s\r\n" % (len(body[at : at + size]), body[at : at + size]) for at in range(0, len(body), size))
    return b"POST / HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n" + trailer + b"\r\n"


def new_parser() -> Parser:
    loop = asyncio.new_event_loop()
    try:
        protocol: Any = BaseProtocol(loop)
        return Parser(protocol, loop, HEAD_BYTES_MAX)
    finally:
        loop.close()


def feed(parser: Parser, segment: bytes) -> int:
    """Feed it, and take from the queue until nothing is held back; returns how many requests came.

    As aiohttp does: asks for more only where the queue was full.
    """
    messages = parser.feed_data(segment)[0]
    count = len(messages)
    while messages:
        for _ in messages:
            parser.message_consumed()
        messages = parser.feed_data(b"")[0] if len(messages) >= QUEUE_MAX else []
        count += len(messages)
    return count


def is_within_head(requests: list[bytes], at: int) -> bool:
    """The truth: whether so many bytes of these end after the first and before the last byte of a head."""
    for request in requests:
        if at < len(request):
            return 0 < at < request.index(b"\r\n\r\n") + 4 if b"\r\n\r\n" in request else at > 0
        at -= len(request)
    return bool(requests) and b"\r\n\r\n" not in requests[-1]


CHUNKED: Final = post(b"{}", chunks=1)
# No CR: a body that looks like its own end is told from none by nobody.
BODIES = st.text("ab{}\n0", min_size=1, max_size=40).map(str.encode)
REQUESTS = st.one_of(
    st.just(GET),
    st.builds(post, BODIES),
    st.builds(post, BODIES, chunks=st.integers(1, 3), trailer=st.sampled_from([b"", b"T: 1\r\n"])),
)


@given(requests=st.lists(REQUESTS, min_size=1, max_size=6), has_part=st.booleans(), lengths=st.lists(st.integers(1, 150), max_size=40))
@example(requests=[CHUNKED], has_part=False, lengths=[len(CHUNKED) - 2])
@example(requests=[CHUNKED] * 2, has_part=True, lengths=[len(CHUNKED) - 2])
@example(requests=[GET, GET, GET, post(b"{}")], has_part=False, lengths=[])
@example(requests=[post(b"{}")] * 5, has_part=True, lengths=[])
def test_a_head_has_begun_exactly_when_it_has(requests: list[bytes], has_part: bool, lengths: list[int]) -> None:
    """Also while the parser holds back what the queue has no room for."""
    sent = [*requests, PART] if has_part else requests
    stream, parser, at, count = b"".join(sent), new_parser(), 0, 0
    for length in [*lengths, len(stream)]:
        segment = stream[at : at + length]
        if segment:
            count += feed(parser, segment)
            at += len(segment)
            assert parser.is_within_head == is_within_head(sent, at), (stream[:at], segment)
    assert count == len(requests)


@pytest.mark.parametrize("request_", [GET, post(b"{}"), post(b"{}", chunks=1), post(b"{}", chunks=1, trailer=b"T: 1\r\n")])
def test_every_byte_alone_and_every_cut_in_two(request_: bytes) -> None:
    parser = new_parser()
    for at in range(len(request_)):
        feed(parser, request_[at : at + 1])
        assert parser.is_within_head == is_within_head([request_], at + 1), request_[: at + 1]
    for cut in range(1, len(request_)):
        for after in (b"", b"G", PART):
            parser = new_parser()
            feed(parser, request_[:cut])
            feed(parser, request_[cut:] + after)
            assert parser.is_within_head == bool(after), (cut, after)


def test_a_head_that_is_cut_into_many_segments_is_bounded_as_a_whole() -> None:
    parser = new_parser()
    lines = [GET[:-2], *(b"X-%02d: %s\r\n" % (n, b"a" * 93) for n in range(40))]
    for line in lines:
        parser.feed_data(line)
    with pytest.raises(BadHttpMessage, match="too large"):
        parser.feed_data(b"X-40: " + b"a" * (HEAD_BYTES_MAX - sum(map(len, lines)) - 5))
    assert not parser.is_within_head  # nothing is read any more


def test_an_empty_line_between_requests_counts_as_the_beginning_of_a_head() -> None:
    """Else one that trickles them would have more than the time of a head."""
    parser = new_parser()
    feed(parser, GET)
    feed(parser, b"\r\n")
    assert parser.is_within_head
    feed(parser, GET)
    assert not parser.is_within_head


def test_a_segment_is_kept_only_while_the_queue_is_full() -> None:
    """Ten thousand connections may each hold one."""
    parser = new_parser()
    parser.feed_data(PART)
    assert len(parser._kept) <= 3
    messages = parser.feed_data(b"way\r\n\r\n" + GET * 9 + PART)[0]
    assert len(parser._kept) > len(GET) * 9
    while messages:
        for _ in messages:
            parser.message_consumed()
        messages = parser.feed_data(b"")[0]
    assert len(parser._kept) <= 3


def test_nothing_is_held_back_unless_the_queue_is_full() -> None:
    """Who reads the queue asks for more only where it was: after a body that came late, aiohttp counts one too many."""
    parser, late = new_parser(), post(b"{}")
    for _ in range(3):
        assert len(parser.feed_data(late[:-2])[0]) == 1
        parser.message_consumed()
        parser.feed_data(late[-2:])
        assert len(parser.feed_data(GET * QUEUE_MAX)[0]) == QUEUE_MAX
        for _ in range(QUEUE_MAX):
            parser.message_consumed()
