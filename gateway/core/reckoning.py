"""What was acknowledged against what was found: how many of one minute of one worker are missing, and which.

Decided here: what follows from a cell's count, xor and check and from the ids that were found of it.  Not decided
here: what is counted (core/audit.py), where records are looked for (audit/command.py).

A record may be found that nobody was answered for: its worker was killed, or its request was told `unknown`.  So
found is not a part of acknowledged, nor the other way round, and both are taken apart cell by cell:

    nothing is left                      all that was found was acknowledged, and the other way round
    some found ids are what is left      these were never acknowledged; nothing is missing
    one id is left                       it is missing; the check and its own digits say that it is one
    one id and some found ids            both
    counts alone tell                    so many are missing at least, and cannot be named
    nothing tells                        undetermined: more was found than acknowledged, and what it hides is not known

Which found ids they are is a search: up to four in a cell that are not acknowledged, up to two beside a missing one.
That some fit by chance has 2^-122 a try; for a name beside them, 2^-38.
A cell stands alone: what cannot be told of one says nothing about the 255 others.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple

from gateway.core.audit import Cell, Cells, cell_of, check_of, number_of

_PAIRS_MAX: Final = 500_000  # of found ids in one cell: tried in half a second; half as many are remembered in 50 MB


class Place:
    """Where a record was found, the first of these counting where there are several."""

    KAFKA: Final = 0
    SPOOL: Final = 1
    REJECTED: Final = 2


class Judged(NamedTuple):
    """All of these that were acknowledged add up: found, spooled, rejected, missing, undetermined."""

    acknowledged: int = 0
    found: int = 0
    spooled: int = 0
    rejected: int = 0
    missing: int = 0
    undetermined: int = 0
    unacknowledged: int = 0  # found, and nobody was answered for them
    names: tuple[int, ...] = ()  # of those missing, as far as they have one


def together(judged: Iterable[Judged]) -> Judged:
    """The sums."""
    total = Judged()
    for one in judged:
        total = Judged(
            acknowledged=total.acknowledged + one.acknowledged,
            found=total.found + one.found,
            spooled=total.spooled + one.spooled,
            rejected=total.rejected + one.rejected,
            missing=total.missing + one.missing,
            undetermined=total.undetermined + one.undetermined,
            unacknowledged=total.unacknowledged + one.unacknowledged,
            names=total.names + one.names,
        )
    return total


def judge(cells: Cells, found: Sequence[tuple[int, int]], *, is_torn: bool = False) -> Judged:
    """One worker's minute.

    Args:
        found: (id, place) of each request's record, however often it is there.
        is_torn: one id may be in its cell by half.
    """
    by_number: dict[int, list[tuple[int, int]]] = {}
    for one in found:
        by_number.setdefault(number_of(one[0]), []).append(one)
    numbers = sorted(cells.keys() | by_number.keys())
    return together(_judge_cell(number, cells.get(number, Cell()), by_number.get(number, []), is_torn=is_torn) for number in numbers)


class _Told(NamedTuple):
    """What explains a cell."""

    extras: tuple[int, ...]  # positions of what was found and not acknowledged
    missing: tuple[int, ...] = ()


def _judge_cell(number: int, cell: Cell, found: Sequence[tuple[int, int]], *, is_torn: bool) -> Judged:
    ids = [event_id for event_id, _ in found]
    there = cell_of(ids)
    left = Cell(cell.ids - there.ids, cell.xor ^ there.xor, cell.check - there.check)
    if left == Cell():
        return _counted(cell, found, _Told(()))
    told = next(_explanations(number, left, ids), None) or (next(_torn(left, ids), None) if is_torn else None)
    if told is not None:
        return _counted(cell, found, told)
    if left.ids <= 0:
        return Judged(acknowledged=cell.ids, undetermined=cell.ids, unacknowledged=-left.ids)
    return _counted(cell, found, _Told(()))._replace(missing=left.ids)


def _counted(cell: Cell, found: Sequence[tuple[int, int]], told: _Told) -> Judged:
    places = Counter(place for at, (_, place) in enumerate(found) if at not in told.extras)
    return Judged(
        acknowledged=cell.ids,
        found=places[Place.KAFKA],
        spooled=places[Place.SPOOL],
        rejected=places[Place.REJECTED],
        missing=len(told.missing),
        unacknowledged=len(told.extras),
        names=told.missing,
    )


def _explanations(number: int, left: Cell, ids: Sequence[int]) -> Iterator[_Told]:
    """The simplest first."""
    if left.ids < 0:
        yield from (_Told(extras) for extras in _subsets(ids, -left.ids, left.xor) if _checks(ids, extras) == -left.check)
    for extras in range(3):
        if left.ids + extras == 1:
            yield from _named(number, left, ids, extras)


def _named(number: int, left: Cell, ids: Sequence[int], extras: int) -> Iterator[_Told]:
    """One is missing, and so many were found that were not acknowledged."""
    if extras == 2 and len(ids) ** 2 > 2 * _PAIRS_MAX:
        return
    for some in combinations(range(len(ids)), extras):
        name = left.xor
        for at in some:
            name ^= ids[at]
        if _is_an_id(name, number) and check_of(name) == left.check + _checks(ids, some):
            yield _Told(some, (name,))


def _is_an_id(name: int, number: int) -> bool:
    """Of version 8 and its variant, and of this cell."""
    return name >> 76 & 0xF == 8 and name >> 62 & 3 == 2 and number_of(name) == number


def _checks(ids: Sequence[int], positions: Sequence[int]) -> int:
    return sum(check_of(ids[at]) for at in positions)


def _subsets(ids: Sequence[int], size: int, xor: int) -> Iterator[tuple[int, ...]]:
    """Positions of so many ids with this xor."""
    at_of: Mapping[int, int] = {event_id: at for at, event_id in enumerate(ids)}
    if size > 4 or (size > 2 and len(ids) ** 2 > (_PAIRS_MAX if size == 4 else 2 * _PAIRS_MAX)):
        return
    if size == 4:
        yield from _fours(ids, xor)
        return
    for some in combinations(range(len(ids)), size - 1):
        rest = xor
        for at in some:
            rest ^= ids[at]
        last = at_of.get(rest)
        if last is not None and last not in some:
            yield (*some, last)


def _fours(ids: Sequence[int], xor: int) -> Iterator[tuple[int, ...]]:
    """Two pairs."""
    pairs: dict[int, tuple[int, int]] = {}
    for one, two in combinations(range(len(ids)), 2):
        pair = ids[one] ^ ids[two]
        other = pairs.get(pair ^ xor)
        if other is not None and not {one, two} & set(other):
            yield (*other, one, two)
        pairs[pair] = one, two


def _torn(left: Cell, ids: Sequence[int]) -> Iterator[_Told]:
    """One found id is in the cell's xor, or the first half of it, and not in its tally (audit/sheets.py says in which order they are written)."""
    for at, event_id in enumerate(ids):
        half = event_id & (1 << 64) - 1
        if left.ids == -1 and left.check == -check_of(event_id) and left.xor in (0, half):
            yield _Told((at,))
