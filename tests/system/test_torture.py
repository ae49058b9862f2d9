"""`make torture`, short: whoever is killed, what was answered with 2xx is in Kafka, as it was sent, in order, and nothing else is."""

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from devstack import Devstack
from loadtests.recording import Fate
from tests.system.gateway import running
from tests.system.history import History
from tests.system.judgement import Kind, judge
from tests.system.torture import torture

KILLS = 10
SEED = 23


def accepted_ids(history: History) -> set[str]:
    return {event.event_id for send in history.sends for event, fate in zip(send.events, send.fates, strict=True) if fate is Fate.ACCEPTED}


@pytest.mark.timeout(600)
async def test_killed_ten_times_it_loses_nothing_and_invents_nothing(
    stack: Devstack, fresh_topics: Callable[..., Awaitable[dict[str, str]]], directory: Path
) -> None:
    topics = await fresh_topics()
    async with running(directory, stack.kafka.bootstrap, deliver=topics) as gateway:
        tortured = await torture(gateway, topics, stack, kills=KILLS, seed=SEED)
    print(tortured)
    assert not tortured.judgement.findings
    assert sum(tortured.killed.values()) == KILLS
    assert tortured.killed.keys() == {"a worker", "the supervisor", "all"}  # the seed draws each
    assert tortured.judgement.accepted > KILLS
    # Nobody is told anything else: there is no other trouble than the kills.
    assert tortured.told.keys() <= {202, 503, 0}
    # The control: one record less, and the same history is no longer true.
    copies = Counter(one.event_id for one in tortured.kafka)
    lost = next(one for one in tortured.kafka if copies[one.event_id] == 1 and one.event_id in accepted_ids(tortured.history))
    [finding] = judge(tortured.history, [one for one in tortured.kafka if one is not lost]).findings
    assert (finding.kind, finding.event_id) == (Kind.MISSING, lost.event_id)
