"""A metric that is named anywhere exists, with its labels and their values; and what is exported is documented.

In queries and in what promtool is fed a name has to be that of a series; in prose, that of a metric.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.board import Board
from gateway.metrics import BY_NAME, CATALOGUE
from gateway.openapi.catalogue import family_of
from gateway.ops.exposition import Exposition

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
SCRAPED = {"job", "instance"}  # labels that Prometheus adds
OTHERS = {"sluicegate_taker"}  # a module of the benchmarks

NAME = re.compile(r"(?<![\w:])sluicegate_\w+(?![\w:])")
SERIES = re.compile(r"(?<![\w:])(?P<name>sluicegate_\w+)(?!\w*:)(?:\{(?P<labels>[^}]*)\})?")
MATCHER = re.compile(r'\s*(?P<label>\w+)\s*(?P<how>=~|!~|!=|=)\s*"(?P<value>[^"]*)"\s*(?:,|$)')
GROUPED = re.compile(r"\b(?:by|on|without|ignoring|group_left)\s*\(([^)]*)\)")


def wrong_in_query(query: str) -> list[str]:
    """What Prometheus would look for in vain."""
    wrong = []
    for found in SERIES.finditer(query):
        metric = family_of(found["name"])
        if metric is None:
            wrong.append(f"{found['name']}: nobody exports it")
            continue
        values = {label: set(of) for label, of in metric.labels}
        if metric.kind == "gauge" and not metric.is_supervisors:
            values["worker"] = {str(worker) for worker in range(256)}
        if found["name"].endswith("_bucket"):
            values["le"] = {*map(str, metric.buckets), "+Inf"}
        matchers = list(MATCHER.finditer(found["labels"] or ""))
        if "".join(matcher[0] for matcher in matchers) != (found["labels"] or ""):
            wrong.append(f"{found[0]}: not read as labels")
        for matcher in matchers:
            if matcher["label"] not in SCRAPED:
                wrong += [f"{found['name']}: {problem}" for problem in _wrong_in_matcher(values, **matcher.groupdict())]
    labels = SCRAPED | {"worker", "le"} | {label for metric in CATALOGUE for label, _ in metric.labels}
    return wrong + [
        f"by {label}: no label" for group in GROUPED.findall(query) for label in re.split(r"\s*,\s*", group.strip()) if label and label not in labels
    ]


def _wrong_in_matcher(values: dict[str, set[str]], label: str, how: str, value: str) -> Iterator[str]:
    if label not in values:
        yield f"it has no label {label}"
    elif how in {"=", "!="} and value not in values[label]:
        yield f"{label} is never {value}"
    elif how in {"=~", "!~"}:
        yield from (f"{label} is never {one}" for one in value.split("|") if not any(re.fullmatch(one, of) for of in values[label]))


def queries() -> Iterator[tuple[str, str]]:
    """(place, PromQL) of every query and every series there is in deploy/."""
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]:
        yield from ((rule.get("alert") or rule["record"], rule["expr"]) for rule in group["rules"])
    for path in sorted((PROMETHEUS / "tests").glob("*.yml")):
        for case in yaml.safe_load(path.read_text())["tests"]:
            yield from ((f"{path.name}: {case['name']}", series["series"]) for series in case["input_series"])
    yield from (("dashboard", expr) for expr in exprs(json.loads((ROOT / "deploy/grafana/sluicegate.json").read_text())))


def exprs(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "expr")
        yield from (found for value in node.values() for found in exprs(value))
    elif isinstance(node, list):
        yield from (found for value in node for found in exprs(value))


def prose() -> Iterator[Path]:
    """Every text of ours beside the gateway's sources, whose strings test_architecture.py looks at."""
    yield from (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "gateway.toml")
    for folder in ("docs", "deploy", "benchmarks", "loadtests", "examples"):
        yield from (
            path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in {".md", ".py", ".toml", ".yml", ".yaml", ".json", ".html", ".js", ".lua"}
        )


def test_every_query_asks_for_what_is_exported() -> None:
    found = list(queries())
    assert {"SluicegateDown", "dashboard"} <= {place for place, _ in found}
    wrong = [f"{place}: {problem}" for place, query in found for problem in wrong_in_query(query)]
    assert not wrong, "\n".join(wrong)


def test_every_metric_that_is_named_exists() -> None:
    wrong = []
    for path in prose():
        text = path.read_text(encoding="utf-8")
        for found in NAME.finditer(text):
            is_family = found[0] in BY_NAME or family_of(found[0]) is not None or found[0] in OTHERS
            is_several = found[0].endswith("_") and text[found.end() : found.end() + 1] in {"*", "{"} and any(name.startswith(found[0]) for name in BY_NAME)
            if not (is_family or is_several):
                wrong.append(f"{path.relative_to(ROOT)}: {found[0]}")
    assert not wrong, "\n".join(wrong)


def test_every_metric_that_is_exported_is_documented() -> None:
    documented = set(re.findall(r"^### `(\w+)`$", (ROOT / "docs/metrics.md").read_text(encoding="utf-8"), re.MULTILINE))
    samples = [sample for family in text_string_to_metric_families(Exposition(Board.create(1)).text().decode()) for sample in family.samples]
    exported = {metric.name for sample in samples if (metric := family_of(sample.name)) is not None}
    assert [sample.name for sample in samples if family_of(sample.name) is None] == []
    assert exported == documented


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("rate(sluicegate_request_total[5m])", "nobody exports it"),
        ("rate(sluicegate_ack_seconds[5m])", "nobody exports it"),
        ("sluicegate_room_depth_sum", "nobody exports it"),
        ('sluicegate_requests_total{status="299"}', "status is never 299"),
        ('sluicegate_requests_total{route=~"syncs|sign-ups"}', "route is never sign-ups"),
        ('sluicegate_requests_total{code="500"}', "it has no label code"),
        ('sluicegate_room_depth{worker="0"}', "it has no label worker"),
        ('sluicegate_ack_seconds_bucket{le="0.7"}', "le is never 0.7"),
        ('sluicegate_ack_seconds_sum{le="0.5"}', "it has no label le"),
        ("sum by (jobs) (sluicegate_room_depth)", "by jobs: no label"),
        ("sluicegate_room_depth{worker=0}", "not read as labels"),
    ],
)
def test_a_query_that_finds_nothing_is_told(query: str, problem: str) -> None:
    [found] = wrong_in_query(query)
    assert problem in found
