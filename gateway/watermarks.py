"""How far each spool has come, in memory that all processes of a machine share.

Decided here: how pairs are written so that who reads them meanwhile is told neither another spool's watermark nor that
nothing is known of one.  Not decided here: what a watermark promises (spool/store.py), where this memory is (board.py).

    ┌ turn ┐┌ how many ┐┌ spool id │ watermark ┐┌ ... ┐┌ how many ┐┌ spool id │ watermark ┐┌ ... ┐      u64 each, one writer
            └────────────── table 0 ────────────────┘└────────────── table 1 ────────────────┘

Of two tables one is read, number turn % 2, and the other one is written; then the turn is one higher.  So a writer may
be stopped or killed between any two words, and what stands is whole.  A reader for whom it was another turn before and
after looks again.  Nothing here is zeroed when a worker starts: what was below a watermark once is in Kafka for good.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from gateway.core.kept import InKafka, Kept

SPOOLS_MAX: Final = 64  # of one worker, and of one machine: as many as there ever were workers; of one more nothing is known

State = Literal["kafka", "spool", "unknown"]


def words_of(pairs: int) -> int:
    """The memory for so many."""
    return 1 + 2 * (1 + 2 * pairs)


class Watermarks:
    """Those of one writer.  Args: words: as many as `words_of` says."""

    def __init__(self, words: "memoryview[int]") -> None:
        self._words = words
        self._table_words = (len(words) - 1) // 2

    def put(self, pairs: Mapping[int, int]) -> None:
        """These, by spool id, and no others; the first ones where there are too many."""
        words, turn = self._words, self._words[0] + 1
        count = at = self._table(turn)
        for spool_id, watermark in list(pairs.items())[: (self._table_words - 1) // 2]:
            words[at + 1], words[at + 2] = spool_id, watermark
            at += 2
        words[count] = (at - count) // 2
        words[0] = turn

    def of(self, spool_id: int) -> int | None:
        """The watermark of one; None where it is not known."""
        words = self._whole()
        ids = words[::2]
        return words[2 * ids.index(spool_id) + 1] if spool_id in ids else None

    def pairs(self) -> dict[int, int]:
        """All of them."""
        words = self._whole()
        return dict(zip(words[::2], words[1::2], strict=True))

    def _whole(self) -> list[int]:
        """Id and watermark, by turns, as they stood at one instant."""
        while True:  # twice at most, if anything: tables change once or twice a second, and a look takes microseconds
            turn = self._words[0]
            count = self._table(turn)
            first = count + 1
            words = self._words[first : first + 2 * self._words[count]].tolist()
            if self._words[0] == turn:
                return words

    def _table(self, turn: int) -> int:
        return 1 + turn % 2 * self._table_words


def together(those: Iterable[Watermarks]) -> dict[int, int]:
    """All pairs of several writers: of a spool that two speak of, what the one who knows more says."""
    found: dict[int, int] = {}
    for one in those:
        for spool_id, watermark in one.pairs().items():
            found[spool_id] = max(watermark, found.get(spool_id, 0))
    return found


def state_of(kept: Kept, those: Iterable[Watermarks]) -> State:
    """What has become of what is kept there, as far as these know."""
    if isinstance(kept, InKafka):
        return "kafka"
    known = [watermark for one in those if (watermark := one.of(kept.spool)) is not None]
    if not known:
        return "unknown"
    return "kafka" if kept.last < max(known) else "spool"
