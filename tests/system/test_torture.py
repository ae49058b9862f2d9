"""`make torture`, short: whoever is killed, and wherever Kafka is, what was answered with 2xx ends in Kafka, as it was sent, in order, and nothing else does."""

from collections import Counter
from pathlib import Path

import pytest

from devstack import Devstack, Topic
from loadtests.recording import Fate
from tests.system.gateway import running
from tests.system.history import History
from tests.system.judgement import Kind, judge
from tests.system.torture import torture

KILLS = 50
SEED = 23
TOPICS = {"syncs_topic": "torture.syncs", "signups_topic": "torture.signups"}


def accepted_ids(history: History) -> set[str]:
    return {event.event_id for send in history.sends for event, fate in zip(send.events, send.fates, strict=True) if fate is Fate.ACCEPTED}


@pytest.mark.timeout(900)
async def test_killed_fifty_times_it_loses_nothing_refuses_nothing_and_invents_nothing(tmp_path: Path) -> None:
    async with Devstack(tmp_path / "stack", redis=False, fast_stop=True) as stack:
        for name in TOPICS.values():
            await stack.create_topic(Topic(name, partitions=6))
        async with running(tmp_path / "gateway", stack.kafka.bootstrap, deliver=TOPICS) as gateway:
            tortured = await torture(gateway, TOPICS, stack, kills=KILLS, seed=SEED)
    print(tortured)
    assert not tortured.judgement.findings
    assert (tortured.judgement.in_spool, tortured.judgement.rejected) == (0, 0)
    assert tortured.judgement.accepted > KILLS
    # Kafka's absence is no reason to refuse: a draining worker says that it drains, and nobody is told anything else.
    assert tortured.problems.keys() <= {"draining"}
    assert tortured.told.keys() <= {202, 503, 0}
    # The seed draws each, and the spool was in use when many of them were killed.
    assert sum(tortured.killed.values()) == KILLS
    assert {who for who, _ in tortured.killed} == {"a worker", "the supervisor", "all"}
    assert sum(count for (_, is_away), count in tortured.killed.items() if is_away) >= KILLS // 5
    # The controls: without one record, or without what the spool gave back, the same history is no longer true.
    copies = Counter(one.event_id for one in tortured.kafka)
    lost = next(one for one in tortured.kafka if copies[one.event_id] == 1 and one.event_id in accepted_ids(tortured.history))
    [finding] = judge(tortured.history, [one for one in tortured.kafka if one is not lost]).findings
    assert (finding.kind, finding.event_id) == (Kind.MISSING, lost.event_id)
    of_no_spool = judge(tortured.history, [one for one in tortured.kafka if not one.is_replay])
    assert sum(finding.kind is Kind.MISSING for finding in of_no_spool.findings) > KILLS
