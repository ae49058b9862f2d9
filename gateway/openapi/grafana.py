"""deploy/grafana/sluicegate.json: the catalogue as a Grafana dashboard.

Decided here: which questions stand on top, in the order an operator asks them, and how a metric is drawn that
none of them shows.  Below the questions every other metric of the catalogue has its panel, by group, folded away;
so nothing that is exported is without one.  What a panel says of itself are the catalogue's words.

A counter is drawn as a rate, summed over the machines; a histogram as a heatmap; a gauge of a worker as the worst
of each machine; a gauge of the machine as the largest, since those of the line are the same everywhere.

The data source is a variable, and nothing has a uid of its own: it can be imported anywhere, more than once.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from gateway.metrics import BY_NAME, Metric
from gateway.openapi.catalogue import grouped
from gateway.openapi.schemas import Json

_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH: Final = 24  # Grafana's grid
_HEIGHT: Final = 8
_UNITS: Final = {"_seconds": "s", "_bytes": "bytes", "_ratio": "percentunit"}
_COLOURS: Final = {
    "green": "green",
    "amber": "orange",
    "red": "red",
    "starting": "orange",
    "serving": "green",
    "draining": "blue",
    "acks-stopped": "red",
    "spool-filling": "red",
    "overload": "red",
    "lag-unknown": "orange",
    "floor": "orange",
    "ceiling": "green",
    "consumption": "green",
}
_CODE: Final = re.compile(r"\b(\d+) ([a-z][a-z -]*[a-z])")


class Line(NamedTuple):
    """One query of a panel."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One drawing: of which metrics its description tells, and what it asks for."""

    title: str
    of: tuple[str, ...]
    lines: tuple[Line, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8


def at(name: str, labels: str = "", suffix: str = "") -> str:
    """A selector of the chosen fleet and machines.  A name that is not in the catalogue is a KeyError."""
    metric = BY_NAME[f"sluicegate_{name}"]
    return f'{metric.name}{suffix}{{job="$job", instance=~"$instance"{", " if labels else ""}{labels}}}'


def per_s(name: str, by: str = "", labels: str = "", suffix: str = "") -> str:
    """What a counter grows by a second, by the values of a label."""
    return f"sum by ({by}) (rate({at(name, labels, suffix)}[$__rate_interval]))"


def largest(name: str, by: str = "", labels: str = "") -> str:
    """Of a gauge."""
    return f"max by ({by}) ({at(name, labels)})"


def quantile(share: float, name: str) -> str:
    """Of a histogram."""
    return f"histogram_quantile({share:g}, {per_s(name, 'le', suffix='_bucket')})"


def _bad_share(window: str) -> str:
    bad, taken = 'route=~"syncs|signups", status=~"5.."', 'route=~"syncs|signups", status!~"4.."'
    return f"sum(rate({at('requests_total', bad)}[{window}])) / sum(rate({at('requests_total', taken)}[{window}]))"


def _slow_share(window: str) -> str:
    quick = 'le="0.5"'
    return f"1 - sum(rate({at('ack_seconds', quick, '_bucket')}[{window}])) / sum(rate({at('ack_seconds', suffix='_count')}[{window}]))"


QUESTIONS: Final[Mapping[str, tuple[Panel, ...]]] = {
    "Is it up?": (
        Panel("Workers that serve", ("worker_state",), (Line(f"sum({at('worker_state')} == bool 2)", "serving"),), kind="stat", width=4),
        Panel("Lights", ("light",), (Line(largest("light", "dependency"), "{{dependency}}"),), kind="state-timeline", width=10),
        Panel("Workers", ("worker_state",), (Line(at("worker_state"), "{{instance}} {{worker}}"),), kind="state-timeline", width=10),
        Panel("Answered 5xx, of what had to be taken", ("requests_total",), (Line(_bad_share("5m"), "5 min"), Line(_bad_share("1h"), "1 h")), "percentunit"),
        Panel("Acknowledged later than 0.5 s", ("ack_seconds",), (Line(_slow_share("5m"), "5 min"), Line(_slow_share("1h"), "1 h")), "percentunit"),
        Panel("Events", ("events_total",), (Line(per_s("events_total", "topic, outcome"), "{{topic}} {{outcome}}"),), "cps"),
    ),
    "How many wait, and how long?": (
        Panel("In line", ("room_depth", "room_lobby"), (Line(largest("room_depth"), "in line"), Line(largest("room_lobby"), "called"))),
        Panel(
            "The wait of who joins now, and of who is next",
            ("room_estimate_seconds", "room_waiting_oldest_seconds"),
            (
                Line(largest("room_estimate_seconds", "estimate"), "told, {{estimate}}"),
                Line(largest("room_waiting_oldest_seconds"), "who is next has waited"),
            ),
            "s",
        ),
        Panel(
            "How long people had waited when they came through",
            ("room_wait_seconds",),
            (Line(per_s("room_wait_seconds", "le", suffix="_bucket"), "{{le}}"),),
            "s",
            "heatmap",
        ),
        Panel("Joins", ("room_joins_total",), (Line(per_s("room_joins_total", "result"), "{{result}}"),), "cps"),
        Panel("People who give up", ("room_leaving_per_second",), (Line(largest("room_leaving_per_second"), "leave"),), "cps"),
        Panel(
            "How wrong the first estimate was",
            ("room_estimate_error_seconds",),
            (Line(per_s("room_estimate_error_seconds", "le", suffix="_bucket"), "{{le}}"),),
            "s",
            "heatmap",
        ),
    ),
    "Does it drain at its rate?": (
        Panel(
            "Through the door, and its rate",
            ("room_passes", "room_rate_per_second"),
            (Line(f"max(deriv({at('room_passes')}[$__rate_interval]))", "through"), Line(largest("room_rate_per_second"), "rate")),
            "cps",
        ),
        Panel("Why the door has this rate", ("room_reason",), (Line(largest("room_reason"), "reason"),), kind="state-timeline"),
        Panel("Knocks", ("room_knocks_total",), (Line(per_s("room_knocks_total", "result"), "{{result}}"),), "cps"),
    ),
    "What is the bottleneck?": (
        Panel("Until Kafka has acknowledged", ("ack_seconds",), (Line(per_s("ack_seconds", "le", suffix="_bucket"), "{{le}}"),), "s", "heatmap"),
        Panel(
            "The same: half, and all but one in a hundred",
            ("ack_seconds",),
            (Line(quantile(0.5, "ack_seconds"), "p50"), Line(quantile(0.99, "ack_seconds"), "p99")),
            "s",
        ),
        Panel("Oldest unacknowledged batch", ("unacked_age_seconds",), (Line(largest("unacked_age_seconds", "instance"), "{{instance}}"),), "s"),
        Panel(
            "The fullest spool, of what it may take",
            ("spool_bytes", "spool_waiting_bytes", "spool_max_bytes"),
            (
                Line(f"max by (instance) ({at('spool_bytes')} / ({at('spool_max_bytes')} > 0))", "{{instance}}"),
                Line(f"max by (instance) ({at('spool_waiting_bytes')} / ({at('spool_max_bytes')} > 0))", "{{instance}} waits"),
            ),
            "percentunit",
        ),
        Panel(
            "Records in the spool",
            ("spool_records", "spool_aside_records"),
            (
                Line(f"sum by (instance) ({at('spool_records')})", "{{instance}} wait"),
                Line(f"sum by (instance) ({at('spool_aside_records')}) > 0", "{{instance}} aside"),
            ),
        ),
        Panel("The oldest record in the spool", ("spool_oldest_seconds",), (Line(largest("spool_oldest_seconds", "instance"), "{{instance}}"),), "s"),
        Panel("Sign-ups that downstream has not consumed", ("room_consumer_lag",), (Line(largest("room_consumer_lag"), "lag"),)),
        Panel("How late event loops run", ("loop_lag_seconds",), (Line(largest("loop_lag_seconds", "instance, worker"), "{{instance}} {{worker}}"),), "s"),
        Panel(
            "Cores",
            ("worker_cpu_ratio", "supervisor_cpu_ratio"),
            (Line(at("worker_cpu_ratio"), "{{instance}} {{worker}}"), Line(at("supervisor_cpu_ratio"), "{{instance}} supervisor")),
            "percentunit",
        ),
        Panel(
            "Requests at once, and how many may be",
            ("overload_in_flight", "overload_limit"),
            (Line(f"sum({at('overload_in_flight')})", "in flight"), Line(f"sum({at('overload_limit')})", "limit")),
        ),
        Panel(
            "Limits decided without Redis",
            ("limiter_degraded", "limiter_answers_total"),
            (
                Line(f"sum({at('limiter_degraded')})", "workers without"),
                Line(per_s("limiter_answers_total", "source", 'source!="store"'), "{{source}} per second"),
            ),
        ),
        Panel("Probes", ("probe_seconds",), (Line(largest("probe_seconds", "dependency"), "{{dependency}}"),), "s"),
    ),
    "What changed?": (
        Panel("Refusals", ("refusals_total",), (Line(f"{per_s('refusals_total', 'code')} > 0", "{{code}}"),), "cps"),
        Panel("Answers", ("requests_total",), (Line(f"{per_s('requests_total', 'route, status')} > 0", "{{route}} {{status}}"),), "cps"),
        Panel("Refused by overload", ("overload_refused_total",), (Line(per_s("overload_refused_total", "class"), "{{class}}"),), "cps"),
        Panel(
            "Starts of workers",
            ("worker_starts_total",),
            (Line(f"sum by (instance) (increase({at('worker_starts_total')}[$__rate_interval]))", "{{instance}}"),),
        ),
        Panel(
            "Producers built anew, batches lost or late",
            ("kafka_rebuilds_total", "kafka_batches_total"),
            (Line(per_s("kafka_rebuilds_total"), "rebuilt"), Line(per_s("kafka_batches_total", "result", 'result!="acked"'), "{{result}}")),
            "cps",
        ),
        Panel(
            "Replayed from the spool, and refused after their 202",
            ("spool_replayed_total", "spool_rejected_total"),
            (Line(per_s("spool_replayed_total"), "replayed"), Line(per_s("spool_rejected_total"), "rejected")),
            "cps",
        ),
        Panel(
            "Acts of operators", ("operator_acts_total",), (Line(f"sum by (result) (increase({at('operator_acts_total')}[$__rate_interval]))", "{{result}}"),)
        ),
    ),
}


def dashboard() -> str:
    """The whole file."""
    return json.dumps(_board(), indent=2, ensure_ascii=False) + "\n"


def _board() -> Json:
    return {
        "title": "Sluicegate",
        "description": "Generated by `python -m gateway.openapi --write` from gateway/metrics.py; changes made here are lost.",
        "tags": ["sluicegate"],
        "editable": True,
        "schemaVersion": 39,
        "version": 1,
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "graphTooltip": 1,
        "templating": {"list": list(_variables())},
        "annotations": {"list": list(_annotations())},
        "panels": list(_panels()),
    }


def _variables() -> Iterator[Json]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    state = BY_NAME["sluicegate_worker_state"].name
    for name, label, query, many in (
        ("job", "fleet", f"label_values({state}, job)", False),
        ("instance", "machine", f'label_values({state}{{job="$job"}}, instance)', True),
    ):
        choice: Json = {"includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}} if many else {}
        yield {"name": name, "label": label, "type": "query", "datasource": _SOURCE, "query": query, "refresh": 2, **choice}


def _annotations() -> Iterator[Json]:
    """Lines through every panel: what happened."""
    applied = 'result=~"applied|kept"'
    for name, colour, grown, text in (
        ("Restarts of workers", "red", at("worker_starts_total"), "{{instance}}: workers started"),
        ("Acts of operators", "blue", at("operator_acts_total", applied), "{{instance}}: an operator's act"),
    ):
        expr = f"sum by (instance) (increase({grown}[1m])) > 0"
        yield {"name": name, "enable": True, "iconColor": colour, "datasource": _SOURCE, "expr": expr, "step": "1m", "titleFormat": text}


# Panels, row by row


def _panels() -> Iterator[Json]:
    y, number, shown = 0, 0, set()
    for title, panels in QUESTIONS.items():
        yield _row(title, y, number := number + 1)
        drawn = list(_laid_out(panels, y + 1, number))
        yield from drawn
        y, number = _bottom(drawn), number + len(drawn)
        shown |= {f"sluicegate_{name}" for panel in panels for name in panel.of}
    for group, metrics in grouped().items():
        rest = tuple(_plain(metric) for metric in metrics if metric.name not in shown)
        if rest:
            row = _row(f"More: {group.title}", y, number := number + 1)
            drawn = list(_laid_out(rest, y + 1, number))
            y, number = y + 1, number + len(drawn)
            yield row | {"collapsed": True, "panels": drawn}


def _row(title: str, y: int, number: int) -> Json:
    return {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": y, "w": _WIDTH, "h": 1}}


def _laid_out(panels: tuple[Panel, ...], y: int, number: int) -> Iterator[Json]:
    """From left to right, and on in the next line where the grid ends."""
    x = 0
    for panel in panels:
        if x + panel.width > _WIDTH:
            x, y = 0, y + _HEIGHT
        number += 1
        yield _drawn(panel, number) | {"gridPos": {"x": x, "y": y, "w": panel.width, "h": _HEIGHT}}
        x += panel.width


def _bottom(drawn: list[Json]) -> int:
    return max(int(panel["gridPos"]["y"]) for panel in drawn) + _HEIGHT


def _drawn(panel: Panel, number: int) -> Json:
    is_heat = panel.kind == "heatmap"
    metrics = [BY_NAME[f"sluicegate_{name}"] for name in panel.of]
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": _SOURCE,
            "expr": line.expr,
            "legendFormat": line.legend,
            "format": "heatmap" if is_heat else "time_series",
        }
        for index, line in enumerate(panel.lines)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": "\n\n".join(f"`{metric.name}`: {metric.meaning} {metric.remedy}" for metric in metrics),
        "datasource": _SOURCE,
        "targets": targets,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "mappings": [_words(metrics[0])] if panel.kind == "state-timeline" else []},
            "overrides": [],
        },
        "options": {"calculate": False, "yAxis": {"unit": panel.unit}} if is_heat else {},
    }


def _words(metric: Metric) -> Json:
    """What the numbers of a gauge stand for, as its meaning lists them."""
    words = {number: {"text": word, "color": _COLOURS.get(word, "text")} for number, word in _CODE.findall(metric.meaning)}
    return {"type": "value", "options": words}


def _plain(metric: Metric) -> Panel:
    """How a metric is drawn that no question asks for."""
    name, labels = metric.name.removeprefix("sluicegate_"), [label for label, _ in metric.labels]
    legend = " ".join(f"{{{{{label}}}}}" for label in labels)
    unit = next((unit for ending, unit in _UNITS.items() if metric.name.removesuffix("_total").endswith(ending)), "short")
    match metric.kind:
        case "counter":
            line, unit, kind = Line(per_s(name, ", ".join(labels)), legend or "per second"), "Bps" if unit == "bytes" else "cps", "timeseries"
        case "histogram":
            line, kind = Line(per_s(name, "le", suffix="_bucket"), "{{le}}"), "heatmap"
        case "gauge":
            line, kind = Line(largest(name, ", ".join(["instance", *labels])), f"{{{{instance}}}} {legend}".strip()), "timeseries"
    return Panel(metric.name, (name,), (line,), unit, kind)
