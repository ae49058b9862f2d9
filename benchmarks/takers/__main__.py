"""An arm's process: says what it is in a line, then reads one job a line and writes one answer a line, until stdin ends."""

import asyncio
import json
import sys

import uvloop

from benchmarks.takers import loop, taker


async def serve(name: str, url: str) -> None:
    """Keep connections and scripts from round to round, as a service would."""
    try:
        chosen = taker(name)
    except ImportError as error:
        say({"note": "", "error": f"{type(error).__name__}: {error}"})
        return
    async with chosen.opened(url) as take:
        say({"note": chosen.NOTE, "error": ""})
        # In a thread, so that timers of the arm run between rounds; during one it waits and costs nothing.
        while line := await asyncio.to_thread(sys.stdin.readline):
            job: loop.Job = json.loads(line)
            say(await loop.run(take, job))


def say(words: object) -> None:
    """Write one line for the harness."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2]))
