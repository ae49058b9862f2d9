"""What happened: restarts, lights, the door's pace, what operators said; the screen's answer to "what changed?".

Pure.  The last thousand are kept, in memory; the audit has every act for good.  What somebody may provoke without
a token must not push the others out: of refusals the last hundred are kept.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice, takewhile
from typing import Any, Final

from gateway.ops.frame import Frame, RoomNumbers

KEPT: Final = 1_000
REFUSALS_KEPT: Final = 100
# Every kind there is, and what an entry of it says beside seq, at_ms and kind.
KINDS: Final = {
    "started": (),
    "ready": (),
    "draining": (),
    "reloaded": (),
    "reload-failed": (),
    "worker-started": ("worker",),
    "worker-ended": ("worker", "code"),
    "worker-silent": ("worker",),
    "light": ("dependency", "colour", "reason"),
    "pace": ("reason", "rate_per_s"),
    "room-state": ("state",),
    "act": ("version", "changed", "reason"),
    "act-refused": ("code",),
}

_READINESS: Final = {"": "ready", "draining": "draining"}

Entry = dict[str, Any]


class Events:
    """The entries, each with a number that grows by one."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._seq = 0
        self._refusals = 0  # of the entries

    def add(self, at_ms: int, kind: str, **members: object) -> None:
        """Write one down.  A kind or a member that is not listed is a bug, and raises."""
        assert set(members) == set(KINDS[kind]), (kind, members)
        self._seq += 1
        self._entries.append({"seq": self._seq, "at_ms": at_ms, "kind": kind, **members})
        if kind == "act-refused":
            self._refusals += 1
            if self._refusals > REFUSALS_KEPT:
                self._entries.remove(next(entry for entry in self._entries if entry["kind"] == kind))
                self._refusals -= 1
        elif len(self._entries) > KEPT:
            self._refusals -= self._entries.popleft()["kind"] == "act-refused"

    @property
    def seq(self) -> int:
        """Of the newest; 0: there is none."""
        return self._seq

    def after(self, seq: int) -> list[Entry]:
        """Those that came later than the one with this number, the oldest first."""
        return self._newest(lambda entry: entry["seq"] > seq)

    def since(self, at_ms: int) -> list[Entry]:
        """Those of this instant and later: two may have one instant, and who knows the first tells it by its number."""
        return self._newest(lambda entry: entry["at_ms"] >= at_ms)

    def last(self, count: int) -> list[Entry]:
        """The newest, the oldest of them first."""
        return list(islice(reversed(self._entries), count))[::-1]

    def _newest(self, is_wanted: Callable[[Entry], bool]) -> list[Entry]:
        return list(takewhile(is_wanted, reversed(self._entries)))[::-1]


def changes(before: Frame | None, now: Frame) -> Iterator[tuple[str, dict[str, object]]]:
    """What a frame shows that the one before did not: (kind, members)."""
    if now.why != (before.why if before else "starting") and now.why in _READINESS:
        yield _READINESS[now.why], {}
    for name, light in now.lights.items():
        # That what was not asked yet is well is no news.
        if before is not None and before.lights[name].reason != light.reason and (before.lights[name].colour, light.colour) != ("grey", "green"):
            yield "light", {"dependency": name, "colour": light.colour, "reason": light.reason}
    silent = {one.worker for one in before.workers if one.state == "silent"} if before else set()
    for one in now.workers:
        if one.state == "silent" and one.worker not in silent:
            yield "worker-silent", {"worker": one.worker}
    yield from _room_changes(before.room if before else None, now.room)


def _room_changes(before: RoomNumbers | None, now: RoomNumbers | None) -> Iterator[tuple[str, dict[str, object]]]:
    if now is None or not now.known:
        return
    if before is None or before.reason != now.reason:
        yield "pace", {"reason": now.reason, "rate_per_s": now.rate_per_s}
    if before is not None and before.state != now.state:
        yield "room-state", {"state": now.state}
