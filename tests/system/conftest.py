"""Kafkas for tests that pause and kill one: each module of such tests has its own, and breaks no other's."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from devstack import Devstack


@pytest.fixture(scope="module")
def breakable_has_redis() -> bool:
    """Whether there is a Redis beside the module's Kafka; a module that needs one says so in a fixture of this name."""
    return False


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def breakable(tmp_path_factory: pytest.TempPathFactory, breakable_has_redis: bool) -> AsyncIterator[Devstack]:
    """The module's Kafka, to pause and kill.  Each test leaves it running."""
    async with Devstack(tmp_path_factory.mktemp("breakable"), redis=breakable_has_redis, fast_stop=True) as running_stack:
        yield running_stack
