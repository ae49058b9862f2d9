"""One JSON object a line, and what must never be in it."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from gateway import logs

SECRET = "홍길동 +821012345678"


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], Lines]:
    """Configures logging as a process has it, and returns what reads its lines; pytest's own handlers come back after."""

    def configure() -> Lines:
        monkeypatch.setattr(logging.root, "handlers", [])
        for name in (None, "aiokafka", "aiohttp"):
            logger = logging.getLogger(name)
            monkeypatch.setattr(logger, "level", logger.level)
        logs.configure("worker-0")
        return lambda: [json.loads(line) for line in capsys.readouterr().err.split("\n")[:-1]]

    return configure


def test_a_line_says_when_who_how_bad_and_what(configured: Callable[[], Lines]) -> None:
    lines = configured()
    logs.info("reloaded", takes_effect="keys")
    logs.warning("kafka light", reason="slow")
    logs.error("a request failed", route="syncs")
    first, second, third = lines()
    assert first.pop("time").endswith("+00:00")
    assert first == {"level": "info", "process": "worker-0", "event": "reloaded", "takes_effect": "keys"}
    assert (second["level"], second["reason"]) == ("warning", "slow")
    assert (third["level"], third["route"]) == ("error", "syncs")


def test_a_line_stays_one_line(configured: Callable[[], Lines]) -> None:
    lines = configured()
    logs.info("odd", text="two\nlines \u2028 종로구", thing=object())
    [line] = lines()
    assert line["text"] == "two\nlines \u2028 종로구"


def test_an_error_is_logged_by_type_and_place_but_never_by_its_text(configured: Callable[[], Lines]) -> None:
    """The text of a decode error can quote its input."""
    lines = configured()
    try:
        raise ValueError(SECRET)
    except ValueError as exc:
        logs.error("a request failed", exc=exc)
    [line] = lines()
    assert line["error"] == "ValueError"
    assert line["frames"][-1].startswith("test_logs.py:")
    assert SECRET not in json.dumps(line, ensure_ascii=False)


async def test_what_asyncio_reports_quotes_no_error_either(configured: Callable[[], Lines]) -> None:
    """A task nobody awaited is our bug and must be seen; asyncio puts the error's text into its message."""
    lines = configured()
    loop = asyncio.get_running_loop()

    async def fail() -> None:
        raise ValueError(SECRET)

    task = loop.create_task(fail())
    await asyncio.wait([task])
    loop.default_exception_handler({"message": "Task exception was never retrieved", "exception": task.exception(), "future": task})
    [line] = lines()
    assert line["error"] == "ValueError"
    assert "never retrieved" in line["event"]
    assert SECRET not in json.dumps(line, ensure_ascii=False)


def test_libraries_that_log_by_the_dozen_are_quiet(configured: Callable[[], Lines]) -> None:
    lines = configured()
    logging.getLogger("aiokafka.conn").error("unable to connect")
    logging.getLogger("aiohttp.server").error("error handling request")
    logging.getLogger("asyncio").error("kept")
    assert [line["event"] for line in lines()] == ["kept"]
