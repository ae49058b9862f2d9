"""outbox.py: nothing is forgotten before an answer allows it, and what is kept is repeated as it was."""

import pytest

from tests.system.gateway import sample
from tests.system.history import History
from tests.system.outbox import Outbox

ALL_OK = b'{"ack_through": 3, "results": []}'
SECOND_AGAIN = b'{"ack_through": 1, "results": [{"index": 1, "status": "retry", "code": "not-durable"}]}'
SECOND_INVALID = b'{"ack_through": 3, "results": [{"index": 1, "status": "invalid", "code": "invalid-field"}]}'
UNKNOWN = b'{"ack_through": null, "outcome": "unknown"}'


@pytest.mark.parametrize(
    ("status", "body", "kept"),
    [
        (202, ALL_OK, [4]),
        (202, SECOND_AGAIN, [2, 4]),
        (202, SECOND_INVALID, [4]),
        (503, UNKNOWN, [1, 2, 3, 4]),
        (503, b"", [1, 2, 3, 4]),
        (0, b"", [1, 2, 3, 4]),
    ],
)
def test_a_phone_keeps_what_no_answer_lets_it_forget(status: int, body: bytes, kept: list[int]) -> None:
    history, outbox = History(), Outbox("syncs", "u1", {"device_id": "d", "platform": "ios", "app_version": "1"})
    for seq in range(1, 5):
        outbox.add(sample(seq))
    first, events = outbox.request(3)
    assert [event.seq for event in events] == [1, 2, 3]
    send = history.send(events)
    history.answer(send, status, body, "w1-1")
    outbox.heard(send)
    again, events = outbox.request(9)
    assert [event.seq for event in events] == kept
    assert all(one in first["samples"] for one in again["samples"] if one["seq"] < 4)
