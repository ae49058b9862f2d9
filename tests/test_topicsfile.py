"""What is known of Kafka's topics outlives the process, and is never worth a failed start."""

from pathlib import Path
from typing import Final

import pytest

from gateway.kafka import Topic
from gateway.topicsfile import TopicsFile

SYNCS: Final = Topic("syncs.v1", 12, copies=3, in_sync_min=2, batch_bytes_max=1_048_588)
SIGNUPS: Final = Topic("signups.v1", 3, copies=3, in_sync_min=2, batch_bytes_max=1_048_588)


def test_the_next_life_knows_what_this_one_was_told(tmp_path: Path) -> None:
    TopicsFile(tmp_path, 0).save({"syncs.v1": SYNCS})
    TopicsFile(tmp_path, 1).save({"signups.v1": SIGNUPS})
    assert TopicsFile(tmp_path, 2).load() == {"syncs.v1": SYNCS, "signups.v1": SIGNUPS}
    TopicsFile(tmp_path, 2).save({"syncs.v1": SYNCS._replace(partitions=24)})
    assert TopicsFile(tmp_path, 0).load()["syncs.v1"].partitions == 24


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"syncs.v1": {"name": 1}}', b"\xff\xfe", b'{"syncs.v1": ["syncs.v1"]}'])
def test_a_file_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, text: bytes) -> None:
    file = TopicsFile(tmp_path, 0)
    (tmp_path / "kafka-topics.json").write_bytes(text)
    assert file.load() == {}
    file.save({"syncs.v1": SYNCS})
    assert file.load() == {"syncs.v1": SYNCS}


def test_a_disk_that_does_not_take_it_is_no_error(tmp_path: Path) -> None:
    TopicsFile(tmp_path / "nowhere", 0).save({"syncs.v1": SYNCS})
    assert TopicsFile(tmp_path / "nowhere", 0).load() == {}
