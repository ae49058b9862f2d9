"""The report as a person reads it.  Pure: values in, text out."""

from collections.abc import Iterator, Sequence

from benchmarks.measure import Estimate
from benchmarks.report import ArmFigures, Report

HEADINGS: tuple[str, ...] = (
    *("arm", "requests/s", "CPU us/request", "CPU us/event", "ratio per event [95 %]"),
    *("to", "p50 ms", "p99 ms", "server", "generator"),
)


def text(report: Report, settings: dict[str, object], machine: dict[str, object]) -> str:
    """Return everything, top down: table, targets, what went wrong, machine."""
    parts = ["\n".join(rows(report)), "\n".join(remarks(report, settings))]
    if report.verdicts:
        parts.append("\n".join(targets(report)))
    if report.broken or report.bottlenecks:
        parts.append("\n".join(["The harness broke:", *report.broken, *report.bottlenecks]))
    parts.append("\n".join(f"{name}: {shown(value)}" for name, value in machine.items()))
    return "\n\n".join(parts)


def rows(report: Report) -> Iterator[str]:
    """Yield the table's lines."""
    cells = [HEADINGS, *(row(name, of, report) for name, of in report.arms.items())]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    for line in cells:
        name, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join([line[0].ljust(len(name)), *rest])


def row(name: str, of: ArmFigures, report: Report) -> tuple[str, ...]:
    """Return the cells of one arm."""
    reference, ratio = report.ratios.get(name, ("", None))
    return (
        name,
        f"{of.requests_per_s:,.0f}",
        f"{of.cpu_us_per_request:.1f}",
        f"{of.cpu_us_per_event:.1f}",
        interval(ratio) if ratio else "",
        # bare beside itself is not a comparison but the noise floor.
        "itself" if reference == name else reference,
        f"{of.p50_ms:.2f}",
        f"{of.p99_ms:.2f}",
        f"{of.server_busy:.0%}",
        f"{of.generator_busy:.0%}",
    )


def interval(ratio: Estimate) -> str:
    """Return `1.31 [1.28, 1.35]`, with the coverage where it is not what the heading says."""
    sure = "" if ratio.coverage >= 0.95 else f" ({ratio.coverage:.0%} only)"
    return f"{ratio.median:.3g} [{ratio.low:.3g}, {ratio.high:.3g}]{sure}"


def remarks(report: Report, settings: dict[str, object]) -> Iterator[str]:
    """Yield what the table cannot say."""
    yield "; ".join(f"{name}: {shown(value)}" for name, value in settings.items())
    yield "server, generator: share of one core used or waited for"
    for name, of in report.arms.items():
        if name.startswith("gateway"):
            yield f"{name}: the supervisor's share of that CPU is {of.supervisor_share:.1%}"
        if of.spooled:
            yield f"{name}: {of.spooled} answers came from the spool, not from Kafka"
        if of.bottleneck_rounds:
            yield f"{name}: the generator was the bottleneck in {of.bottleneck_rounds} rounds"


def targets(report: Report) -> Iterator[str]:
    """Yield one line per target."""
    for verdict in report.verdicts:
        yield f"target: {verdict.text}: {interval(verdict.measured)}: {verdict.words}"


def shown(value: object) -> str:
    """Write nested facts on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(str(inner) for inner in value)
    return str(value)
