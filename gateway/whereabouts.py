"""Receipts given and read: where what was accepted is, and what has become of it since.

Nothing here waits: what a receipt says is in it, and how far spools have come is in this machine's memory, their other
machines' too (watermarks.py).
"""

from collections.abc import Mapping, Sequence
from typing import Final

from gateway.core.kept import InKafka, Kept, Receipts
from gateway.errors import Refusal
from gateway.watermarks import Watermarks, state_of

PATH: Final = "/v1/receipts/"


class Whereabouts:
    """One worker's view.

    Args:
        secret: of the limits.
        watermarks: of every spool that is heard of.
        topics: what Kafka calls the topics of "syncs" and "signups".
    """

    def __init__(self, secret: bytes, watermarks: Sequence[Watermarks], topics: Mapping[str, str]) -> None:
        receipts = Receipts(secret)
        self.receipt = receipts.text
        self._read = receipts.read
        self._watermarks = watermarks
        self._topics = topics

    def of(self, receipt: str) -> Mapping[str, object]:
        """Raises Refusal: it is none of ours."""
        kept = self._read(receipt)
        if kept is None:
            raise Refusal("receipt-invalid", "want a receipt exactly as the 202 has it")
        return {"state": state_of(kept, self._watermarks), **self._place(kept)}

    def _place(self, kept: Kept) -> Mapping[str, object]:
        if not isinstance(kept, InKafka):
            return {"spool": f"{kept.spool:016x}", "last_sequence": kept.last}
        offsets = {} if kept.first < 0 else {"first_offset": kept.first, "last_offset": kept.last}
        return {"topic": self._topics[kept.kind], "partition": kept.partition, **offsets}
