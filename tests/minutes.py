"""Ids and lines of the loss audit, as events and workers make them."""

from hashlib import blake2b
from typing import Any

import msgspec

from gateway.core import audit
from gateway.core.audit import Line
from gateway.core.event import uuid8


def event_id(n: int) -> int:
    """One as events have it."""
    return audit.id_of(uuid8(blake2b(str(n).encode(), digest_size=16).digest()))


def line(ids: list[int], **changed: Any) -> Line:
    cells = audit.cells_of(ids)
    said = Line(
        worker="3fa94c21",
        minute="2026-12-18T06:00Z",
        part=1,
        since="2026-12-18T05:59Z",
        acknowledged=len(ids),
        hash=f"{audit.hash_of(cells):032x}",
        machine="gw-1",
        home="0123456789abcdef",
        cells=audit.packed(cells),
    )
    return msgspec.structs.replace(said, **changed)
