"""A phone that obeys docs/api.md: it keeps a sample until an answer lets it forget it, and repeats it as it was.  Pure.

Oldest first, one request at a time.  What a 202 does not mark `retry`, what `ack_through` covers and what is invalid for
good is forgotten (history.py says so of each answer); all else is sent again, whatever was said.
"""

from collections.abc import Mapping
from typing import Any

from loadtests.recording import Fate
from tests.system.history import Event, Send, sync_events

_SETTLED = (Fate.ACCEPTED, Fate.INVALID)


class Outbox:
    """The samples of one phone that nobody has answered for."""

    def __init__(self, topic: str, user: str, device: Mapping[str, str]) -> None:
        self.user = user
        self._topic = topic
        self._device = device
        self._samples = list[Mapping[str, Any]]()

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, sample: Mapping[str, Any]) -> None:
        self._samples.append(sample)

    def request(self, samples_max: int) -> tuple[dict[str, Any], list[Event]]:
        """The next one's body, and the events it means."""
        body = {**self._device, "samples": self._samples[:samples_max]}
        return body, sync_events(self._topic, self.user, body)

    def heard(self, send: Send) -> None:
        """Forget what the answer to the request sent last lets one forget."""
        count = len(send.events)
        kept = [sample for sample, fate in zip(self._samples[:count], send.fates, strict=True) if fate not in _SETTLED]
        self._samples[:count] = kept
