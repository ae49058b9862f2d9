"""What is particular to Kafka and needs no Kafka to be tested."""

from __future__ import annotations

import base64

from devstack.kafka import _cluster_id


def test_no_cluster_id_looks_like_an_option() -> None:
    """One in 64 random ids began with "-", and the format tool printed its usage."""
    for first in range(256):
        name = _cluster_id(bytes([first]) + bytes(range(15)))
        assert not name.startswith("-")
        assert len(base64.urlsafe_b64decode(name + "==")) == 16
