"""What a worker finds on disk after all were killed: the newest of what was written, and nothing of what was spoilt."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.sign import Acts, Policy, Sign
from gateway.core.turn import PERSON
from gateway.core.waiting import Room
from gateway.signfile import SignFile

NOW_US: Final = 1_769_519_405_000_000
S: Final = 1_000_000
STEM: Final = "room-signup-1"
NOTHING_SAID: Final = Acts()


def sign(people: int = 100, at_s: float = 0.0, acts: Acts = NOTHING_SAID) -> Sign:
    """Of a line at 10/s."""
    room = Room.opened(Policy(), 100_000, NOW_US)
    room.join([number.to_bytes(8, "big") for number in range(people)], NOW_US)
    room.act(acts, NOW_US)
    for tenth in range(int(at_s * 10)):
        room.tick(NOW_US + tenth * S // 10)
    return room.tick(NOW_US + int(at_s * S))


def files(directory: Path, worker: int = 0) -> SignFile:
    return SignFile(directory, STEM, worker)


def test_what_was_written_is_read_by_any_worker(tmp_path: Path) -> None:
    assert files(tmp_path).newest() is None
    for one in (sign(), sign(300, at_s=3), sign(acts=Acts(7, is_paused=True, message="곧 다시 엽니다"))):
        files(tmp_path).write(one)
        assert files(tmp_path, worker=5).newest() == one
    assert [path.name for path in tmp_path.iterdir()] == [f"{STEM}.0.sign"]


def test_the_largest_tail_and_head_of_all_stand_in_the_newest_sign(tmp_path: Path) -> None:
    """Whoever wrote last need not be who gave the last place."""
    old, new = sign(300, at_s=1)._replace(head=200), sign(100, at_s=5)
    assert new.head < 200
    files(tmp_path, 0).write(old)
    files(tmp_path, 1).write(new)
    assert files(tmp_path, 2).newest() == new._replace(tail=300, head=200)


@pytest.mark.parametrize("is_paused", [True, False])
def test_the_operators_newest_word_holds_whatever_the_newest_sign_says(tmp_path: Path, is_paused: bool) -> None:
    """The store had come back older, and said otherwise for a last second.  No turn is taken back with it."""
    of_old, of_new = Acts(7, is_paused=is_paused), Acts(6, is_paused=not is_paused)
    new = sign(at_s=5, acts=of_new)
    files(tmp_path, 0).write(sign(at_s=1, acts=of_old))
    files(tmp_path, 1).write(new)
    found = files(tmp_path).newest()
    assert found is not None
    assert (found.acts, found.clock.is_paused) == (of_old, is_paused)
    assert found.clock.turn_at(found.at_us) == new.clock.turn_at(new.at_us)


def test_other_rooms_lines_and_drafts_are_not_ours(tmp_path: Path) -> None:
    for stem in ("room-signup-2", "room-signup-11", "room-other-1", "x-room-signup-1"):
        SignFile(tmp_path, stem, 0).write(sign(500))
    files(tmp_path).write(sign())
    (tmp_path / f"{STEM}.3.draft").write_bytes((tmp_path / "room-other-1.0.sign").read_bytes())
    found = files(tmp_path).newest()
    assert found is not None
    assert found.tail == 100


GOOD: Final = sign(300, at_s=3)


def kept() -> bytes:
    with TemporaryDirectory() as directory:
        files(Path(directory)).write(GOOD)
        return (Path(directory) / f"{STEM}.0.sign").read_bytes()


KEPT: Final = kept()
_spoilt = st.one_of(
    st.binary(max_size=300),
    st.integers(0, len(KEPT) - 1).map(lambda length: KEPT[:length]),
    st.tuples(st.integers(0, len(KEPT) - 1), st.integers(1, 255)).map(lambda at: KEPT[: at[0]] + bytes([KEPT[at[0]] ^ at[1]]) + KEPT[at[0] + 1 :]),
    st.binary(min_size=1, max_size=5).map(lambda more: KEPT + more),
    st.integers(1, 64).map(lambda count: bytes(len(KEPT) - count) + KEPT[-count:]),
)


@given(_spoilt)
@example(b"")
@example(bytes(len(KEPT)))
@example(KEPT[8:])
@example(msgspec.msgpack.encode(GOOD))
def test_a_spoilt_file_is_as_good_as_none(spoilt: bytes) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / f"{STEM}.3.sign"
        path.write_bytes(spoilt)
        assert files(Path(directory)).newest() is None
        files(Path(directory)).write(GOOD)
        assert files(Path(directory)).newest() == GOOD
        files(Path(directory), 3).write(GOOD)
        assert path.read_bytes() == KEPT


def test_what_cannot_be_opened_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / f"{STEM}.1.sign").mkdir()
    assert files(tmp_path).newest() is None
    assert "not readable" in caplog.text
    assert files(tmp_path / "nowhere").newest() is None


def test_a_disk_that_does_not_take_it_is_said_once_and_keeps_the_old_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    file = files(tmp_path)
    file.write(GOOD)
    (tmp_path / f"{STEM}.0.draft").mkdir()
    for _ in range(3):
        file.write(sign())
    assert caplog.text.count("cannot be kept") == 1
    assert file.newest() == GOOD
    (tmp_path / f"{STEM}.0.draft").rmdir()
    file.write(sign())
    assert file.newest() == sign()


def test_a_sign_means_what_it_meant(tmp_path: Path) -> None:
    """Its values are of their types again: a clock computes, a rate divides."""
    files(tmp_path).write(GOOD)
    found = files(tmp_path).newest()
    assert found is not None
    assert found.clock.turn_at(GOOD.at_us + S) == GOOD.clock.turn_at(GOOD.at_us) + 10 * PERSON
    assert found.pace.reason is GOOD.pace.reason
