"""Memory that one process writes and others read: what is read was once written, pair by pair."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.kept import InKafka, InSpool
from gateway.watermarks import SPOOLS_MAX, State, Watermarks, state_of, together, words_of

pairs = st.dictionaries(st.integers(1, 2**64 - 1), st.integers(0, 2**63 - 1), max_size=SPOOLS_MAX)


def marks(**known: int) -> Watermarks:
    made = Watermarks(memoryview(bytearray(8 * words_of(4))).cast("Q"))
    made.put({int(name[1:]): watermark for name, watermark in known.items()})
    return made


@given(st.lists(pairs, min_size=1, max_size=3))
def test_the_last_that_was_put_is_read(turns: list[dict[int, int]]) -> None:
    made = Watermarks(memoryview(bytearray(8 * words_of(SPOOLS_MAX))).cast("Q"))
    assert (made.pairs(), made.of(1)) == ({}, None)
    for turn in turns:
        made.put(turn)
        assert made.pairs() == turn
        assert {spool_id: made.of(spool_id) for spool_id in turn} == turn
    assert all(made.of(spool_id) is None for turn in turns for spool_id in turn if spool_id not in turns[-1])


def test_more_than_fit_are_left_out_from_the_end() -> None:
    made = marks()
    made.put({n: n for n in range(1, 9)})
    assert made.pairs() == {1: 1, 2: 2, 3: 3, 4: 4}


class Halting:
    """Memory whose writer may be killed before any of its stores."""

    def __init__(self, words: "memoryview[int]", stores: int) -> None:
        self.words = words
        self.stores = stores

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, at: int) -> int:
        return self.words[at]

    def __setitem__(self, at: int, value: int) -> None:
        if not self.stores:
            raise InterruptedError
        self.stores -= 1
        self.words[at] = value


def halted() -> Iterator[tuple[Watermarks, bool]]:
    """Every state in which a writer may be between two sets of pairs."""
    for stores in range(20):
        words = memoryview(bytearray(8 * words_of(4))).cast("Q")
        Watermarks(words).put(BEFORE)
        writer = Watermarks(Halting(words, stores))  # type: ignore[arg-type]
        try:
            writer.put(AFTER)
        except InterruptedError:
            yield Watermarks(words), False
        else:
            yield Watermarks(words), True
            return


BEFORE, AFTER = {11: 100, 22: 200, 33: 300}, {22: 201, 44: 1, 11: 100}


def test_a_reader_is_told_what_was_before_or_what_is_after() -> None:
    """Whatever the writer has done so far, and whether it ever goes on: never a half of it, nor that nothing is known."""
    states = list(halted())
    assert len(states) > 2 * len(AFTER)
    for reader, is_done in states:
        assert reader.pairs() == (AFTER if is_done else BEFORE)
        assert reader.of(22) == (201 if is_done else 200)


class Overtaken:
    """Memory that a writer writes to twice while the first look at it is in progress: the table that is read is the one that is written."""

    def __init__(self, words: "memoryview[int]") -> None:
        self.words = words
        self.looks = 0

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, at: int | slice) -> object:
        if isinstance(at, slice):
            self.looks += 1
            if self.looks == 1:
                Watermarks(self.words).put(BEFORE)
                Watermarks(self.words).put(AFTER)
        return self.words[at]


def test_a_reader_that_was_overtaken_looks_again() -> None:
    words = memoryview(bytearray(8 * words_of(4))).cast("Q")
    Watermarks(words).put({11: 90})  # fewer pairs than there are by then
    overtaken = Overtaken(words)
    assert Watermarks(overtaken).pairs() == AFTER  # type: ignore[arg-type]
    assert overtaken.looks == 2


@pytest.mark.parametrize(
    ("spool_id", "last", "want"), [(1, 9, "kafka"), (1, 10, "spool"), (1, 11, "spool"), (2, 0, "spool"), (3, 0, "unknown"), (7, 19, "kafka"), (7, 20, "spool")]
)
def test_what_is_below_a_watermark_is_in_kafka(spool_id: int, last: int, want: State) -> None:
    """Of a spool that two speak of, the one who knows more is right: what was below once is so for good."""
    assert state_of(InSpool(spool_id, last), (marks(s1=10, s2=0, s7=15), marks(s7=20))) == want


def test_what_kafka_acknowledged_is_in_kafka() -> None:
    assert state_of(InKafka("syncs", 0, -1, -1), ()) == "kafka"


def test_all_together() -> None:
    assert together((marks(s1=10, s7=20), marks(s7=15, s2=0))) == {1: 10, 7: 20, 2: 0}
