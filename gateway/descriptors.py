"""File descriptors: every open connection is one, and the system may allow fewer than `connections_max`.

Decided here: how many one process needs, and what happens where it may not have
them.  Up to the hard limit they are simply taken; workers inherit the limit.
Beyond it the default of `connections_max` is lowered, aloud, so that a small
machine still starts; a number somebody chose stops the start instead: who
planned for it would learn of less only on the day it is needed.
Source: Redis raises its soft limit and lowers `maxclients` in the same way.
"""

import resource
from typing import Final

import msgspec

from gateway import logs
from gateway.config import Config, Http
from gateway.errors import ConfigError

# Of a process, beside connections: Kafka's brokers, the event loop, the board, those refused over the cap.
_SPARE: Final = 100
# For each worker a process holds one inherited listener, and two copies of it while it accepts for another.
# The supervisor holds fewer: a listener and a control stream.
_PER_WORKER: Final = 3
_CONNECTIONS_MIN: Final = 64  # with fewer there is no use in starting


def secured(config: Config) -> Config:
    """Raise this process's limit as far as needed; returns settings that fit it.  Raises ConfigError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    config = fitted(config, hard)
    if soft < needed(config):
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed(config), hard))
    return config


def needed(config: Config) -> int:
    """How many descriptors a process may have open at once."""
    return config.http.connections_max + _PER_WORKER * config.worker_count + _SPARE


def fitted(config: Config, hard: int) -> Config:
    """The settings, with no more connections than this hard limit allows.  Raises ConfigError."""
    if needed(config) <= hard:
        return config
    http = config.http
    able = hard - (needed(config) - http.connections_max)
    if http.connections_max != Http().connections_max or able < _CONNECTIONS_MIN:
        raise ConfigError(
            f"http.connections_max {http.connections_max}: wants {needed(config)} open files in each process, and the hard limit is {hard}:"
            " raise it (ulimit -Hn, LimitNOFILE=, --ulimit nofile=) or lower the setting"
        )
    logs.warning("the limit of open files lowers http.connections_max", wanted=http.connections_max, now=able, hard_limit=hard, needed=needed(config))
    fewer = msgspec.structs.replace(http, connections_max=able, connections_per_address_max=min(able, http.connections_per_address_max))
    return msgspec.structs.replace(config, http=fewer)
