"""A scenario file is read whole or refused in one sentence."""

from pathlib import Path

import msgspec
import pytest

from loadtests import scenario
from loadtests.crowd.shapes import meant
from loadtests.judge import slo
from loadtests.scenario import SCENARIOS, ScenarioError, load

GOOD = """
title = "t"
why = "w"
seed = 1
[[streams]]
name = "daily"
kind = "sync"
shape = [[10, 1.0, 2.0]]
[[phases]]
name = "early"
from_s = 0.0
to_s = 5.0
[[slo]]
phase = "early"
metric = "syncs.p99_ms"
at_most = 500.0
"""
NAMES = sorted(path.stem for path in SCENARIOS.glob("*.toml"))


def written(directory: Path, text: str) -> str:
    path = directory / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_all_that_were_promised_are_there() -> None:
    promised = {"smoke", "dec18", "dec18-nogate", "midnight-sync", "meal-peaks", "fifty-fold", "ineligible"}
    assert promised | {"redis-failover", "kafka-outage", "worker-massacre", "soak"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_whole_and_comes_back_from_its_copy(name: str, tmp_path: Path) -> None:
    """The generator's processes read such a copy."""
    found = load(name, slo.METRICS)
    scenario.save(found, tmp_path / "copy.toml")
    assert msgspec.structs.replace(load(str(tmp_path / "copy.toml"), slo.METRICS), name=name) == found


def test_dec18_has_the_shape_of_that_morning() -> None:
    """40 % in the first half hour, the first minute ten times the mean; and the same people come where there is no line."""
    citizens = load("dec18", slo.METRICS).streams[0]
    people = [segment.seconds * (segment.from_per_s + segment.to_per_s) / 2 for segment in citizens.shape]
    seconds = sum(segment.seconds for segment in citizens.shape)
    assert people[0] / 60 == pytest.approx(10 * sum(people) / seconds, rel=0.01)
    assert sum(people[:2]) / sum(people) == pytest.approx(0.4, abs=0.01)
    assert sum(people) == pytest.approx(1_000_000, rel=0.01)
    without = load("dec18-nogate", slo.METRICS)
    assert (without.streams, without.seed, without.scale, without.downstream) == (
        load("dec18", slo.METRICS).streams,
        load("dec18", slo.METRICS).seed,
        load("dec18", slo.METRICS).scale,
        load("dec18", slo.METRICS).downstream,
    )
    assert not without.has_room


def test_a_stream_is_a_metric_too(tmp_path: Path) -> None:
    assert load(written(tmp_path, GOOD.replace("syncs.p99_ms", "daily.p99_ms")), slo.METRICS)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("syncs.p99_ms", "syncs.p99_m", "did you mean 'syncs.p99_ms'"),
        ("syncs.p99_ms", "nightly.p99_ms", "no metric is called 'nightly.p99_ms'"),
        ("at_most = 500.0", "", "want at_most, at_least or both"),
        ("at_most = 500.0", "atmost = 500.0", "atmost"),
        ('phase = "early"', 'phase = "late"', "no phase is called 'late'"),
        ("seed = 1", "seed = -1", "seed"),
        ("seed = 1", "seed = 1\nsede = 2", "sede"),
        ("to_s = 5.0", "to_s = 0.0", "phase early"),
        ("to_s = 5.0", "to_s = 500.0", "phase early"),
        ("shape = [[10, 1.0, 2.0]]", "", "want a shape, bursts or times"),
        ("shape = [[10, 1.0, 2.0]]", 'times = "nowhere.txt"', "nowhere.txt is not there"),
        ("shape = [[10, 1.0, 2.0]]", "shape = [[0, 1.0, 2.0]]", "shape"),
        ("shape = [[10, 1.0, 2.0]]", "shape = [[10, 1.0, 2.0]]\nmanners = { leaves = 0.6, blind = 0.6 }", "more than 1"),
        ('kind = "sync"', 'kind = "synk"', "synk"),
        ("[[phases]]", '[[faults]]\nwhat = "redis.pause"\nat_s = 1000.0\n[[phases]]', "comes after the end"),
        ("[[phases]]", '[[faults]]\nwhat = "redis.explode"\nat_s = 1.0\n[[phases]]', "redis.explode"),
        ('title = "t"', 'title = "t', "mine.toml"),
    ],
)
def test_what_is_wrong_is_said(before: str, after: str, says: str, tmp_path: Path) -> None:
    assert before in GOOD
    with pytest.raises(ScenarioError) as error:
        load(written(tmp_path, GOOD.replace(before, after)), slo.METRICS)
    assert says in str(error.value)
    assert "mine.toml" in str(error.value)


def test_a_copy_finds_the_files_of_times(tmp_path: Path) -> None:
    (tmp_path / "times.txt").write_text("1.0\n2.5\n")
    found = load(written(tmp_path, GOOD.replace("shape = [[10, 1.0, 2.0]]", 'times = "times.txt"')), slo.METRICS)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    scenario.save(found, elsewhere / "copy.toml")
    assert list(meant(load(str(elsewhere / "copy.toml"), None))["at_s"]) == [1.0, 2.5]


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    stream = '[[streams]]\nname = "daily"\nkind = "sync"\nshape = [[10, 1.0, 2.0]]\n'
    with pytest.raises(ScenarioError, match="streams: a name stands twice"):
        load(written(tmp_path, GOOD + stream), slo.METRICS)


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(ScenarioError, match=r"there are .*dec18"):
        load("dec19", slo.METRICS)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(GOOD.replace('"t"', '"종로"').encode("euc-kr"))
    with pytest.raises(ScenarioError, match=r"mine\.toml"):
        load(str(path), slo.METRICS)
