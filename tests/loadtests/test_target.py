"""The gateway that is rehearsed has the shipped settings, what the scenario says, and no more."""

import tomllib

import msgspec
import tomli_w

from gateway.config import Config
from loadtests.judge import slo
from loadtests.scenario import Scenario
from loadtests.scenario_file import load
from loadtests.target import GROUP, SETTINGS, merged, settings


def test_tables_are_joined_and_all_else_replaced() -> None:
    assert merged({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "e": 2}) == {"a": {"b": 1, "c": [2]}, "d": 1, "e": 2}
    assert merged({"a": 1}, {"a": {"b": 1}}) == {"a": {"b": 1}}


def config_of(scenario: Scenario) -> Config:
    return msgspec.convert(tomllib.loads(tomli_w.dumps(settings(scenario, 7))), Config)


def test_the_room_follows_the_rehearsals_consumer() -> None:
    scenario = load("dec18", slo.METRICS)
    room = config_of(scenario).room
    assert (room.name, room.epoch, room.consumer_group) == ("signup", 7, GROUP)
    assert room.takes_per_s == scenario.gateway.settings["room"]["takes_per_s"]


def test_without_a_downstream_the_rate_is_the_operators() -> None:
    assert config_of(load("smoke", slo.METRICS)).room.consumer_group == ""


def test_limits_are_the_shipped_ones() -> None:
    shipped = msgspec.convert(tomllib.loads(SETTINGS.read_text()), Config)
    assert config_of(load("smoke", slo.METRICS)).limits == shipped.limits
