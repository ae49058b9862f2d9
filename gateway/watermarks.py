"""How far each spool has come, in memory that all processes of a machine share.

Decided here: how a pair is written so that who reads it meanwhile is never told another spool's watermark.  Not
decided here: what a watermark promises (spool_store.py), where this memory is (board.py).

    ┌ how many ┐┌ spool id │ watermark │ both XORed ┐┌ ... ┐      u64 each, one writer

A pair whose words do not fit together is being written: it is looked at again, and passed over if a writer was killed
just then.  Nothing here is zeroed when a worker starts: what was below a watermark once is in Kafka for good.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from gateway.core.kept import InKafka, Kept

SPOOLS_MAX: Final = 64  # of one worker, and of one machine: as many as there ever were workers; of one more nothing is known
_TRIES: Final = 3

State = Literal["kafka", "spool", "unknown"]


def words_of(pairs: int) -> int:
    """The memory for so many."""
    return 1 + 3 * pairs


class Watermarks:
    """Those of one writer.  Args: words: as many as `words_of` says."""

    def __init__(self, words: "memoryview[int]") -> None:
        self._words = words
        self._pairs_max = (len(words) - 1) // 3

    def put(self, pairs: Mapping[int, int]) -> None:
        """These, by spool id, and no others; the first ones where there are too many."""
        words, at = self._words, 1
        for spool_id, watermark in list(pairs.items())[: self._pairs_max]:
            words[at], words[at + 1], words[at + 2] = spool_id, watermark, spool_id ^ watermark
            at += 3
        words[0] = at // 3

    def of(self, spool_id: int) -> int | None:
        """The watermark of one; None where it is not known."""
        for _ in range(_TRIES):
            ids = self._words[1 : words_of(self._words[0]) : 3].tolist()
            if spool_id not in ids:
                return None
            at = 1 + 3 * ids.index(spool_id)
            known, watermark, both = self._words[at : at + 3]
            if known == spool_id and known ^ watermark == both:
                return watermark
        return None

    def pairs(self) -> dict[int, int]:
        """All that fit."""
        words = self._words[1 : words_of(self._words[0])].tolist()
        triples = zip(words[::3], words[1::3], words[2::3], strict=True)
        return {spool_id: watermark for spool_id, watermark, both in triples if spool_id ^ watermark == both}


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
