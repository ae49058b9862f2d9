"""Which arm is measured against which, in what order, and what one measurement is.

Pure.  A pair is an arm and its reference measured one right after the other, so that whatever
else the machine does hits both.  Rounds rotate the pairs and swap the halves of each, so that
neither the order nor a slow drift favours anybody.  `bare` as an arm of its own is bare aiohttp
against itself: the noise floor of this run, which no other ratio can be finer than.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BATCH_EVENTS = 50


@dataclass(frozen=True)
class Arm:
    """One column of the comparison: a server, and how many events each request carries."""

    name: str
    server: str
    events: int = 1
    status: int = 202  # of a good answer


@dataclass(frozen=True)
class Pair:
    """An arm and what it is measured against."""

    arm: Arm
    reference: Arm


BARE = Arm("bare", "bare")
GATEWAY = Arm("gateway", "gateway")
GATEWAY_BATCH = Arm(f"gateway-{BATCH_EVENTS}", "gateway", BATCH_EVENTS)
ARMS = {
    arm.name: arm
    for arm in (
        BARE,
        Arm("naive", "naive"),
        Arm("fastapi", "fastapi"),
        GATEWAY,
        GATEWAY_BATCH,
    )
}


@dataclass(frozen=True)
class Sample:
    """One arm in one round."""

    arm: str
    events: int
    requests: int  # answered with the arm's status
    refused: dict[str, int]  # other statuses
    lost: int
    spooled: int
    seconds: float
    cpu_us: float
    supervisor_cpu_us: float
    server_busy: float  # shares of one core, used or waited for
    generator_busy: float
    generator_cpu: float
    was_generator_bottleneck: bool
    p50_ms: float
    p99_ms: float
    error: str

    @property
    def cpu_us_per_request(self) -> float:
        """CPU of the whole process tree for one answered request."""
        return self.cpu_us / self.requests

    @property
    def cpu_us_per_event(self) -> float:
        """The same for one event."""
        return self.cpu_us_per_request / self.events


@dataclass(frozen=True)
class PairSample:
    """Both halves of a pair in one round."""

    round: int
    arm: Sample
    reference: Sample

    @property
    def ratio(self) -> float:
        """What an event costs in the arm, in units of what it costs in the reference."""
        return self.arm.cpu_us_per_event / self.reference.cpu_us_per_event


def pairs(names: Sequence[str], against: str) -> list[Pair]:
    """Return the pairs for the arms asked for.

    With `against`, the gateway's arms are paired with the same arm at that commit, not with bare.
    """
    unknown = [name for name in names if name not in ARMS]
    if unknown:
        raise ValueError(f"unknown arms {unknown}: want some of {list(ARMS)}")
    return [Pair(ARMS[name], reference(ARMS[name], against)) for name in names]


def reference(arm: Arm, against: str) -> Arm:
    """Return what an arm is measured against."""
    if against and arm.server == GATEWAY.server:
        return Arm(f"{arm.name}@{against}", f"{arm.server}@{against}", arm.events)
    return BARE


def order(all_pairs: Sequence[Pair], number: int) -> Iterator[tuple[Pair, tuple[Arm, Arm]]]:
    """Return the pairs of one round as they are to be run, each with its halves in order.

    Over 2 x len(all_pairs) rounds every pair stands in every position in both orders.
    """
    count = len(all_pairs)
    for position in range(count):
        pair = all_pairs[(position + number) % count]
        # By position as well as by lap, so that the first few rounds already mix both orders.
        if (position + number // count) % 2:
            yield pair, (pair.arm, pair.reference)
        else:
            yield pair, (pair.reference, pair.arm)
