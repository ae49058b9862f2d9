"""audit_checker.py: what `make audit-checker` shows at length, in seconds; and that the runs it judges are no idle ones."""

from collections import Counter

import pytest

from loadtests.recording import Fate
from tests.system.audit_checker import CAUGHT_AS, caught, false_alarms
from tests.system.faulty_delivery import Bug
from tests.system.faulty_machine import Machine
from tests.system.judgement import Kind


def test_fifty_runs_without_a_bug_raise_no_alarm() -> None:
    assert not list(false_alarms(50))


@pytest.mark.parametrize(("bug", "kinds"), [(bug, kinds) for bug, kinds in CAUGHT_AS.items() if kinds], ids=lambda value: getattr(value, "name", ""))
def test_every_seeded_bug_is_caught_as_what_it_is(bug: Bug, kinds: frozenset[Kind]) -> None:
    found = caught(bug, kinds)
    assert found is not None
    assert found.finding.evidence


def test_an_honest_unknown_is_no_finding() -> None:
    assert not list(false_alarms(10, Bug.HONEST_UNKNOWN))


def test_every_switch_is_examined() -> None:
    assert CAUGHT_AS.keys() == set(Bug)


def test_a_seed_has_one_course() -> None:
    first, second = Machine(3, None), Machine(3, None)
    assert first.run() == second.run()
    assert first.kafka.logs == second.kafka.logs


def test_the_runs_without_a_bug_see_every_fault_and_every_answer() -> None:
    """Else silence would prove nothing: replays, second copies, refusals, all kinds of faults are among what is judged."""
    happened, fates, copies, replayed, rejected = Counter[str](), Counter[Fate](), 0, 0, 0
    for seed in range(20):
        machine = Machine(seed, None)
        judgement = machine.run()
        happened.update(machine.happened)
        for send in machine.history.sends:
            fates.update(send.fates)
        copies += judgement.copies
        replayed += sum(one.is_replay for log in machine.kafka.logs for one in log)
        rejected += judgement.rejected
        assert judgement.in_spool == 0  # all is mended in the end, and delivered
    assert set(happened) == {"kill -9", "SIGTERM", "power cut", "kafka paused", "kafka killed", "disk full", "fsync fails"}
    assert set(fates) == set(Fate)
    assert min(copies, replayed, rejected) > 10
