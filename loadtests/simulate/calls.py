"""Calls of simulated people, written as recording.py's CALL: columns that grow, a million rows in tens of megabytes."""

from array import array

import numpy as np
from numpy.typing import NDArray

from loadtests.recording import CALL, Call


class Calls:
    """Every call but looks, and of looks those that are chosen."""

    def __init__(self) -> None:
        self._whole = array("i")  # stream, call, status, tries, arrival
        self._times = array("d")  # meant, late, sent, done
        self._looks: list[np.ndarray] = []

    def add(self, stream: int, call: Call, status: int, tries: int, arrival: int, due_s: float, done_s: float, *, is_arrival: bool) -> None:
        """One call."""
        self._whole.extend((stream, call, status, tries, arrival))
        self._times.extend((due_s, 0.0 if is_arrival else np.nan, due_s, max(done_s, due_s)))

    def looked(self, streams: NDArray[np.int16], arrivals: NDArray[np.int64], due_s: NDArray[np.float64], took_s: float) -> None:
        """Looks of many people, each of which took so long."""
        rows = np.zeros(len(arrivals), CALL)
        rows["stream"], rows["call"], rows["status"], rows["tries"] = streams, Call.PLACE, 200, 1
        rows["arrival"], rows["late_s"] = arrivals, np.nan
        rows["meant_s"] = rows["sent_s"] = due_s
        rows["done_s"] = due_s + took_s
        self._looks.append(rows)

    def whole(self) -> np.ndarray:
        """All of them, by the instant they were due."""
        rows = np.zeros(len(self._whole) // 5, CALL)
        whole, times = np.array(self._whole).reshape(-1, 5), np.array(self._times).reshape(-1, 4)
        for number, name in enumerate(("stream", "call", "status", "tries", "arrival")):
            rows[name] = whole[:, number]
        for number, name in enumerate(("meant_s", "late_s", "sent_s", "done_s")):
            rows[name] = times[:, number]
        found = np.concatenate([rows, *self._looks])
        result: np.ndarray = found[np.argsort(found["meant_s"], kind="stable")]
        return result
