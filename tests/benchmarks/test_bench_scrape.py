"""The promises about a scrape, and that the ways compared show the same."""

from pathlib import Path

import pytest

from benchmarks.bench_scrape import WORKERS, Cost, Files, live, registry, series_in, verdicts
from benchmarks.measure import estimate
from gateway.board import Board
from gateway.ops.exposition import Exposition


def cost(ms: float, ratio: float, series: int = 600) -> Cost:
    return Cost(estimate([ms]), estimate([ratio]), series)


def test_each_promise_is_judged() -> None:
    assert [is_met for _, is_met in verdicts(cost(49, 1.0), cost(50, 1.1))] == [True] * 3
    assert [is_met for _, is_met in verdicts(cost(51, 1.0), cost(5, 1.2, 601))] == [False] * 3


def test_the_ways_compared_show_as_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    board, files = Board.create(WORKERS), Files(tmp_path)
    for worker in range(WORKERS):
        live(board, worker)
        files.live(worker)
    ours, plain, multiprocess = (series_in(text()) for text in (Exposition(board).text, registry().text, files.text))
    assert plain == ours
    assert multiprocess >= ours


def test_files_of_the_dead_stay_and_their_gauges_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    files = Files(tmp_path)
    files.live(1)
    series = series_in(files.text())
    files.die(1)
    assert 0 < series_in(files.text()) < series
