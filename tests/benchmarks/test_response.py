"""benchmarks/response.py: the same answers, however the bytes were cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.response import HEAD_BYTES_MAX, ResponseReader, UnreadableResponseError

ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Length: 22\r\nA: b\r\n\r\n{"durability":"kafka"}'
LOWER_CASE = b"HTTP/1.1 503 x\r\ncontent-type: y\r\ncontent-length:0\r\n\r\n"
# The body looks like the end of headers.
TRICKY = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 8\r\n\r\n\r\n\r\n\r\n\r\n"


@given(
    answers=st.lists(st.sampled_from([(ACCEPTED, 202), (LOWER_CASE, 503), (TRICKY, 429)])),
    cuts=st.lists(st.integers(0, 400)),
)
def test_any_cut_gives_the_same_statuses(answers: list[tuple[bytes, int]], cuts: list[int]) -> None:
    """Split reads, joined reads, empty reads: every answer is counted once, in order."""
    stream = b"".join(answer for answer, _ in answers)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader = ResponseReader()
    found: list[int] = []
    for begin, end in pairwise(edges):
        found += reader.feed(stream[begin:end])
    assert found == [status for _, status in answers]


def test_an_answer_counts_with_its_last_byte() -> None:
    """Not a byte earlier: the latency ends when the body has come."""
    reader = ResponseReader()
    assert reader.feed(ACCEPTED[:-1]) == []
    assert reader.feed(ACCEPTED[-1:]) == [202]


@pytest.mark.parametrize(
    ("received", "complaint"),
    [
        (b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n", "Content-Length"),
        (b"SSH-2.0-OpenSSH\r\nContent-Length: 0\r\n\r\n", "status line"),
        (b"HTTP/1.1 202 " + b"x" * HEAD_BYTES_MAX, "no end of headers"),
    ],
)
def test_what_it_cannot_read_it_refuses(received: bytes, complaint: str) -> None:
    """A benchmark that misreads its answers measures nothing."""
    with pytest.raises(UnreadableResponseError, match=complaint):
        ResponseReader().feed(received)
