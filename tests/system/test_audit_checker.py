"""audit_checker.py: what `make audit-checker` shows at length, in seconds; and that the runs it judges are no idle ones."""

from collections import Counter
from collections.abc import Callable

import pytest

from loadtests.recording import Fate
from tests.system import real_bugs
from tests.system.audit_checker import CAUGHT_AS, REAL_RUNS_MAX, RUNS_MAX, caught, false_alarms, of_code, of_model
from tests.system.faulty_machine import Machine
from tests.system.faulty_spool import Bug
from tests.system.judgement import Kind
from tests.system.real_bugs import Seeded
from tests.system.real_machine import RealMachine


def test_fifty_runs_without_a_bug_raise_no_alarm() -> None:
    assert not list(false_alarms(of_model(), 50))


@pytest.mark.parametrize(("bug", "kinds"), [(bug, kinds) for bug, kinds in CAUGHT_AS.items() if kinds], ids=lambda value: getattr(value, "name", ""))
def test_every_seeded_bug_is_caught_as_what_it_is(bug: Bug, kinds: frozenset[Kind]) -> None:
    found = caught(of_model(bug), kinds, RUNS_MAX)
    assert found is not None
    assert found.finding.evidence


def test_an_honest_unknown_is_no_finding() -> None:
    assert not list(false_alarms(of_model(Bug.HONEST_UNKNOWN), 10))


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


# The gateway's own delivery and spool


def test_the_code_without_a_bug_raises_no_alarm() -> None:
    happened, fates, spooled, replayed, rejected = Counter[str](), Counter[Fate](), 0, 0, 0
    for seed in range(8):
        machine = RealMachine(seed)
        judgement = machine.run()
        assert not judgement.findings
        assert (judgement.in_spool, machine.bugs_heard) == (0, 0)  # all is mended in the end, and delivered
        happened.update(machine.happened)
        for send in machine.history.sends:
            fates.update(send.fates)
        spooled += machine.kept["spool"]
        replayed += judgement.copies
        rejected += judgement.rejected
    assert set(happened) == {"kill -9", "SIGTERM", "power cut", "kafka paused", "kafka killed", "kafka forgets to say", "disk fails", "mended"}
    assert set(fates) == set(Fate)
    assert min(spooled, replayed, rejected) > 10


@pytest.mark.parametrize(("bug", "kinds"), real_bugs.CAUGHT_AS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_every_bug_in_the_code_is_caught_as_what_it_is(bug: Callable[[], Seeded], kinds: frozenset[Kind]) -> None:
    found = caught(of_code(bug), kinds, REAL_RUNS_MAX)
    assert found is not None
    assert found.finding.evidence
