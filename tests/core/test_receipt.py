"""What the phone is told, and what it may forget."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.payload import Flaw
from gateway.core.receipt import Line, Outcome, Receipt, ack_through, receipt, withheld

D, R, W, U = Outcome.DURABLE, Outcome.REFUSED, Outcome.WITHDRAWN, Outcome.UNKNOWN
L, S, SPOOLED = Outcome.LIMITED, Outcome.SHED, Outcome.SPOOLED
HELD = (D, SPOOLED)
FINAL = (*HELD, R)


def valid(seq: int, event: int, *, is_duplicate: bool = False) -> Line:
    return Line(f"s-{seq}", seq, event, None, is_duplicate)


def flawed(seq: int | None) -> Line:
    return Line(None, seq, None, Flaw("invalid-field", "/samples/0/steps", "required", None, seq))


def may_forget(lines: Sequence[Line], must_retry: set[int]) -> int | None:
    """DESIGN 4 word for word: the largest `seq` up to which each sample was made durable or refused for good."""
    known = [(line.seq, index in must_retry) for index, line in enumerate(lines) if line.seq is not None]
    good = [seq for seq, _ in known if not any(retry for other, retry in known if other <= seq)]
    return max(good, default=None)


@st.composite
def requests(draw: st.DrawFn) -> tuple[list[Line], list[Outcome]]:
    """Lines as check_sync makes them: flaws, first ones, and duplicates of those; seqs collide often."""
    lines: list[Line] = []
    seqs: list[int] = []  # by event
    for kind in draw(st.lists(st.sampled_from("fnd"), min_size=1, max_size=12)):
        if kind == "f":
            lines.append(flawed(draw(st.none() | st.integers(0, 5))))
        elif kind == "d" and seqs:
            event = draw(st.integers(0, len(seqs) - 1))
            lines.append(valid(seqs[event], event, is_duplicate=True))
        else:
            seqs.append(draw(st.integers(0, 5)))
            lines.append(valid(seqs[-1], len(seqs) - 1))
    return lines, draw(st.lists(st.sampled_from(Outcome), min_size=len(seqs), max_size=len(seqs)))


def retried(lines: Sequence[Line], outcomes: Sequence[Outcome]) -> set[int]:
    return {index for index, line in enumerate(lines) if line.event is not None and outcomes[line.event] not in FINAL}


@given(requests())
@example(([valid(1, 0), valid(1, 1)], [D, W]))  # one seq, two fates: it may not be forgotten
@example(([valid(0, 0), flawed(None)], [U]))
@example(([flawed(None)], []))
@example(([valid(5, 0), valid(3, 1), valid(4, 2)], [D, D, U]))
def test_ack_through_is_the_largest_seq_below_which_all_is_final(request: tuple[list[Line], list[Outcome]]) -> None:
    lines, outcomes = request
    assert receipt(lines, outcomes).ack_through == may_forget(lines, retried(lines, outcomes))


@given(requests(), st.sets(st.integers(0, 11)))
def test_ack_through_whatever_has_to_be_sent_again(request: tuple[list[Line], list[Outcome]], must_retry: set[int]) -> None:
    lines, _ = request
    must_retry = {index for index in must_retry if index < len(lines)}
    assert ack_through(lines, must_retry) == may_forget(lines, must_retry)


@given(requests())
def test_every_sample_is_accepted_or_listed_once(request: tuple[list[Line], list[Outcome]]) -> None:
    lines, outcomes = request
    told = receipt(lines, outcomes)
    indexes = [entry.index for entry in told.results]
    assert told.accepted + len(told.results) == len(lines)
    assert indexes == sorted(set(indexes))
    for entry in told.results:
        assert (entry.id, entry.seq) == (lines[entry.index].id, lines[entry.index].seq)
        assert entry.pointer.startswith("/samples/")
    plainly = [i for i, line in enumerate(lines) if line.event is not None and outcomes[line.event] in HELD and not line.is_duplicate]
    assert sorted({*range(len(lines))} - {*indexes}) == plainly


@given(requests())
def test_the_status_rule(request: tuple[list[Line], list[Outcome]]) -> None:
    """Something newly durable: 202.  Else something to send again: 503.  Else all is invalid: 422."""
    lines, outcomes = request
    told = receipt(lines, outcomes)
    if {*HELD} & {*outcomes}:
        expected = 202
    elif {W, U, L, S} & {*outcomes}:
        expected = 503
    else:
        expected = 422
    assert told.status == expected
    assert told.has_retry == any(entry.status == "retry" for entry in told.results) == bool({W, U, L, S} & {*outcomes})
    assert told.outcome == ("unknown" if U in outcomes else "none")


@given(requests())
def test_a_duplicate_shares_the_fate_of_its_first_one(request: tuple[list[Line], list[Outcome]]) -> None:
    lines, outcomes = request
    listed = {entry.index: entry for entry in receipt(lines, outcomes).results}
    first = {line.event: index for index, line in reversed([*enumerate(lines)]) if line.event is not None}
    for index, line in enumerate(lines):
        if line.event is None or not line.is_duplicate:
            continue
        original = listed.get(first[line.event])
        mine = listed[index]
        if original is None:
            assert (mine.status, mine.code) == ("duplicate", "duplicate")
        else:
            assert (mine.status, mine.code) == (original.status, original.code)


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [(R, "invalid", "refused-by-kafka"), (W, "retry", "not-durable"), (U, "retry", "not-durable"), (L, "retry", "rate-limited"), (S, "retry", "overloaded")],
)
def test_what_each_outcome_is_called(outcome: Outcome, status: str, code: str) -> None:
    [entry] = receipt([valid(1, 0)], [outcome]).results
    assert (entry.status, entry.code, entry.pointer) == (status, code, "/samples/0")


@pytest.mark.parametrize(("outcomes", "want"), [([D, D], "kafka"), ([D, SPOOLED], "spool"), ([SPOOLED, U], "spool"), ([D, R], "kafka")])
def test_durability_is_the_weaker_of_what_was_accepted(outcomes: list[Outcome], want: str) -> None:
    told = receipt([valid(1, 0), valid(2, 1)], outcomes)
    assert (told.durability, told.status) == (want, 202)


def test_what_is_spooled_may_be_forgotten() -> None:
    """By the phone: the disk has it, and Kafka will."""
    told = receipt([valid(7, 0), valid(3, 1), valid(7, 0, is_duplicate=True)], [SPOOLED, SPOOLED])
    assert (told.ack_through, told.accepted, told.has_retry) == (7, 2, False)
    assert [entry.status for entry in told.results] == ["duplicate"]


def test_a_flaw_keeps_its_code_and_place() -> None:
    line = Line("a", 3, None, Flaw("duplicate-key", "/samples/1/steps", "named twice", "a", 3))
    told = receipt([valid(1, 0), line], [D])
    assert [(e.index, e.id, e.seq, e.status, e.code, e.pointer, e.detail) for e in told.results] == [
        (1, "a", 3, "invalid", "duplicate-key", "/samples/1/steps", "named twice")
    ]


def test_all_durable_is_the_short_answer() -> None:
    assert receipt([valid(7, 0), valid(3, 1)], [D, D]) == Receipt(202, 2, 7, [], has_retry=False, outcome="none")


# What is not sent now


@pytest.mark.parametrize(
    ("seqs", "backfill", "granted", "want"),
    [
        ([1, 2, 3], (), 3, {}),
        ([3, 1, 2], (), 2, {0: L}),
        ([3, 1, 2], (), 0, {0: L, 1: L, 2: L}),
        ([5, 5, 5], (), 1, {1: L, 2: L}),
        ([3, 1, 2], (1,), 1, {1: S, 0: L}),
        ([3, 1, 2], (0, 1, 2), 0, {0: S, 1: S, 2: S}),
    ],
)
def test_the_lowest_seqs_pass(seqs: list[int], backfill: tuple[int, ...], granted: int, want: dict[int, Outcome]) -> None:
    assert withheld(seqs, backfill, granted) == want


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9), st.data())
def test_as_many_pass_as_were_granted(seqs: list[int], data: st.DataObject) -> None:
    backfill = data.draw(st.sets(st.integers(0, len(seqs) - 1)))
    granted = data.draw(st.integers(0, len(seqs) - len(backfill)))
    kept = withheld(seqs, backfill, granted)
    passing = [seqs[position] for position in range(len(seqs)) if position not in kept]
    assert len(passing) == granted
    assert {position for position, outcome in kept.items() if outcome is S} == backfill
    assert max(passing, default=0) <= min((seqs[position] for position, outcome in kept.items() if outcome is L), default=9)
