"""payloads.py: requests that the gateway reads, the same to the byte in whatever process."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loadtests.crowd.payloads import Payloads, Secret, Tokens, tokens
from loadtests.scenario import Scenario, Slo, Stream

BEGAN_S = datetime(2026, 12, 18, 5, 59, 58, tzinfo=UTC).timestamp()
SECRET = Secret("c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0")


def payloads(*streams: Stream) -> Payloads:
    scenario = Scenario("t", "w", 1, list(streams), [Slo("m", at_most=1.0)])
    return Payloads(scenario, 9, BEGAN_S, "gateway.test", "/front", Tokens(SECRET, 1))


def body(content: bytes) -> dict[str, Any]:
    head, _, text = content.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(text)}".encode() in head
    found: dict[str, Any] = json.loads(text)
    return found


def test_samples_are_of_consecutive_days_and_of_no_day_to_come() -> None:
    content = payloads(Stream("late", "sync", times="x", samples=4, days_back=2)).sync(0, 5, 0)
    assert content.startswith(b"POST /front/v1/syncs HTTP/1.1\r\nHost: gateway.test\r\n")
    samples = body(content)["samples"]
    assert [sample["day"] for sample in samples] == ["2026-12-16", "2026-12-17", "2026-12-18", "2026-12-19"]
    assert max(sample["recorded_at"] for sample in samples) == "2026-12-18T05:59:58Z"
    assert [sample["steps"] for sample in samples] == sorted(sample["steps"] for sample in samples)


def test_members_come_in_turn_and_no_two_streams_share_one() -> None:
    both = payloads(Stream("a", "sync", times="x", members=3), Stream("b", "sync", times="x", members=2))
    devices = [body(both.sync(stream, 1, ordinal))["device_id"] for stream, ordinal in ((0, 0), (0, 2), (0, 3), (1, 0), (1, 3))]
    assert devices == ["member-0", "member-2", "member-0", "member-3", "member-4"]
    assert [body(both.sync(0, 1, ordinal))["samples"][0]["seq"] for ordinal in (0, 3, 6)] == [0, 1, 2]


def test_the_same_arrival_is_the_same_in_another_process() -> None:
    stream = Stream("a", "sync", times="x")
    assert payloads(stream).sync(0, 77, 4) == payloads(stream).sync(0, 77, 4)


def test_given_tokens_are_used_in_turn_and_an_empty_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("one\ntwo\n")
    given = tokens(None, path, 0)
    assert [given.of(member) for member in range(3)] == ["one", "two", "one"]
    assert given.forged(0) not in ("one", "two")
    path.write_text("")
    with pytest.raises(ValueError, match="one token a line"):
        tokens(None, path, 0)


def test_a_secret_is_not_shown() -> None:
    assert SECRET.key not in repr(SECRET)
