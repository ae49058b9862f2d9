"""The document and the process say the same: schemathesis reads the one and asks the other."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from devstack import Devstack
from tests.system.gateway import running

Topics = Callable[..., Awaitable[dict[str, str]]]

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 30


async def test_what_the_document_says_is_what_happens(stack: Devstack, fresh_topics: Topics, directory: Path) -> None:
    topics = await fresh_topics()
    async with running(directory, stack.kafka.bootstrap, deliver=topics, process={"workers": 1}) as gateway:
        async with aiohttp.ClientSession() as session, session.get(f"{gateway.public}/v1/openapi.json") as answer:
            document = await answer.json()
        asked = await asyncio.to_thread(_ask_all, document, gateway.public, {"Authorization": f"Bearer {gateway.token('u1')}"})
    calls = ("POST /v1/syncs", "POST /v1/signups")
    assert {f"{mode} {call}" for mode in ("positive", "negative") for call in calls} | {"positive GET /v1/notices"} <= asked


def _ask_all(document: dict[str, object], base_url: str, headers: dict[str, str]) -> set[str]:
    """Ask every operation with what the document allows and with what it forbids."""
    asked = set()
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            try:
                _ask(operation.as_strategy(generation_mode=mode), base_url, headers)
            except Unsatisfiable:
                continue  # there is nothing to forbid where nothing is asked for
            asked.add(f"{mode.value} {operation.method.upper()} {operation.path}")
    return asked


def _ask(cases: SearchStrategy[Any], base_url: str, headers: dict[str, str]) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def ask(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(base_url=base_url, headers=headers, checks=CHECKS)

    ask()
