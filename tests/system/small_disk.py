"""A real gateway under load whose spool lies on a small file system of its own, which is filled up and made read-only.

    python -m tests.system.small_disk --rounds 3

Needs to be root, and a kernel that mounts a tmpfs; where it cannot, it says so and ends with 2: nothing was shown.

    a round     Kafka is frozen; the disk is filled: refused honestly, 503 not-durable
                then made read-only, and emptied: still refused; Kafka is back: accepted through Kafka alone
                Kafka is frozen again, the disk takes writes again: accepted from the spool, untold
                everything is killed, in every other round with the disk full

In the end the checker judges.  A tmpfs has no sync of its own: what that can lose is tests/crash_matrix.py's and
faulty_disk.py's to show.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Final

from devstack import Devstack, Topic
from tests.system.crowd import Crowd, killed_whole, more, sending
from tests.system.gateway import Gateway, records, serving
from tests.system.history import found
from tests.system.judgement import judge
from tests.system.load import drained
from tests.system.remains import stopped

DISK_BYTES: Final = 4 << 20
# Small segments, and a bound that is not the disk's: it is the disk that is to be full.
SPOOL: Final[dict[str, object]] = {"segment_bytes": 262_144, "bytes_max": 1 << 30, "signups_reserve_bytes": 0}
DELIVER: Final[dict[str, object]] = {"timeout_ms": 2000, "stall_ms": 500, "connect_timeout_ms": 1000, "batch_bytes_max": 131_072}
TOPICS: Final = {"syncs_topic": "small.syncs", "signups_topic": "small.signups"}


class CannotMountError(Exception):
    """What is wanted here is not to be had on this machine."""


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    if process.returncode:
        raise CannotMountError(f"{' '.join(command)}: {said.decode().strip()}")


class SmallDisk:
    """A mounted tmpfs, and what one may do to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    async def mount(self) -> None:
        """Raises CannotMountError."""
        self.path.mkdir(parents=True)
        await _run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "sluicegate-small", str(self.path))

    async def unmount(self) -> None:
        await _run("umount", "--lazy", str(self.path))

    def fill(self) -> None:
        """Leave nothing of it."""
        with self._filler.open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)

    async def make_read_only(self) -> None:
        """Once nobody writes to a file on it: a kernel refuses that before."""
        for _ in range(100):
            with contextlib.suppress(CannotMountError):
                await _run("mount", "-o", "remount,ro", str(self.path))
                return
            await asyncio.sleep(0.1)
        raise CannotMountError("somebody goes on writing on a disk that is full")

    async def make_writable(self) -> None:
        await _run("mount", "-o", "remount,rw", str(self.path))


async def _round(gateway: Gateway, crowd: Crowd, disk: SmallDisk, stack: Devstack, *, is_killed_full: bool) -> None:
    disk.fill()
    await stack.kafka.pause()
    await more(lambda: crowd.problems["not-durable"], 50, "refused with the disk full")
    await disk.make_read_only()
    await more(lambda: crowd.problems["not-durable"], 50, "refused with the disk read-only")
    await stack.kafka.resume()
    await more(lambda: crowd.kept["kafka"], 100, "answered from Kafka, with the disk read-only")
    await disk.make_writable()
    disk.empty()
    await stack.kafka.pause()
    await more(lambda: crowd.kept["spool"], 100, "answered from the disk again")
    if is_killed_full:
        disk.fill()
        await more(lambda: crowd.problems["not-durable"], 20, "refused with the disk full again")
    await killed_whole(gateway)
    await gateway.start()
    if not is_killed_full:
        await more(lambda: crowd.kept["spool"], 50, "answered from the disk after a kill")
    await stack.kafka.resume()
    disk.empty()
    await more(lambda: crowd.kept["kafka"], 50, "answered from Kafka in the end")
    await drained(gateway)


async def main(rounds: int) -> int:
    """A stack and a file system of its own: 0 where the checker finds nothing."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        disk = SmallDisk(directory / "gateway" / "spool")
        try:
            await disk.mount()
        except (CannotMountError, OSError) as exc:
            print(f"nothing was shown: no small file system can be mounted here: {exc}")
            return 2
        try:
            return await _shown(directory, disk, rounds)
        finally:
            await disk.unmount()


async def _shown(directory: Path, disk: SmallDisk, rounds: int) -> int:
    async with Devstack(directory / "devstack", redis=False, fast_stop=True) as stack:
        for topic in TOPICS.values():
            await stack.create_topic(Topic(topic))
        settings = {"deliver": {**TOPICS, **DELIVER}, "spool": SPOOL, "process": {"data_dir": str(directory / "gateway"), "workers": 1, "drain_lag_s": 0.0}}
        async with serving(Gateway(directory / "gateway", stack.kafka.bootstrap, settings)) as gateway:
            async with sending(gateway, TOPICS["syncs_topic"]) as crowd:
                for number in range(rounds):
                    await _round(gateway, crowd, disk, stack, is_killed_full=number % 2 == 1)
                    print(f"round {number + 1}: told {dict(crowd.told)}, kept {dict(crowd.kept)}, refused {dict(crowd.problems)}", flush=True)
            await drained(gateway)
            left = await stopped(gateway)
        kafka = [
            found(one.topic, one.partition, one.offset, one.key, one.value, one.headers) for one in await records(stack.kafka.bootstrap, TOPICS["syncs_topic"])
        ]
    judgement = judge(crowd.history, kafka, left.spool, left.rejected)
    print(judgement)
    for finding in judgement.findings[:20]:
        print(f"{finding.kind}: {finding.evidence}")
    return int(bool(judgement.findings) or bool(crowd.problems.keys() - {"not-durable"}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    sys.exit(asyncio.run(main(parser.parse_args().rounds)))
