"""The dashboard: every metric drawn, every panel explained, nothing bound to one installation."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.metrics import BY_NAME, CATALOGUE
from gateway.openapi.grafana import at, dashboard

BOARD = json.loads(dashboard())


def panels() -> Iterator[dict[str, Any]]:
    for panel in BOARD["panels"]:
        yield from panel["panels"] if panel["type"] == "row" else [panel]


def queries() -> Iterator[str]:
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    yield from (annotation["expr"] for annotation in BOARD["annotations"]["list"])


def test_the_first_rows_are_the_operators_questions() -> None:
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows[:5] == ["Is it up?", "How many wait, and how long?", "Does it drain at its rate?", "What is the bottleneck?", "What changed?"]
    assert all(row.startswith("More: ") for row in rows[5:])


@pytest.mark.parametrize("metric", CATALOGUE, ids=[metric.name for metric in CATALOGUE])
def test_every_metric_is_drawn_and_explained(metric: Any) -> None:
    drawn = [panel for panel in panels() if any(re.search(rf"\b{metric.name}(_bucket|_count)?\{{", target["expr"]) for target in panel["targets"])]
    assert drawn
    assert any(metric.meaning in panel["description"] and metric.remedy in panel["description"] for panel in drawn)


def test_a_panel_explains_what_it_draws_and_nothing_else() -> None:
    for panel in panels():
        drawn = {re.sub("_(bucket|count)$", "", name) for target in panel["targets"] for name in re.findall(r"sluicegate_\w+", target["expr"])}
        assert set(re.findall(r"^`(\w+)`:", panel["description"], re.MULTILINE)) == drawn, panel["title"]


def test_counters_are_drawn_as_they_grow_and_histograms_by_bucket() -> None:
    for query in queries():
        for name, before in ((found["name"], found["before"]) for found in re.finditer(r"(?P<before>\w*\(?)(?P<name>sluicegate_\w+)\{", query)):
            is_counter = name.endswith(("_total", "_bucket", "_count"))
            assert (before in {"rate(", "increase("}) == is_counter, query
    for panel in panels():
        assert all(
            ("_bucket{" in target["expr"]) == (target["format"] == "heatmap") or "quantile" in target["expr"] or "_count{" in target["expr"]
            for target in panel["targets"]
        )


def test_it_can_be_imported_anywhere() -> None:
    """The data source is chosen, there, by who imports it; no uid, no address, one fleet at a time."""
    assert "uid" not in BOARD
    assert "id" not in BOARD
    assert set(re.findall(r'"uid": "([^"]*)"', dashboard())) == {"${datasource}"}
    assert [variable["name"] for variable in BOARD["templating"]["list"]] == ["datasource", "job", "instance"]
    assert "://" not in dashboard()
    assert all(query.count("sluicegate_") == query.count('{job="$job", instance=~"$instance"') for query in queries())


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    flat = [*BOARD["panels"], *(inner for panel in BOARD["panels"] if panel["type"] == "row" for inner in panel["panels"])]
    assert len({panel["id"] for panel in flat}) == len(flat)
    for group in (BOARD["panels"], *(panel["panels"] for panel in BOARD["panels"] if panel["type"] == "row")):
        cells: set[tuple[int, int]] = set()
        for spot in (panel["gridPos"] for panel in group):
            own = {(x, y) for x in range(spot["x"], spot["x"] + spot["w"]) for y in range(spot["y"], spot["y"] + spot["h"])}
            assert not own & cells
            assert max(x for x, _ in own) < 24
            cells |= own


def test_numbers_that_stand_for_words_are_shown_as_these() -> None:
    [door] = [panel for panel in panels() if panel["title"] == "Why the door has this rate"]
    words = {int(number): word["text"] for number, word in door["fieldConfig"]["defaults"]["mappings"][0]["options"].items()}
    assert [words[0], words[2], words[8], words[9]] == ["paused", "acks-stopped", "consumption", "closed"]
    assert all(f"{number} {word}" in BY_NAME["sluicegate_room_reason"].meaning for number, word in words.items())


def test_restarts_are_marked_in_every_panel() -> None:
    assert "sluicegate_worker_starts_total" in BOARD["annotations"]["list"][0]["expr"]


def test_a_name_that_nobody_exports_fails_at_once() -> None:
    with pytest.raises(KeyError):
        at("nothing_total")
