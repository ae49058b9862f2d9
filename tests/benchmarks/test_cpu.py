"""benchmarks/cpu.py: whose time is counted, and that it is time at all."""

import os
import subprocess
import sys
import time

import pytest

from benchmarks import cpu

BURN_AND_WAIT = "import sys; sum(range(3_000_000)); print('burnt', flush=True); sys.stdin.read()"


def test_a_name_may_hold_anything() -> None:
    """Blanks and parentheses in the program's name do not shift the fields."""
    assert cpu.parse_stat("12 (python) S 7 12 12 0 -1 4194560\n") == (12, 7)
    assert cpu.parse_stat("12 (a) b (c) 9) R 7 12 12 0 -1\n") == (12, 7)


def test_tree_is_the_root_and_all_below_it() -> None:
    """Grandchildren are in it, parents and strangers are not."""
    parent_of = {1: 0, 10: 1, 11: 10, 12: 10, 13: 12, 20: 1}
    assert sorted(cpu.tree(10, parent_of)) == [10, 11, 12, 13]


def test_own_clock_lies_between_two_looks_at_it() -> None:
    """The clock read by process id is the one this process reads of itself."""
    before_ns = time.process_time_ns()
    read_ns = cpu.cpu_ns(os.getpid())
    assert before_ns <= read_ns <= time.process_time_ns()


def test_what_a_child_burns_is_counted_and_not_as_the_roots() -> None:
    """The worker's time is in the tree's, and apart from the supervisor's."""
    before = cpu.read(os.getpid())
    command = [sys.executable, "-c", BURN_AND_WAIT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        after = cpu.read(os.getpid())
        assert child.pid in after.clocks_ns
        assert child.stdin is not None
        child.stdin.close()
    spent = cpu.spent(before, after)
    assert spent.cpu_ns - spent.root_cpu_ns >= after.clocks_ns[child.pid][0] > 0


def test_readings_are_subtracted_process_by_process() -> None:
    """Root and child each from their own start; who came in between counts in full."""
    before = cpu.Reading(1, {1: (100, 10), 2: (1_000, 50)})
    after = cpu.Reading(1, {1: (130, 15), 2: (1_700, 70), 3: (5, 1)})
    assert cpu.spent(before, after) == cpu.Spent(cpu_ns=735, root_cpu_ns=30, waited_ns=26)


def test_who_ended_in_between_spoils_the_reading() -> None:
    """Its time is gone with it: no figure is better than a low one."""
    with pytest.raises(cpu.ProcessGoneError, match=r"\[2\]"):
        cpu.spent(cpu.Reading(1, {1: (1, 0), 2: (9, 0)}), cpu.Reading(1, {1: (2, 0)}))


def test_a_root_that_has_ended_is_said() -> None:
    """Not a zero."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    with pytest.raises(cpu.ProcessGoneError, match="has ended"):
        cpu.read(child.pid)
