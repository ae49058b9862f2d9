"""Which secrets a spool has, and that a missing one stops the start."""

import base64
import random
import stat
from pathlib import Path

import pytest

from gateway.disk import RealDisk
from gateway.errors import ConfigError
from gateway.keys import SecretKey
from gateway.spool.key import KEY_FILE, secrets_of
from tests.simulated_disk import LOSSES, Loss, SimulatedDisk, prefixes

NAMED = SecretKey("1", base64.urlsafe_b64encode(b"k" * 32).decode())


def secrets(data_dir: Path, *keys: SecretKey) -> tuple[bytes, ...]:
    return secrets_of(keys, RealDisk(), data_dir, data_dir / "spool", lambda size: b"r" * size)


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    made = secrets(tmp_path / "data")
    assert made == (b"r" * 32,)
    assert stat.S_IMODE((tmp_path / "data" / KEY_FILE).stat().st_mode) == 0o600
    assert secrets_of((), RealDisk(), tmp_path / "data", tmp_path / "data/spool", lambda size: b"other" * size) == made
    assert [path.name for path in (tmp_path / "data").iterdir()] == [KEY_FILE]


def test_the_keys_file_goes_first_and_what_was_made_still_opens(tmp_path: Path) -> None:
    assert secrets(tmp_path / "a", NAMED) == (b"k" * 32,)
    assert not (tmp_path / "a").exists()
    secrets(tmp_path / "b")
    assert secrets(tmp_path / "b", NAMED) == (b"k" * 32, b"r" * 32)


def test_a_spool_whose_key_is_missing_stops_the_start(tmp_path: Path) -> None:
    secrets(tmp_path)
    (tmp_path / "spool/0").mkdir(parents=True)
    (tmp_path / "spool/0/x.spool").touch()
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(ConfigError, match=r"spool.key: missing, and .*spool/0 was sealed with it"):
        secrets(tmp_path)
    assert not (tmp_path / KEY_FILE).exists(), "another one would hide it"


@pytest.mark.parametrize("text", ["", "short", "!" * 60])
def test_a_key_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / KEY_FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"spool.key: want at least 32 bytes in base64url"):
        secrets(tmp_path)
    with pytest.raises(ConfigError, match="keys file: spool kid 7: want at least 32 bytes in base64url"):
        secrets(tmp_path / "other", SecretKey("7", text))


def test_two_that_make_one_at_once_have_the_same() -> None:
    home, disk, theirs = Path("/data"), SimulatedDisk(), list[tuple[bytes, ...]]()

    def dice(size: int) -> bytes:
        if not theirs:  # while ours is drawn, the other one makes its own
            theirs.append(secrets_of((), disk, home, home / "spool", lambda size: b"B" * size))
        return b"A" * size

    assert secrets_of((), disk, home, home / "spool", dice) == theirs[0]
    assert disk.names(home) == [KEY_FILE]


def test_a_key_is_durable_before_anything_is_sealed_with_it() -> None:
    home, disk = Path("/data"), SimulatedDisk()
    made = secrets_of((), disk, home, home / "spool", lambda size: b"r" * size)
    [(_, crash)] = list(prefixes(disk.log))[-1:]
    after = crash.disk(Loss("none"), random.Random(1))
    assert secrets_of((), after, home, home / "spool", lambda size: b"s" * size) == made


def test_no_crash_leaves_half_a_key() -> None:
    home, disk, dice = Path("/data"), SimulatedDisk(), random.Random(1)
    secrets_of((), disk, home, home / "spool", lambda size: b"r" * size)
    for _, crash in prefixes(disk.log):
        for loss in LOSSES:
            after = crash.disk(loss, dice)
            [found] = secrets_of((), after, home, home / "spool", lambda size: b"s" * size)
            assert found in (b"r" * 32, b"s" * 32)
