"""The checker, checked: clean runs raise no alarm, every seeded bug raises the right one.

    python -m tests.system.audit_checker --clean 200

One line per bug: after how many runs it was caught, as what, and the first piece of evidence.  A run is a seed of
faulty_delivery.py: some five hundred samples through two workers, eight phones, Kafka and a disk, with a dozen faults.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Final, NamedTuple

from tests.system.faulty_delivery import Bug
from tests.system.faulty_machine import Machine
from tests.system.judgement import Finding, Kind

RUNS_MAX: Final = 200  # who is not caught in so many was missed

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


def false_alarms(runs: int, bug: Bug | None = None) -> Iterator[tuple[int, Finding]]:
    """(seed, finding) of runs in which nothing is wrong."""
    for seed in range(runs):
        yield from ((seed, finding) for finding in Machine(seed, bug).run().findings)


def caught(bug: Bug, kinds: frozenset[Kind]) -> Caught | None:
    """None: not within RUNS_MAX."""
    for seed in range(RUNS_MAX):
        for finding in Machine(seed, bug).run().findings:
            if finding.kind in kinds:
                return Caught(seed + 1, finding)
    return None


def main(clean_runs: int) -> int:
    """Print the table; 1 where the checker failed."""
    began_s = perf_counter()
    alarms = list(false_alarms(clean_runs))
    print(f"{clean_runs} runs without a bug, {len(alarms)} alarms")
    for seed, finding in alarms[:5]:
        print(f"  seed {seed}: {finding.kind}: {finding.evidence}")
    failed = bool(alarms)
    print(f"\n{'bug':82} {'caught as':10} {'runs':>4}")
    for bug, kinds in CAUGHT_AS.items():
        if kinds is None:
            quiet = next(false_alarms(min(clean_runs, 50), bug), None) is None
            print(f"{bug:82} {'-' if quiet else 'ALARM':10} {min(clean_runs, 50):4}")
            failed |= not quiet
            continue
        found = caught(bug, kinds)
        failed |= found is None
        print(f"{bug:82} {found.finding.kind if found else 'MISSED':10} {found.runs if found else RUNS_MAX:4}")
        if found:
            print(f"    {found.finding.evidence}")
    print(f"\n{perf_counter() - began_s:.0f} s: {'the checker MISSED something' if failed else 'every bug was caught, nothing else was'}")
    return int(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", type=int, default=200, help="so many runs without a bug (200)")
    sys.exit(main(parser.parse_args().clean))
