"""benchmarks/traffic.py: requests a gateway takes, the same in every run."""

import json
from datetime import UTC, datetime

import pytest

from benchmarks import traffic

NOW = datetime(2026, 1, 27, 22, 10, 5, tzinfo=UTC)


def test_a_request_is_framed_by_its_own_length() -> None:
    """Content-Length is that of the body, and the token is where a phone puts it."""
    head, _, content = traffic.request("t.o.ken", b'{"a":1}').partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/syncs HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer t.o.ken\r\n" in head
    assert head.endswith(b"\r\nContent-Length: 7")
    assert content == b'{"a":1}'


@pytest.mark.parametrize("events", [1, 50])
def test_samples_are_distinct_and_their_seq_rises(events: int) -> None:
    """Within a phone no sample comes twice before the cycle starts again."""
    first = json.loads(traffic.body(3, 0, events, NOW))["samples"]
    second = json.loads(traffic.body(3, events, events, NOW))["samples"]
    assert [sample["seq"] for sample in first + second] == list(range(1, 2 * events + 1))
    assert len({sample["id"] for sample in first + second}) == 2 * events


def test_two_runs_send_the_same_bytes() -> None:
    """Same tokens, same moment, same requests; two phones never share one."""
    tokens = ["one", "two"]
    requests = traffic.requests(tokens, 1, NOW)
    assert requests == traffic.requests(tokens, 1, NOW)
    assert len(set(requests)) == len(requests) == 100
    assert b"Bearer one" in requests[0]
    assert b"Bearer two" in requests[1]


def test_a_traffic_file_gives_back_what_was_put_in() -> None:
    """Whatever the bytes, newlines and digits among them."""
    requests = [b"", b"12\n34", b"\n", b"x" * 10_000]
    assert traffic.unframed(traffic.framed(requests)) == requests


def test_a_cut_traffic_file_is_refused() -> None:
    """Half a request would hang the server and measure its patience."""
    with pytest.raises(ValueError, match="ends at"):
        traffic.unframed(traffic.framed([b"12345"])[:-1])
