"""The system's limit of open files: taken as far as needed, and never discovered under load."""

import resource
import subprocess
import sys

import pytest

from gateway.config import Config, Http, Process
from gateway.descriptors import fitted, needed
from gateway.errors import ConfigError

TWO = Process(workers=2)


def test_what_fits_stays_as_it_is() -> None:
    config = Config(process=TWO)
    assert needed(config) == 10_106
    assert fitted(config, 10_106) is config


def test_the_default_is_lowered_to_what_fits(capfd: pytest.CaptureFixture[str]) -> None:
    lowered = fitted(Config(process=TWO), 4_096)
    assert (lowered.http.connections_max, lowered.http.connections_per_address_max) == (3_990, 1_000)
    assert needed(lowered) == 4_096
    small = fitted(Config(process=TWO), 1_024).http
    assert (small.connections_max, small.connections_per_address_max) == (918, 918)
    capfd.readouterr()


@pytest.mark.parametrize(("connections_max", "hard"), [(10_001, 4_096), (5_000, 4_096), (10_000, 169)])
def test_a_chosen_number_that_cannot_be_stops_the_start(connections_max: int, hard: int) -> None:
    """So does the default, where next to nothing is left of it."""
    config = Config(http=Http(connections_max=connections_max), process=TWO)
    with pytest.raises(ConfigError, match=rf"^http.connections_max {connections_max}: wants {needed(config)} open files .* the hard limit is {hard}:"):
        fitted(config, hard)


def test_the_soft_limit_is_raised_as_far_as_needed_and_never_lowered() -> None:
    """In a process of its own: a hard limit that went down stays down."""
    script = "import resource as r, sys; from gateway.config import *; from gateway.descriptors import secured\n"
    script += "r.setrlimit(r.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))\n"
    script += "c = secured(Config(process=Process(workers=2))); print(c.http.connections_max, *r.getrlimit(r.RLIMIT_NOFILE))"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for limit, said in (((256, 4_096), "3990 4096 4096"), ((256, 11_000), "10000 10106 11000"), ((10_500, 11_000), "10000 10500 11000")):
        if limit[1] <= hard:
            command = (sys.executable, "-c", script, *(str(n) for n in limit))
            ended = subprocess.run(command, capture_output=True, text=True, check=True)
            assert ended.stdout.strip() == said
