"""Where a head may have begun, however the bytes of requests are cut into segments.  The bounds are asked over sockets: system/test_connections.py."""

import asyncio
import random
from itertools import accumulate
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


def post(body: bytes | bytearray, *, chunks: int = 0, trailer: bytes = b"") -> bytes:
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


@pytest.mark.parametrize("body_bytes_before", [None, 0, 6], ids=["in one", "after its head", "in the body"])
def test_what_a_body_looks_like_makes_no_end_of_it(body_bytes_before: int | None) -> None:
    """Else the rest of the next head would be taken for a request of its own: to whoever pipelines through a proxy it would be another's."""
    body, looks_ended_at = bytearray(80), len(PART) + (body_bytes_before or 0)
    body[looks_ended_at - 4 : looks_ended_at] = b"\r\n\r\n"
    sent = post(body)
    cut = 0 if body_bytes_before is None else len(sent) - len(body) + body_bytes_before
    parser = new_parser()
    feed(parser, sent[:cut])
    feed(parser, sent[cut:] + PART)
    assert not parser.is_between
    feed(parser, b"way\r\nContent-Length: 2\r\n\r\n{}")
    feed(parser, GET)
    assert parser.is_between


@pytest.mark.parametrize(
    "segments", [[GET * 2], [post(b"{}")[:-2], b"{}"], [post(b"{}")[:-1], b"}"], [post(b"{}"), post(b"{}", chunks=1)], [GET[:-2], GET[-2:]]]
)
def test_an_end_that_nothing_can_look_like_is_told(segments: list[bytes]) -> None:
    parser = new_parser()
    for segment in segments:
        feed(parser, segment)
    assert parser.is_between


def test_what_comes_next_begins_a_request_only_where_one_has_ended() -> None:
    """Whatever the bodies hold and however all is cut; and it is told wherever a request came alone and whole."""
    rng, told = random.Random(5), 0
    for _ in range(3_000):
        bodies = [
            rng.choice([b"", rng.choice([b"", b"a", b"ab"]) + b"\r\n\r\n" * rng.randrange(1, 16), bytes(rng.choices(b"\r\n\r\nab", k=20))]) for _ in range(3)
        ]
        requests = [rng.choice([GET, post(body), post(body), post(body, chunks=1)]) for body in bodies]
        stream, ends = b"".join(requests), [0, *accumulate(map(len, requests))]
        parser, at = new_parser(), 0
        while at < len(stream):
            next_end = min(end for end in ends if end > at)
            until = min(len(stream), rng.choice([at + rng.choice([1, 3, 10, 40]), next_end, next_end + rng.randrange(24), len(stream)]))
            is_alone = at in ends and until == next_end
            feed(parser, stream[at:until])
            assert not parser.is_between or until in ends, (stream[:at], stream[at:until])
            assert parser.is_between or not is_alone, (stream[:at], stream[at:until])
            told += parser.is_between
            at = until
    assert told > 3_000


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
