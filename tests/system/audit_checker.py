"""The checker, checked: clean runs raise no alarm, every seeded bug raises the right one.

    python -m tests.system.audit_checker --clean 200

One line per bug: after how many runs it was caught, as what, and the first piece of evidence.  A run is a seed:

    the model   faulty_delivery.py: some five hundred samples through two workers, eight phones, Kafka and a disk, with a
                dozen faults.  What may go wrong anywhere between a phone and Kafka
    the code    real_machine.py: a thousand samples through the gateway's own delivery and spool, with sixty faults.  Bugs
                are patched into it (real_bugs.py)
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter
from typing import Final, NamedTuple

from tests.system import real_bugs
from tests.system.faulty_machine import Machine
from tests.system.faulty_spool import Bug
from tests.system.judgement import Finding, Judgement, Kind
from tests.system.real_bugs import Seeded
from tests.system.real_machine import RealMachine

RUNS_MAX: Final = 200  # who is not caught in so many was missed
REAL_RUNS_MAX: Final = 40  # each has a hundred times as much to do

# What each bug shows itself as.  None: it is no bug, and must not be taken for one.
CAUGHT_AS: Final[Mapping[Bug, frozenset[Kind] | None]] = {
    Bug.ACK_BEFORE_PRODUCE: frozenset({Kind.MISSING}),
    Bug.ACK_BEFORE_FSYNC: frozenset({Kind.MISSING}),
    Bug.FSYNC_RETRIED: frozenset({Kind.MISSING}),
    Bug.FAILED_COPY_DENIED: frozenset({Kind.REFUSED}),
    Bug.UNLINKED_EARLY: frozenset({Kind.MISSING}),
    Bug.CUT_TOO_FAR: frozenset({Kind.MISSING}),
    Bug.SPOOL_OVERTAKEN: frozenset({Kind.ORDER}),
    Bug.LATE_ACK_OF_ANOTHER: frozenset({Kind.MISSING, Kind.ORDER}),
    Bug.LATE_ACK_CANCELS_ALL: frozenset({Kind.MISSING}),
    Bug.DRAIN_FORGETS: frozenset({Kind.MISSING}),
    Bug.ADOPTION_RACE: frozenset({Kind.MISSING}),
    Bug.SEQUENCES_REUSED: frozenset({Kind.MISSING}),
    Bug.REFUSED_AND_STORED: frozenset({Kind.REFUSED}),
    Bug.REPLAY_ALTERED: frozenset({Kind.CHANGED}),
    Bug.REPLAY_UNMARKED: frozenset({Kind.DUPLICATE}),
    Bug.RESENT_FROM_MEMORY: frozenset({Kind.DUPLICATE}),
    Bug.REPEAT_BY_SEQ: frozenset({Kind.MISSING}),
    Bug.FIRST_SPEAKS_FOR_ALL: frozenset({Kind.MISSING}),
    Bug.REJECTED_FORGOTTEN: frozenset({Kind.MISSING}),
    Bug.HONEST_UNKNOWN: None,
}


class Caught(NamedTuple):
    """A bug at the first run that shows it."""

    runs: int
    finding: Finding


Run = Callable[[int], Judgement]
"""A seed's."""


def of_model(bug: Bug | None = None) -> Run:
    return lambda seed: Machine(seed, bug).run()


def of_code(bug: Callable[[], Seeded] | None = None) -> Run:
    def run(seed: int) -> Judgement:
        if bug is None:
            return RealMachine(seed).run()
        with bug():
            return RealMachine(seed).run()

    return run


def false_alarms(run: Run, runs: int) -> Iterator[tuple[int, Finding]]:
    """(seed, finding) of runs in which nothing is wrong."""
    for seed in range(runs):
        yield from ((seed, finding) for finding in run(seed).findings)


def caught(run: Run, kinds: frozenset[Kind], runs_max: int) -> Caught | None:
    """None: not within so many."""
    for seed in range(runs_max):
        for finding in run(seed).findings:
            if finding.kind in kinds:
                return Caught(seed + 1, finding)
    return None


def _is_quiet(what: str, run: Run, runs: int) -> bool:
    alarms = list(false_alarms(run, runs))
    print(f"{what}: {runs} runs without a bug, {len(alarms)} alarms")
    for seed, finding in alarms[:5]:
        print(f"  seed {seed}: {finding.kind}: {finding.evidence}")
    return not alarms


def _is_caught(bug: str, run: Run, kinds: frozenset[Kind], runs_max: int) -> bool:
    found = caught(run, kinds, runs_max)
    print(f"{bug:82} {found.finding.kind if found else 'MISSED':10} {found.runs if found else runs_max:4}", flush=True)
    if found:
        print(f"    {found.finding.evidence}")
    return found is not None


def main(clean_runs: int) -> int:
    """Print the tables; 1 where the checker failed."""
    logging.disable()  # of a gateway whose world breaks all the time
    began_s = perf_counter()
    good = [_is_quiet("the model", of_model(), clean_runs), _is_quiet("the code", of_code(), clean_runs // 4)]
    few = min(clean_runs, 50)
    good.append(_is_quiet(f"the model, {Bug.HONEST_UNKNOWN}", of_model(Bug.HONEST_UNKNOWN), few))
    print(f"\n{'bug of the model':82} {'caught as':10} {'runs':>4}")
    good += [_is_caught(bug, of_model(bug), kinds, RUNS_MAX) for bug, kinds in CAUGHT_AS.items() if kinds is not None]
    print(f"\n{'bug patched into the code':82} {'caught as':10} {'runs':>4}")
    good += [_is_caught(bug.__name__.replace("_", " "), of_code(bug), kinds, REAL_RUNS_MAX) for bug, kinds in real_bugs.CAUGHT_AS.items()]
    print(f"\n{perf_counter() - began_s:.0f} s: {'every bug was caught, nothing else was' if all(good) else 'the checker FAILED'}")
    return int(not all(good))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", type=int, default=200, help="so many runs without a bug (200)")
    sys.exit(main(parser.parse_args().clean))
