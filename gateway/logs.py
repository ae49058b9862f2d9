"""Logging: one JSON object a line on stderr, and what must never be in it.

No payload, token, name or phone number ever reaches a log: callers log ids,
codes, counts and reasons.  A traceback is logged with its frames but without
the exception's text, because the text of a decode error can quote its input.
Third-party loggers are quietened here, each with its reason.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Final

# aiokafka logs about 25 lines a second while a broker is away; our own light says it once.
# asyncio's logger is kept: "Task exception was never retrieved" is always our bug.
_QUIET: Final = {"aiokafka": logging.CRITICAL, "aiohttp": logging.CRITICAL}

_log = logging.getLogger("sluicegate")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, tz=UTC)
        line = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": record.processName,
            # Of asyncio's messages the first line alone: the others show a failed task, and so its input.
            "event": record.getMessage().partition("\n")[0],
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["frames"] = [f"{f.filename.rpartition('/')[2]}:{f.lineno} {f.name}" for f in traceback.extract_tb(record.exc_info[2])]
        return json.dumps(line, ensure_ascii=False, default=str)


class _Named(logging.Filter):
    """Marks every record with the process it comes from; never drops one."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def filter(self, record: logging.LogRecord) -> bool:
        record.processName = self._process
        return True


def configure(process: str) -> None:
    """Send everything to stderr as JSON lines; `process` names this one ("supervisor", "worker-0")."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    handler.addFilter(_Named(process))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)


def info(event: str, **fields: object) -> None:
    """Something an operator may want to know happened."""
    _log.info(event, extra={"fields": fields})


def warning(event: str, **fields: object) -> None:
    """Something an operator should look at when there is time."""
    _log.warning(event, extra={"fields": fields})


def error(event: str, *, exc: BaseException | None = None, **fields: object) -> None:
    """Something is broken; with `exc`, its type and frames but never its text."""
    _log.error(event, extra={"fields": fields}, exc_info=exc)
