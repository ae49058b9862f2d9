"""The promises about the room's cost, judged by the worst of each kind."""

from benchmarks.bench_room import judged


def test_each_promise_is_judged_by_its_worst_case() -> None:
    met = judged({50: 10.0, 128: 5.0}, {"joined": 20.0, "near": 0.4, "far": 0.6}, {"idle": 0.5, "crowd": 2.0})
    assert [verdict.is_met for verdict in met] == [True] * 4
    missed = judged({50: 10.1, 128: 5.0}, {"joined": 20.1, "near": 0.5, "far": 0.6}, {"idle": 0.5, "crowd": 2.1})
    assert [verdict.is_met for verdict in missed] == [False] * 4
    assert missed[1].text == "target: the join ids take at most 20 MB: 20.1 MB: MISSED"
