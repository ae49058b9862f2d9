"""A scenario file is read whole or refused in one sentence."""

import math
from pathlib import Path

import msgspec
import pytest

from loadtests import scenario, scenario_file
from loadtests.crowd.shapes import meant
from loadtests.judge import slo
from loadtests.scenario import ScenarioError
from loadtests.scenario_file import SCENARIOS, load

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
    scenario_file.save(found, tmp_path / "copy.toml")
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
        ("at_most = 500.0", "at_most = nan", "slo[0].at_most: want a finite number, not nan"),
        ("at_most = 500.0", "at_least = -inf", "slo[0].at_least: want a finite number, not -inf"),
        ("at_most = 500.0", "at_most = 1.0\nat_least = 2.0", "nothing is at least 2 and at most 1"),
        ("[[phases]]", "[scale]\npeople = inf\n[[phases]]", "scale.people: want a finite number, not inf"),
        ("[[phases]]", "[scale]\nclock = 1e-9\n[[phases]]", "scale.clock"),
        ("[[phases]]", "[gateway]\nsettings = { room = { floor_per_s = nan } }\n[[phases]]", "gateway.settings.room.floor_per_s: want a finite"),
        ("[[phases]]", '[gateway]\nsettings = { room = "x" }\n[[phases]]', "gateway.settings.room: want a table"),
        ("[10, 1.0, 2.0]", "[10, nan, 2.0]", "streams[0].shape[0][1]: want a finite number"),
        ("[10, 1.0, 2.0]", "[60, 1e6, 1e6]", "60,000,000 arrivals: want 20,000,000 at most"),
        ("shape = [[10, 1.0, 2.0]]", "bursts = [{ people = 20000001 }]", "20,000,001 arrivals"),
        ("[10, 1.0, 2.0]", "[60.7, 1.0, 2.0]", "its shape lasts 60.7 s"),
        ("[10, 1.0, 2.0]", "[10, 1.0, 2.0], [51, 1.0, 2.0]", "its shape lasts 61 s"),
        ("shape = [[10, 1.0, 2.0]]", "bursts = [{ people = 1, at_s = 1.0, jitter_s = 60.0 }]", "a burst lasts until 61 s"),
        ("shape = [[10, 1.0, 2.0]]", "bursts = [{ people = 1, at_s = 60.0 }]", "a burst lasts until 60 s"),
        ('name = "early"', 'name = "all"', "phase all"),
        ('name = "daily"', 'name = "a.b"', "name"),
        *(
            ('name = "daily"', f'name = "{name}"', f"stream {name}: metrics are called so")
            for name in ("syncs", "signups", "tickets", "place", "passes", "all", "line")
        ),
        ("seed = 1", f"seed = {'1' * 5_000}", "4300 digits"),
        ("[[phases]]", f"[gateway]\nsettings = {{ room = {'[' * 3_000}{']' * 3_000} }}\n[[phases]]", "nested too deeply"),
        ("[[phases]]", f"[gateway.settings.{'a.' * 40}b]\n[[phases]]", "nested too deeply"),
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
    scenario_file.save(found, elsewhere / "copy.toml")
    assert list(meant(load(str(elsewhere / "copy.toml"), None))["at_s"]) == [1.0, 2.5]


def test_names_that_streams_may_not_have_are_those_of_metrics() -> None:
    assert {metric.partition(".")[0] for metric in slo.METRICS} == scenario_file.RESERVED


@pytest.mark.parametrize("line", ["-1.0", "nan", "inf", "noon", "60.7"])
def test_times_that_cannot_be_are_refused(line: str, tmp_path: Path) -> None:
    """Before the end a hundredth of rounding is allowed, and cut."""
    for last, is_refused in ((line, True), ("60.5", False)):
        (tmp_path / "times.txt").write_text(f"1.0\n{last}\n")
        text = GOOD.replace("shape = [[10, 1.0, 2.0]]", 'times = "times.txt"')
        if is_refused:
            with pytest.raises(ScenarioError, match=r"mine\.toml: .*times\.txt"):
                load(written(tmp_path, text), slo.METRICS)
        else:
            assert len(meant(load(written(tmp_path, text), slo.METRICS))) == 1


def test_a_scale_makes_many_people_few(tmp_path: Path) -> None:
    """What counts is who is sent: ten days' city in one, one of ten thousand."""
    text = GOOD.replace("[10, 1.0, 2.0]", "[600, 1e6, 1e6]").replace("[[phases]]", "[scale]\npeople = 1e4\nclock = 10.0\n[[phases]]")
    assert scenario.expected(load(written(tmp_path, text), slo.METRICS)) == pytest.approx(60_000)
    with pytest.raises(ScenarioError, match="60,000,000 arrivals"):
        load(written(tmp_path, text.replace("people = 1e4", "people = 10")), slo.METRICS)


@pytest.mark.parametrize("name", NAMES)
def test_as_many_are_expected_as_come(name: str) -> None:
    found = load(name, slo.METRICS)
    expected = scenario.expected(found)
    assert len(meant(found)) == pytest.approx(expected, abs=6 * math.sqrt(expected))


def test_a_recording_numbers_streams_in_a_byte(tmp_path: Path) -> None:
    stream = '[[streams]]\nname = "s{}"\nkind = "sync"\nshape = [[10, 1.0, 2.0]]\n'
    most = GOOD + "".join(stream.format(number) for number in range(254))
    assert load(written(tmp_path, most), slo.METRICS)
    with pytest.raises(ScenarioError, match="streams"):
        load(written(tmp_path, most + stream.format(254)), slo.METRICS)


def test_other_dice_and_another_room(tmp_path: Path) -> None:
    found = load(written(tmp_path, GOOD), slo.METRICS)
    assert scenario.with_seed(found, 2**32 - 1) == msgspec.structs.replace(found, seed=2**32 - 1)
    for seed in (-1, 2**32):
        with pytest.raises(ScenarioError, match=f"seed {seed}: want 0 to"):
            scenario.with_seed(found, seed)
    with pytest.raises(ScenarioError, match="no line"):
        scenario.with_room(found, "enrol")
    smoke = load("smoke", slo.METRICS)
    renamed = scenario.with_room(smoke, "enrol").gateway.settings["room"]
    assert renamed == smoke.gateway.settings["room"] | {"name": "enrol"}


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
