"""deploy/prometheus: each alert tells what to do, fires on its fault and is silent beside it.

What promtool itself says is marked `alerts`: `make test-alerts` brings it.
"""

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.core.light import REASONS
from gateway.watch import FULL_SHARE

PROMETHEUS = Path(__file__).parents[2] / "deploy/prometheus"
RULES = PROMETHEUS / "alerts.yml"
CASES = sorted((PROMETHEUS / "tests").glob("*.yml"))
ASKED = re.compile(r'(?P<ever>count_over_time\()?ALERTS\{alertname="(?P<alert>\w+)", alertstate="firing"\}(?(ever)\[1d\]\))')


def alerts() -> dict[str, dict[str, Any]]:
    found = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule]
    assert len({rule["alert"] for rule in found}) == len(found)
    return {rule["alert"]: rule for rule in found}


def cases() -> Iterator[tuple[str, str, bool]]:
    """(case, alert, whether it has to fire)."""
    for path in CASES:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for asked in case["promql_expr_test"]:
                found = ASKED.fullmatch(asked["expr"])
                assert found, f"{path.name}: {case['name']}: promtool would ask {asked['expr']}"
                fires = bool(asked.get("exp_samples"))
                assert not (fires and found["ever"]), case["name"]
                yield case["name"], found["alert"], fires


@pytest.mark.parametrize("name", alerts())
def test_each_fires_in_one_case_and_is_silent_in_another(name: str) -> None:
    fates = [fires for _, alert, fires in cases() if alert == name]
    assert any(fates), f"{name} never has to fire"
    assert not all(fates), f"{name} has no control"


def test_cases_are_of_alerts_that_exist_and_say_what_they_show() -> None:
    found = list(cases())
    assert {alert for _, alert, _ in found} == alerts().keys()
    assert not [name for name, count in Counter((name, alert) for name, alert, _ in found).items() if count > 1]


def test_what_has_to_fire_is_expected_with_all_its_labels() -> None:
    for path in CASES:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for sample in (sample for asked in case["promql_expr_test"] for sample in asked.get("exp_samples", [])):
                name = re.search(r'alertname="(\w+)"', sample["labels"])
                assert name, case["name"]
                assert f'severity="{alerts()[name[1]]["labels"]["severity"]}"' in sample["labels"], case["name"]


@pytest.mark.parametrize("name", alerts())
def test_each_says_who_is_needed_and_what_to_do(name: str) -> None:
    rule = alerts()[name]
    assert name.startswith("Sluicegate")
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    said = rule["annotations"]
    assert said.keys() == {"summary", "description", "runbook_url"}
    assert said["runbook_url"] == f"docs/operations.md#{name.lower()}"
    assert [line.partition(": ")[0] for line in said["description"].splitlines()] == ["You see", "By itself", "Do"]


@pytest.mark.parametrize("name", alerts())
def test_each_is_of_a_fleet_and_not_of_one_scrape(name: str) -> None:
    """What several gateways say is brought together, or names the machine or worker it is about."""
    expr = alerts()[name]["expr"]
    assert "job:" in expr or re.search(r"(by|on) \(job\b", expr) or "instance" in alerts()[name]["annotations"]["summary"]


def test_what_is_recorded_stands_before_its_use_in_the_same_group() -> None:
    """Groups are evaluated side by side: across them an alert would look at the instant before."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        recorded: set[str] = set()
        for rule in group["rules"]:
            assert set(re.findall(r"job:\w+:\w+", rule["expr"])) <= recorded, rule
            recorded |= {rule["record"]} if "record" in rule else set()


def test_a_number_that_stands_for_a_reason_is_that_reasons() -> None:
    [number] = re.findall(r"spool_reason == (\d+)", alerts()["SluicegateSpoolFailing"]["expr"])
    assert REASONS[int(number)].code == "spool-failed"


def test_the_door_is_cut_where_the_alert_fires() -> None:
    """One share, and of the fullest worker both times."""
    assert alerts()["SluicegateSpoolFilling"]["expr"].split()[-1] == str(FULL_SHARE)


@pytest.mark.parametrize(("slo", "budget"), [("Answered", "0.001"), ("Acked", "0.01")])
def test_burn_rates_are_the_books(slo: str, budget: str) -> None:
    for pace, factor, long, short in (("Fast", "14.4", "1h", "5m"), ("Slow", "6", "6h", "30m")):
        expr = alerts()[f"Sluicegate{slo}Burn{pace}"]["expr"]
        assert re.findall(r"rate(\w+) > (\S+) \* (\S+)", expr) == [(long, factor, budget), (short, factor, budget)]


@pytest.mark.alerts
def test_promtool_finds_the_rules_valid() -> None:
    subprocess.run(("promtool", "check", "rules", RULES), check=True)


@pytest.mark.alerts
@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_every_case_is_as_it_says(path: Path) -> None:
    subprocess.run(("promtool", "test", "rules", path.name), check=True, cwd=path.parent)
