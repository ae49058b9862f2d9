"""Work in the background: once at a time, to its end, and loud when it breaks."""

import asyncio

from gateway.spool.tasks import Tasks
from tests.fakes import in_virtual_time


@in_virtual_time
async def test_a_name_runs_once_at_a_time_and_idle_waits_for_all() -> None:
    begun, go_on = [], asyncio.Event()
    tasks = Tasks(lambda: None)

    async def work() -> None:
        begun.append("commit")
        await go_on.wait()

    async def follows() -> None:
        begun.append("sweep")

    async def leads() -> None:
        tasks.run("sweep", follows)

    tasks.run("commit", work)
    tasks.run("commit", work)
    tasks.run("probe", leads)
    await asyncio.sleep(0)
    go_on.set()
    await tasks.idle()
    assert sorted(begun) == ["commit", "sweep"]
    tasks.run("commit", work)
    await tasks.idle()
    assert begun.count("commit") == 2


@in_virtual_time
async def test_a_bug_is_told_and_a_cancelled_task_is_none() -> None:
    bugs = 0

    def on_bug() -> None:
        nonlocal bugs
        bugs += 1

    tasks = Tasks(on_bug)
    tasks.run("probe", lambda: asyncio.sleep(3_600))
    tasks.cancel("probe")
    tasks.cancel("commit")
    await tasks.idle()
    assert (bugs, tasks.failure) == (0, None)

    async def broken() -> None:
        raise TypeError

    tasks.run("commit", broken)
    await tasks.idle()
    assert (bugs, type(tasks.failure)) == (1, TypeError)
