"""benchmarks/bench_screen.py and its parts: the arithmetic on frames, people, memory and CPU, and what is sent."""

import itertools
from typing import Any

import msgspec
import pytest

from benchmarks.bench_screen import arguments
from benchmarks.screen import lights, report, truth
from benchmarks.screen.report import Costs, Memory, Round, Shown
from benchmarks.screen.truth import Truth
from benchmarks.screen.viewers import Done, Viewer, gaps

# a: lights


def frame(bottleneck: str = "none", **colours: str) -> dict[str, Any]:
    names = {"workers": "green", "kafka": "green", "redis": "green", "room": "green", "spool": "grey", **colours}
    return {"ready": True, "lights": {name: {"colour": colour} for name, colour in names.items()}, "bottleneck": {"code": bottleneck}}


def test_a_fault_is_told_by_all_its_lights_and_its_name() -> None:
    [fault] = [one for one in lights.FAULTS if one.name == "Redis frozen"]
    rows = [
        (frame("room-store", redis="amber", room="red"), True),
        (frame("room-store", redis="amber"), False),
        (frame("redis", redis="amber", room="red"), False),
        (frame("room-store", redis="grey", room="red"), False),
    ]
    assert [lights.is_told(one, fault) for one, _ in rows] == [told for _, told in rows]


def test_all_is_well_where_everything_is_green_and_ready() -> None:
    assert lights.is_well(frame())
    assert not lights.is_well(frame(kafka="grey"))
    assert not lights.is_well(frame() | {"ready": False})


def test_each_fault_is_judged_by_its_worst_and_by_both_who_tell() -> None:
    met = report.lights_verdicts([Round(3.0, 0.1, 10.0), Round(1.0, 2.0, 1.0)])
    missed = report.lights_verdicts([Round(1.0, 3.1, 1.0), Round(1.0, 1.0, float("inf"))])
    assert [one.is_met for one in met + missed] == [True, True, False, False]
    assert report.lights_cells("x", [Round(1, 2, 3), Round(3, 4, 5), Round(2, 9, 4)]) == ("x", "2.00 / 3.00", "4.00 / 9.00", "4.00 / 5.00")


# b: viewers


def test_a_frame_that_others_saw_meanwhile_is_a_gap_and_one_before_or_after_is_none() -> None:
    assert gaps([[1, 2, 3, 4], [2, 3], [], [4]]) == 0
    assert gaps([[1, 2, 3, 4], [2, 4], [1, 4]]) == 3


@pytest.mark.parametrize("size", [1, 7, 48, 10_000])
def test_ids_are_counted_once_however_the_bytes_arrive(size: int) -> None:
    """The ids of frames, not those of the log or of what a frame holds."""
    events = b"".join(b"%x\r\nid: %d\nevent: status\ndata: {}\n\n\r\n" % (40, number) for number in (1_795_400_000_123, 1_795_400_001_123))
    viewer = Viewer(b"")
    text = b"retry: 1000\n\nevent: log\ndata: {}\n\n" + events
    for first in range(0, len(text), size):
        viewer.data_received(text[first : first + size])
    assert viewer.ids == [1_795_400_000_123, 1_795_400_001_123]


def test_who_was_let_go_has_nothing_to_hang_up() -> None:
    viewer = Viewer(b"")
    viewer.connection_lost(None)
    viewer.hang_up(is_polite=False)
    assert viewer.gone.is_set()


def done(root: float, others: float = 0.1, **fields: Any) -> Done:
    plain = {"seconds": 10.0, "root_cpu_s": root, "others_cpu_s": others, "frames": (10, 11), "gaps": 0}
    counts = {"came": 1_000, "deaf": 0, "let_go": 0, "lost": 0, "cpu_share": 0.1, "busy_share": 0.2}
    return {**plain, **counts, **fields}  # type: ignore[typeddict-item]


def test_what_viewers_cost_is_what_is_used_more_than_without_them() -> None:
    costs = Costs(done(0.05), done(0.85, 0.19), done(4.0))
    assert (costs.idle_s, costs.watched_s, costs.peer_s) == pytest.approx((0.005, 0.085, 0.4))
    assert (costs.workers_s, costs.share) == pytest.approx((0.009, 0.2))
    assert len({len(cells) for cells in (report.COSTS_HEADINGS, *report.cost_cells([costs]))}) == 1


def test_each_promise_of_the_viewers_can_be_missed() -> None:
    idle, peer = done(0.05), done(4.0)
    cases = [
        (done(0.84), 4_096, [True, True, True, True]),
        (done(0.86), 4_096, [False, True, True, True]),
        (done(0.5, 0.3), 4_096, [True, False, True, True]),
        (done(0.5), 4_097, [True, True, False, True]),
        (done(0.5, gaps=1), 4_096, [True, True, True, False]),
        (done(0.5, lost=1), 4_096, [True, True, True, False]),
        (done(0.5, frames=(0, 10)), 4_096, [True, True, True, False]),
    ]
    for watched, size, want in cases:
        assert [one.is_met for one in report.cost_verdicts([Costs(idle, watched, peer)], size, "")] == want
    assert [one.word for one in report.cost_verdicts([Costs(idle, done(0.5), peer)], 1, "busy")] == ["VOID", "VOID", "met", "VOID"]


# c: memory


def test_a_slope_is_that_of_least_squares() -> None:
    assert report.slope([(0, 5), (1, 7), (2, 9)]) == 2
    assert report.slope([(0, 5), (1, 5), (2, 5), (3, 5)]) == 0
    assert report.slope([(1, 5)]) == 0


