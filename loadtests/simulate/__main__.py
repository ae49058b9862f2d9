"""A rehearsal in virtual time: a million people over the gateway's pure rules, without a server, on one core.

    python -m loadtests.simulate --scenario dec18 --people 1000000     a scenario file, the whole front, the same report
    python -m loadtests.simulate --scenario dec18                      the same with as many people as `make rehearse` sends
    python -m loadtests.simulate [--table] [--scenario base surge]     the line alone, in a table (line.py)

What is simulated and what is only a model: front.py.  Exit codes are a rehearsal's, but there is no 3: nobody
generates anything.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from loadtests import report
from loadtests.judge import slo
from loadtests.result import Result, Verdict
from loadtests.scenario import ScenarioError
from loadtests.scenario_file import load
from loadtests.simulate import line as simulate_line
from loadtests.simulate.front import Front
from loadtests.simulate.plan import plan
from loadtests.simulate.verdict import judged

OUT: Final = Path("var") / "rehearsals"
LINES: Final = frozenset(scenario.name for scenario in simulate_line.SCENARIOS)


def main(arguments: Sequence[str]) -> int:
    """The table, or a scenario's verdict; returns the exit code."""
    parser = argparse.ArgumentParser(prog="simulate", description="An opening day in virtual time.")
    parser.add_argument("--table", action="store_true", help="the line alone: what chose the rules of core/waiting.py; the default")
    parser.add_argument("--scenario", nargs="+", default=[], help=f"of loadtests/scenarios, or a .toml file; of the table: {', '.join(sorted(LINES))}")
    parser.add_argument(
        "--people", type=int, help="applicants, or members where nobody applies; the city grows with them (default: as the scenario says; of the table 200,000)"
    )
    parser.add_argument("--workers", type=int, help="processes of the gateway (default: as the scenario says, 16 for a city that grew; of the table 4)")
    parser.add_argument("--rate", type=float, help="of the table: people a second through the door")
    parser.add_argument("--seed", type=int, default=1, help="of the table")
    parser.add_argument("--out", type=Path, default=OUT, help=f"where reports go (default: {OUT})")
    options = parser.parse_args(arguments)
    for name, count in (("people", options.people), ("workers", options.workers)):
        if count is not None and count < 1:
            print(f"simulate: --{name} {count}: want 1 or more", file=sys.stderr)
            return Verdict.BROKE
    if options.table or set(options.scenario) <= LINES:
        return simulate_line.table(options.scenario or sorted(LINES), options.people or 200_000, options.rate, options.workers or 4, options.seed)
    codes = [_front(name, options) for name in options.scenario]
    return max(codes)


def _front(name: str, options: argparse.Namespace) -> int:
    """One scenario file."""
    try:
        made = plan(load(name, slo.METRICS), options.people, options.workers)
    except ScenarioError as error:
        print(f"simulate: {error}", file=sys.stderr)
        return Verdict.BROKE
    print(f"{made.scenario.name}: {len(made.people.meant_s):,} arrivals, {made.scenario.gateway.workers} workers", flush=True)
    began_s, front = time.perf_counter(), Front(made)
    front.run(tell=True)
    played_s = time.perf_counter() - began_s
    print(f"  played {front.now_s:,.0f} s in {played_s:,.0f} s; judging", flush=True)
    result = judged(front, played_s)
    directory: Path = options.out / f"{made.scenario.name}-simulated-{time.strftime('%Y%m%d-%H%M%S')}"
    report.write(directory, result)
    _say(result)
    print(f"{result.name}: {result.verdict.name}; {directory / 'report.html'}; {time.perf_counter() - began_s:,.0f} s in all", flush=True)
    return result.verdict


def _say(result: Result) -> None:
    for row in result.slo:
        print(f"  {'met   ' if row.is_met else 'MISSED'} {row.phase:18} {row.metric:32} {row.shown:>14}  {row.bound}")
    for reason in result.reasons:
        print(f"  {reason}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
