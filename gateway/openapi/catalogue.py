"""docs/metrics.md: the catalogue of metrics as an operator looks things up, by what it is about.

Decided here: the groups, the unit a name says, and which alert looks at which metric.  The words are those of
gateway/metrics.py; the alerts are read from deploy/prometheus/alerts.yml, whose few lines of structure are
understood here, for PyYAML is no dependency of the gateway.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from gateway.errors import PROBLEMS
from gateway.metrics import BY_NAME, CATALOGUE, Metric
from gateway.openapi.schemas import GENERATED


class Group(NamedTuple):
    """What is looked at together.  A metric is of the first group of which its name begins so."""

    title: str
    asks: str
    beginnings: tuple[str, ...]


GROUPS: Final = (
    Group("The path", "What comes in, and what becomes of it?", ("requests_", "refusals_", "events_", "body_", "tokens_")),
    Group("Kafka", "Does it acknowledge, and how fast?", ("ack_", "unacked_", "kafka_", "in_flight_")),
    Group("The spool", "What does this machine's disk hold for Kafka, and does it drain?", ("spool_",)),
    Group("The loss audit", "Is what was acknowledged on record?", ("audit_",)),
    Group("Limits", "Who is over a quota, and does Redis decide?", ("limits_", "limiter_", "redis_")),
    Group("The line", "How many wait, how long, and how fast does the door let them in?", ("room_",)),
    Group("Overload", "How much is taken at once, and who is refused?", ("overload_",)),
    Group("Connections", "How many are open?", ("connections",)),
    Group("Processes", "Do the workers live, and have they room left?", ("worker_", "loop_lag_", "heartbeat_", "supervisor_")),
    Group("The screen", "What does the operators' screen say, and to how many?", ("light", "probe_", "viewers", "operator_")),
)

_UNITS: Final = {"_seconds": "seconds", "_bytes": "bytes", "_ratio": "share, 0 to 1", "_per_second": "per second"}
_COUNTED: Final = {"counter": "count", "gauge": "number"}
_SUFFIXES: Final = ("_bucket", "_sum", "_count")  # of a histogram's series


def grouped() -> Mapping[Group, tuple[Metric, ...]]:
    """Every metric, in its group, in the catalogue's order.

    Raises:
        ValueError: one is in none: it needs a group, or a beginning that an existing one has.
    """
    found: dict[Group, list[Metric]] = {group: [] for group in GROUPS}
    for metric in CATALOGUE:
        of = [group for group in GROUPS if metric.name.removeprefix("sluicegate_").startswith(group.beginnings)]
        if not of:
            raise ValueError(f"{metric.name} is in no group: want one in gateway/openapi/catalogue.py")
        found[of[0]].append(metric)
    return {group: tuple(metrics) for group, metrics in found.items()}


def unit_of(metric: Metric) -> str:
    """What its numbers count, as the name says."""
    name = metric.name.removesuffix("_total")
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), _COUNTED.get(metric.kind, "number"))


def family_of(series: str) -> Metric | None:
    """The metric that a name in a query belongs to; None where there is none."""
    if series in BY_NAME:
        return BY_NAME[series] if BY_NAME[series].kind != "histogram" else None
    for suffix in _SUFFIXES:
        metric = BY_NAME.get(series.removesuffix(suffix)) if series.endswith(suffix) else None
        if metric is not None and metric.kind == "histogram":
            return metric
    return None


# Alerts

_RULE: Final = re.compile(r"^ +- (?P<kind>alert|record): (?P<name>\S+)\n(?P<body>(?:(?! +- (?:alert|record|name): ).*\n)*)", re.MULTILINE)
_NAME: Final = re.compile(r"\b(?:job:)?sluicegate_\w+(?::\w+)?")


def alerts_by_metric(rules: str) -> Mapping[str, tuple[str, ...]]:
    """Which alerts look at each metric, also by way of what is recorded.  Args: rules: the text of alerts.yml."""
    names: dict[str, set[str]] = {}
    alerts: list[str] = []
    for rule in _RULE.finditer(rules):
        # What is said below an expression names metrics as well, and looks at none.
        said = set(_NAME.findall(rule["body"].partition("labels:")[0]))
        names[rule["name"]] = set().union(*(names.get(name, {name}) for name in said))
        alerts += [rule["name"]] if rule["kind"] == "alert" else []
    found: dict[str, list[str]] = {}
    for alert in alerts:
        families = {metric.name for name in names[alert] if (metric := family_of(name)) is not None}
        for family in families:
            found.setdefault(family, []).append(alert)
    return {name: tuple(of) for name, of in found.items()}


# The page

_HEAD: Final = f"""\
<!-- {GENERATED} -->

# Metrics

Every metric there is, from the catalogue in `gateway/metrics.py`. The operators' port serves them at `/metrics` in the
Prometheus text format. Labels take their values from closed lists, so the number of series never grows with traffic,
nor with restarts. Counters and histograms are summed over a machine's processes and outlive them; gauges name their
`worker`, but those *of the machine*, which the supervisor sets. Gauges of the line are the same on every machine that
shares it: take the largest, not the sum.

Alerts are in [deploy/prometheus/alerts.yml](../deploy/prometheus/alerts.yml), a Grafana dashboard of all this in
[deploy/grafana/sluicegate.json](../deploy/grafana/sluicegate.json).

"""


def page(rules: str) -> str:
    """All of docs/metrics.md.  Args: rules: the text of alerts.yml."""
    return _HEAD + "\n".join([*_contents(), "", *_sections(alerts_by_metric(rules))])


def _contents() -> Iterator[str]:
    yield from ("| look at | when you ask |", "| --- | --- |")
    for group in GROUPS:
        yield f"| [{group.title}](#{group.title.lower().replace(' ', '-')}) | {group.asks} |"


def _sections(alerts: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for group, metrics in grouped().items():
        yield from (f"## {group.title}", "", group.asks, "")
        for metric in metrics:
            yield from (f"### `{metric.name}`", "", *_facts(metric), "")
            yield from (metric.meaning, "", f"*Do:* {metric.remedy}", "")
            if of := alerts.get(metric.name):
                yield from ("*Alerts:* " + ", ".join(f"[{alert}](operations.md#{alert.lower()})" for alert in of), "")


def _facts(metric: Metric) -> Iterator[str]:
    """Kind and unit, then a line for each label."""
    whose = "" if metric.kind != "gauge" else ", of the machine" if metric.is_supervisors else ", of each `worker`"
    yield f"{metric.kind}{whose}; {unit_of(metric)}"
    for label, values in metric.labels:
        yield f"* `{label}`: {_values(values)}"
    if metric.buckets:
        yield f"* `le`: {', '.join(f'{bound:g}' for bound in metric.buckets)}"


def _values(values: tuple[str, ...]) -> str:
    return "every `code` of [api.md](api.md)" if values == tuple(PROBLEMS) else ", ".join(f"`{value}`" for value in values)