def test_memory_is_judged_beside_a_gateway_nobody_looks_at() -> None:
    """The first sample is from before the viewers came."""

    def of(kb_per_min: float, left_open: int = 0) -> Memory:
        return Memory([(0.0, 0.0, 0.0), *((at, 70_000 + kb_per_min * at, 65_000 + 20 * at) for at in map(float, range(1, 11)))], 30, left_open)

    assert of(60).slopes_kb == pytest.approx((60, 20))
    assert [one.is_met for one in report.memory_verdicts(of(60), "")] == [True, True]
    assert [one.is_met for one in report.memory_verdicts(of(80, left_open=1), "")] == [False, False]
    assert "+60 kB/min, and +20 kB/min where nobody looks; descriptors 30, +0" in list(report.memory_lines(of(60)))[-1]


# d: the depth


def test_in_line_is_who_was_seen_in_any_window_and_is_not_through() -> None:
    assert truth.depth(b"", [b"", b"", b""]) == 0
    assert truth.depth(b"\x80", [b"\xc0", b"\x00\x01", b""]) == 2
    assert truth.depth(b"\xff\xff\xff", [b"\x01", b"\x01\x80"]) == 0


def test_a_look_is_read_as_the_script_returns_it() -> None:
    state = msgspec.msgpack.encode({"tail": 9, "passes": 1, "head": 3})
    assert truth.read([b"1795400000", b"250000", state, b"\x80", b"\xff", b"\x00\x80", b""]) == Truth(1_795_400_000.25, 8, 9, 1)


def truths(*depths: int) -> list[Truth]:
    return [Truth(100 + number / 8, depth, 0, 0) for number, depth in enumerate(depths)]


def test_what_is_shown_tells_of_its_sign() -> None:
    assert report.shown_of(101.0, {"at_ms": 100_900, "room": {"sign_age_ms": 400, "depth": 7}}) == Shown(101.0, 100.5, 7)


def test_staleness_grows_until_the_next_frame_comes() -> None:
    ages = report.ages_s([Shown(100.0, 99.8, 0), Shown(101.0, 100.9, 0)], 99.0, 102.0)
    assert len(ages) == 200  # before the first frame there is nothing to be old
    assert ages[0] == pytest.approx(0.1)
    assert ages[-1] == pytest.approx(1.19)


def test_a_depth_is_compared_with_what_was_true_within_a_tick() -> None:
    seen = truths(0, 10, 20, 30, 40, 50, 60, 70, 80)  # of 100.0 to 101.0
    assert report.off_by(Shown(0, 100.5, 40), seen, 0.25) == 0
    assert report.off_by(Shown(0, 100.5, 33), seen, 0.25) == 0  # between two looks
    assert report.off_by(Shown(0, 100.5, 15), seen, 0.25) == 5
    assert report.off_by(Shown(0, 100.5, 61), seen, 0.25) == 1
    assert report.off_by(Shown(0, 105.0, 61), seen, 0.25) is None
    assert report.off_at(Shown(0, 100.4375, 38), seen) == 3
    assert report.off_at(Shown(0, 99.0, 0), seen) is report.off_at(Shown(0, 105.0, 0), seen) is None


def test_the_line_is_judged_by_its_age_and_its_worst_frame() -> None:
    seen = truths(*(10 * number for number in range(40)))
    good = [Shown(at_s + 0.1, at_s, round((at_s - 100) * 80)) for at_s in (100.5, 101.5, 102.5, 103.5)]
    verdicts = report.line_verdicts(good, seen, 100.6, 104.0, "")
    assert [one.is_met for one in verdicts] == [True, True]
    wrong = [*good[:2], good[2]._replace(depth=500), good[3]]
    assert [one.is_met for one in report.line_verdicts(wrong, seen, 100.6, 104.0, "")] == [True, False]
    late = [one._replace(arrived_s=one.sign_s + 1.5) for one in good]
    assert [one.is_met for one in report.line_verdicts(late, seen, 102.0, 105.0, "")] == [False, True]
    assert report.depth_remarks(wrong, seen, 100.6, 104.0)[1].startswith("d: the worst, 280 people (56.00%), 2.5 s in: 500 is shown")
    assert len(report.age_cells("x", good, seen, 100, 104)) == len(report.AGES_HEADINGS)


def test_what_a_tick_moves_is_who_joins_and_who_passes() -> None:
    assert report.moved_in_a_tick([Truth(100, 0, 1_000, 50), Truth(110, 0, 3_000, 250)]) == 55


# e: the lever


def test_the_lever_is_judged_by_its_worst_and_told_apart_from_who_pulls_it() -> None:
    assert [report.lever_verdicts("x", seconds)[0].is_met for seconds in ([0.2, 1.0], [0.2, 0.2, 1.1])] == [True, False]
    cells = report.lever_cells("x", [1.5, 1.0], [1.25, 0.875])
    assert cells == ("x", "1.250 / 1.500", "1.062 / 1.250", "0.188 / 0.250")
    assert len(cells) == len(report.LEVER_HEADINGS)


# How it is asked


def test_any_parts_may_be_asked_for_and_no_others(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for parts in map("".join, itertools.combinations("abcde", 2)):
        monkeypatch.setattr("sys.argv", ["bench_screen", "--parts", parts])
        assert arguments().parts == parts
    for wrong in (["--parts", "f"], ["--parts", ""], ["--minutes", "0"]):
        monkeypatch.setattr("sys.argv", ["bench_screen", *wrong])
        with pytest.raises(SystemExit):
            arguments()
        assert "want" in capsys.readouterr().err
