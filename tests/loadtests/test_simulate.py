"""The line in virtual time: the same figures on any machine."""

import pytest

from loadtests.simulate import __main__ as simulate


@pytest.mark.parametrize("scenario", ["surge", "base"])
def test_a_small_crowd_keeps_the_door_busy_and_nobody_opens_it_wider(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main(["--people", "4000", "--rate", "20", "--scenario", scenario]) == 0
    table = capsys.readouterr().out.splitlines()
    used, _, _, _, _, one_second, ten_seconds, *_ = next(line for line in table if line.startswith(scenario)).split()[1:]
    assert float(used) >= 0.98
    assert float(one_second) <= 1.0
    assert float(ten_seconds) <= 1.0
