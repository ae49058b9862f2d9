"""told.py: one fate for each sample, whatever was said of it how often."""

import json
from typing import Any

import pytest

from loadtests.crowd.sender import Answer
from loadtests.crowd.told import Told
from loadtests.recording import CUT, NO_ANSWER


def entry(index: int, status: str, code: str) -> dict[str, Any]:
    return {"index": index, "status": status, "code": code}


@pytest.mark.parametrize(
    ("answers", "fates", "is_again"),
    [
        ([(202, None)], "AAA", False),
        ([(202, {"results": [entry(0, "invalid", "invalid-field"), entry(2, "duplicate", "duplicate")]})], "IAA", False),
        ([(202, {"results": [entry(0, "retry", "rate-limited"), entry(1, "retry", "not-durable")]})], "RUA", True),
        ([(202, {"results": [entry(1, "retry", "not-durable")]}), (202, {"results": []})], "AAA", False),
        ([(503, {"outcome": "unknown", "results": [entry(0, "invalid", "invalid-field")]})], "IUU", True),
        ([(503, {"outcome": "none"})], "RRR", True),
        ([(429, {})], "RRR", True),
        ([(401, {})], "RRR", False),
        ([(422, {"results": [entry(0, "invalid", "x")]})], "III", False),
        ([(500, {})], "UUU", True),
        ([(502, {})], "UUU", True),
        ([(504, {})], "UUU", True),
        ([(NO_ANSWER, None), (422, {"outcome": "none"})], "UUU", False),
        ([(422, {"outcome": "none"}), (504, None)], "UUU", True),
        ([(422, {"outcome": "none"}), (503, {"outcome": "none"})], "III", True),
        ([(NO_ANSWER, None), (503, {"outcome": "none"})], "UUU", True),
        ([(CUT, None), (202, None)], "AAA", False),
        ([(202, None), (422, {})], "AAA", False),
    ],
)
def test_fates(answers: list[tuple[int, Any]], fates: str, is_again: bool) -> None:
    """All tries together: once accepted stays accepted, and what may have happened is unknown until it is known."""
    told = Told(3)
    again = [told.heard(Answer(status, {}, b"" if body is None else json.dumps(body).encode(), 0.0, 0.0)) for status, body in answers]
    assert "".join(fate.name[0] for fate in told.fates) == fates
    assert again[-1] is is_again
