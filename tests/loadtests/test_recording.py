"""What a process of the generator leaves is read back as it was."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.people import Walked
from loadtests.recording import CALL, FATE, Process, of_payload, payload_id, read, write


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_an_id_names_its_payload(run: int, arrival: int, sample: int) -> None:
    found = payload_id(run, arrival, sample)
    assert of_payload(found) == (run, arrival, sample)
    assert (found.version, found.variant) == (8, "specified in RFC 4122")


def process(number: int) -> Process:
    return Process(number, 2, "00", 2, 1_000.0, 0.5)


def test_processes_are_joined_in_the_order_of_what_was_meant(tmp_path: Path) -> None:
    for number, meant_s in enumerate(([1.0, 3.0], [0.5, 2.0])):
        calls = np.zeros(2, CALL)
        calls["meant_s"], calls["status"] = meant_s, -1
        write(tmp_path / str(number), calls, np.zeros(1, FATE), [Walked(place=number)], process(number))
    found = read(sorted(tmp_path.iterdir()))
    assert list(found.calls["meant_s"]) == [0.5, 1.0, 2.0, 3.0]
    assert list(found.calls["status"]) == [-1] * 4
    assert len(found.fates) == 2
    assert [one.place for one in found.people] == [0, 1]
    assert [one.number for one in found.processes] == [0, 1]


def test_a_process_that_did_not_get_to_its_end_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    with pytest.raises(OSError, match=r"calls\.bin"):
        read([tmp_path / "0"])
    with pytest.raises(ValueError, match="no process"):
        read([])
