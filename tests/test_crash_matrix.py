"""The crash matrix in small; and that it would notice: each bug that is planted here is found.

`make crash-matrix` is the long run.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import pytest

from gateway.core import record as form
from gateway.core.part import Part
from gateway.spool.segments import Group, Recovered, Segments
from tests import crash_matrix, simulated_disk
from tests.fakes import VirtualLoop
from tests.simulated_disk import SimulatedDisk

WORKLOADS: Final = 30
STATES_MIN: Final = 20_000
# Enough of them that each planted bug is met in the first.
PLANTED: Final = 4


def played(workloads: int, *, until_wrong: bool = False) -> crash_matrix.Tally:
    tally = crash_matrix.Tally()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        for seed in range(1, workloads + 1):
            runner.run(crash_matrix.run(seed, crash_matrix.STEPS, tally))
            if until_wrong and tally.violations:
                break
    return tally


def test_no_crash_loses_invents_or_reorders_a_record() -> None:
    tally = played(WORKLOADS)
    print(f"{tally.states:,} states, {tally.distinct:,} disks")
    assert tally.violations[:5] == []
    assert tally.states >= STATES_MIN


def acknowledged_before_the_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(simulated_disk._File, "sync", lambda _: None)


def a_failed_sync_tried_again(patch: pytest.MonkeyPatch) -> None:
    sync = simulated_disk._File.sync

    def again(file: simulated_disk._File) -> None:
        for _ in range(50):
            with contextlib.suppress(OSError):
                sync(file)
                break

    patch.setattr(simulated_disk._File, "sync", again)


def a_new_segments_name_not_synced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimulatedDisk, "sync_directory", lambda *_: None)


def removed_with_records_that_wait(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Part, "is_done", property(lambda part: part.is_sealed))


def a_segment_given_up_at_its_first_damage(patch: pytest.MonkeyPatch) -> None:
    recover = form.recover

    def until_damage(*args: Any) -> Iterator[form.Run | form.Gap]:
        for found in recover(*args):
            yield found
            if isinstance(found, form.Gap):
                return

    patch.setattr(form, "recover", until_damage)


def sequences_begun_anew(patch: pytest.MonkeyPatch) -> None:
    recovering = Segments.recovering

    def anew(segments: Segments, *args: Any) -> Iterator[Recovered | float]:
        return (found._replace(next_sequence=0) if isinstance(found, Recovered) else found for found in recovering(segments, *args))

    patch.setattr(Segments, "recovering", anew)


def a_commit_written_in_another_order(patch: pytest.MonkeyPatch) -> None:
    commit = Segments.commit

    def reordered(segments: Segments, groups: Sequence[Group]) -> Any:
        return commit(segments, [group._replace(records=group.records[::-1]) for group in groups])

    patch.setattr(Segments, "commit", reordered)


BUGS: Final[list[Callable[[pytest.MonkeyPatch], None]]] = [
    acknowledged_before_the_sync,
    a_failed_sync_tried_again,
    a_new_segments_name_not_synced,
    removed_with_records_that_wait,
    a_segment_given_up_at_its_first_damage,
    sequences_begun_anew,
    a_commit_written_in_another_order,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: Callable[[pytest.MonkeyPatch], None]) -> None:
    bug(monkeypatch)
    assert played(PLANTED, until_wrong=True).violations
