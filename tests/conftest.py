"""The real servers, once for all tests."""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import settings

from devstack import Devstack, Topic
from tests.system import gateway as harness

# The same examples every time, so that a red test is red on every machine.
settings.register_profile("steady", derandomize=True, deadline=None, max_examples=150)
settings.load_profile("steady")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Devstack]:
    """A real Kafka and a real Valkey; tests that kill or pause one start their own."""
    async with Devstack(tmp_path_factory.mktemp("devstack"), fast_stop=True) as running:
        harness.redis_url = running.redis.url
        yield running


@pytest.fixture(scope="session")
def fresh_topics(stack: Devstack) -> Callable[..., Awaitable[dict[str, str]]]:
    """Makes a pair of empty topics and returns the `deliver` settings that name them."""
    numbers = count(1)

    async def make(**config: str) -> dict[str, str]:
        n = next(numbers)
        names = {"syncs_topic": f"t{n}.syncs", "signups_topic": f"t{n}.signups"}
        for name in names.values():
            await stack.create_topic(Topic(name, partitions=6, config=config))
        return names

    return make


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where one gateway keeps its settings, keys and log."""
    return tmp_path / "gateway"
