"""docs/metrics.md: every metric once, in a group, in the catalogue's words, with the alerts that look at it."""

import re
from pathlib import Path

import pytest

from gateway.metrics import BY_NAME, CATALOGUE
from gateway.openapi import catalogue
from gateway.openapi.catalogue import GROUPS, alerts_by_metric, family_of, grouped, page, unit_of
from gateway.openapi.pages import ROOT

RULES = """
groups:
  - name: one
    rules:
      - record: job:sluicegate_through:max
        expr: max by (job) (sluicegate_room_passes)
      # a comment
      - alert: Slow
        expr: |
          delta(job:sluicegate_through:max[1m]) < 1
          and on (job) sum(rate(sluicegate_ack_seconds_bucket{le="0.5"}[1m])) > 0
        labels:
          severity: page
        annotations:
          description: see sluicegate_viewers
  - name: two
    rules:
      - alert: Late
        expr: sluicegate_ack_seconds_count > sluicegate_room_depth
        labels:
          severity: page
"""


def test_every_metric_is_in_one_group_and_no_group_is_empty() -> None:
    groups = grouped()
    assert sorted(metric.name for metrics in groups.values() for metric in metrics) == sorted(BY_NAME)
    assert all(groups[group] for group in GROUPS)


def test_a_metric_without_a_group_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "CATALOGUE", (CATALOGUE[0]._replace(name="sluicegate_weather"),))
    with pytest.raises(ValueError, match="sluicegate_weather is in no group"):
        grouped()


def test_the_page_says_of_each_what_the_catalogue_says() -> None:
    text = page("")
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE))
    assert sections.keys() == BY_NAME.keys()
    for name, section in sections.items():
        metric = BY_NAME[name]
        assert re.match(rf"\n{metric.kind}\b.*; {unit_of(metric)}\n", section)
        assert f"\n{metric.meaning}\n" in section
        assert f"*Do:* {metric.remedy}" in section
        assert all(f"* `{label}`: " in section for label, _ in metric.labels)
        assert ("`le`" in section) == (metric.kind == "histogram")
        assert "*Alerts:*" not in section


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("sluicegate_ack_seconds", "seconds"),
        ("sluicegate_body_bytes_total", "bytes"),
        ("sluicegate_room_rate_per_second", "per second"),
        ("sluicegate_worker_cpu_ratio", "share, 0 to 1"),
        ("sluicegate_requests_total", "count"),
        ("sluicegate_room_depth", "number"),
    ],
)
def test_a_name_says_its_unit(name: str, unit: str) -> None:
    assert unit_of(BY_NAME[name]) == unit


def test_alerts_are_found_through_what_is_recorded_and_not_in_what_is_said() -> None:
    assert alerts_by_metric(RULES) == {
        "sluicegate_room_passes": ("Slow",),
        "sluicegate_ack_seconds": ("Slow", "Late"),
        "sluicegate_room_depth": ("Late",),
    }
    assert "*Alerts:* [Slow](operations.md#slow), [Late](operations.md#late)" in page(RULES)


def test_every_alert_there_is_looks_at_a_metric() -> None:
    rules = (ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8")
    found = {alert for alerts in alerts_by_metric(rules).values() for alert in alerts}
    assert found == set(re.findall(r"- alert: (\w+)", rules))


@pytest.mark.parametrize("series", ["sluicegate_ack_seconds", "sluicegate_requests", "sluicegate_requests_total_count", "sluicegate_room_depth_sum"])
def test_what_nobody_exports_is_of_no_family(series: str) -> None:
    assert family_of(series) is None


def test_links_of_the_page_lead_somewhere() -> None:
    """Into operations.md aside, which names each alert by itself."""
    text = page("")
    headings = {line.lstrip("# ").lower().replace(" ", "-") for line in text.splitlines() if line.startswith("## ")}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        assert (not path and anchor in headings) or Path(ROOT / "docs" / path).exists(), target
