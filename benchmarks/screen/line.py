"""Part d: a line that people join, leave and pass; how old is what the screen shows, and is it what Redis has?"""

import asyncio
from typing import Final

from benchmarks import load, people
from benchmarks.command import say
from benchmarks.measure import FULL_SHARE
from benchmarks.overload_report import aligned
from benchmarks.screen import truth
from benchmarks.screen.gateway import ROOM, Stage, running, watching
from benchmarks.screen.report import AGES_HEADINGS, Found, age_cells, depth_remarks, line_verdicts, shown_of

RATE_PER_S: Final = 20.0
JOINS_PER_S: Final = 200
JOINING_S: Final = 60.0
AFTER_S: Final = 60.0  # who left is missed after 60-90 s: else nobody would be seen to leave
LEAVE: Final = 0.35


async def measure(stage: Stage, joining_s: float, after_s: float, seed: int, found: Found) -> None:
    """The crowd comes, then some are missed."""
    crowd, truths = load.Piped("benchmarks.people"), list[truth.Truth]()
    try:
        async with running(stage, "d", {"floor_per_s": 5, "ceiling_per_s": RATE_PER_S}) as gateway, watching(gateway) as watcher:
            await gateway.tell(rate_per_s=RATE_PER_S)
            epoch = watcher.seen[-1].frame["room"]["epoch"]
            following = asyncio.create_task(truth.follow(stage.stack.redis.url, ROOM, epoch, truths))
            say(f"d: {JOINS_PER_S} join a second for {joining_s:g} s, {LEAVE:.0%} of them leave; the door lets {RATE_PER_S:g} a second in")
            try:
                job = _job(gateway.public, joining_s, after_s, seed, str(stage.directory / "d-crowd"))
                done: people.Done = await crowd.ask(job, job["seconds"] + after_s)
            finally:
                following.cancel()
                await asyncio.wait([following])
    finally:
        await crowd.close()
    shown = [shown_of(one.wall_s, one.frame) for one in watcher.seen if one.frame["room"]["known"]]
    began_s = truths[0].at_s
    spans = (("while they join", began_s + 1.0, began_s + joining_s), ("after", began_s + joining_s, truths[-1].at_s - 1.0))
    table = [AGES_HEADINGS, *(age_cells(name, shown, truths, begin_s, end_s) for name, begin_s, end_s in spans)]
    found.tables.append(f"d: seconds of staleness; people of difference at the sign's instant\n{aligned(table)}")
    void = f"the people's process was busy {done['busy_share']:.0%} of the time" if done["busy_share"] > FULL_SHARE else ""
    found.verdicts += line_verdicts(shown, truths, began_s + 1.0, truths[-1].at_s - 1.0, void)
    found.remarks += depth_remarks(shown, truths, began_s + 1.0, truths[-1].at_s - 1.0)
    found.remarks.append(f"d: {truths[-1].tail:,} joined, {truths[-1].passes:,} were let in; the people's process was busy {done['busy_share']:.0%} of a core")


def _job(base: str, joining_s: float, after_s: float, seed: int, results: str) -> people.Job:
    return people.Job(
        base=base,
        room=ROOM,
        seed=seed,
        people=int(JOINS_PER_S * joining_s),
        is_refilled=False,
        over_s=joining_s,
        within_s=joining_s,
        leave=LEAVE,
        sleep=0.0,
        sleep_s=(0.0, 0.0),
        cut=0.0,
        form_s=0.0,
        pause_s=None,
        seconds=joining_s + after_s,
        results=results,
    )
