"""When a seat is filled again; all else of the supervisor is processes and signals, in tests/system."""

import pytest

from gateway.supervisor import backoff_s, fruitless_after


@pytest.mark.parametrize(
    ("fruitless", "ready_s", "wanted"),
    [
        (0, None, 1),  # it never served
        (3, None, 4),
        (3, 99.5, 4),  # half a second of service
        (3, 99.0, 0),
        (3, 0.0, 0),
    ],
)
def test_only_lives_without_service_count(fruitless: int, ready_s: float | None, wanted: int) -> None:
    assert fruitless_after(fruitless, ready_s, 100.0) == wanted


def test_who_is_killed_while_serving_is_replaced_at_once_however_often() -> None:
    """Two workers, one killed every three seconds: with a wait that grew with every death, nobody served for eight seconds."""
    fruitless = 0
    for _ in range(12):
        fruitless = fruitless_after(fruitless, 0.0, 3.0)
        assert backoff_s(fruitless) == 0.0


def test_starts_that_fail_wait_longer_and_longer_and_not_for_ever() -> None:
    waits = [backoff_s(fruitless) for fruitless in range(50)]
    assert waits == sorted(waits)
    assert (waits[0], waits[1], waits[-1]) == (0.0, 0.5, 5.0)
