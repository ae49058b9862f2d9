"""A real Redis (Valkey) and a real Apache Kafka from pip packages alone.

    async with Devstack(Path("var/devstack")) as stack:
        stack.kafka.bootstrap, stack.redis.url      where they are
        await stack.kafka.pause()                   resume, kill, restart; the same on redis
        await stack.redis.fail_over(lose_ms=500)    empty: what happens to a Redis in production

On the command line: python -m devstack up | down | status | run -- COMMAND...

    stack.py       both together: lock, ports, start, stop      topics.py  what is created
    server.py      one server: start until it answers, pause, kill, restart
    kafka.py       java.py  jars.py  jars.sha256                valkey.py  the particulars
    guarded.py     guard.py      nothing is left running, whatever kills us
    ports.py       locks.py      what two stacks on one machine share
    processes.py                 is a process stopped?
    __main__.py    background.py (up, down, status)  foreground.py (run)  terminal.py

It imports nothing of the gateway, and the gateway nothing of it.
"""

from __future__ import annotations

from .errors import DevstackError, InUse, MissingPart, NotOurs, StartFailed
from .kafka import Kafka
from .stack import Devstack
from .topics import DEFAULT_TOPICS, Topic
from .valkey import Valkey

__all__ = [
    "DEFAULT_TOPICS",
    "Devstack",
    "DevstackError",
    "InUse",
    "Kafka",
    "MissingPart",
    "NotOurs",
    "StartFailed",
    "Topic",
    "Valkey",
]
