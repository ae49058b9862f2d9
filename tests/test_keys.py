"""The keys file: made once, read whole or not at all, never shown."""

import json
from pathlib import Path

import pytest

from gateway import keys
from gateway.errors import ConfigError
from gateway.keys import SecretKey, TokenKey

SECRET = "A" * 43  # 32 bytes in base64url
GOOD = {"kid": "a", "alg": "HS256", "key": SECRET}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "keys.json"


def test_a_file_is_made_once_and_for_its_owner_alone(path: Path) -> None:
    assert keys.make(path)
    made = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not keys.is_readable_by_others(path)
    assert not keys.make(path)
    assert path.read_text() == made
    assert [entry.name for entry in path.parent.iterdir()] == ["keys.json"]


def test_each_made_file_has_secrets_of_its_own(path: Path) -> None:
    keys.make(path)
    keys.make(path.with_name("other.json"))
    first, second = keys.load(path), keys.load(path.with_name("other.json"))
    secrets = [key.key for made in (first, second) for part in (made.tokens, made.tickets, made.spool) for key in part]
    assert len(set(secrets)) == len(secrets) == 6
    assert all(len(keys.unbase64url(secret)) == 32 for secret in secrets)


def test_a_crash_while_making_leaves_nothing_half(path: Path) -> None:
    """What an interrupted `make` left beside it is no key file, and does not stop the next one."""
    path.parent.mkdir()
    path.with_suffix(".draft").write_text("half")
    assert keys.make(path)
    keys.load(path)


WRONG = [
    ("{", "Input data was truncated"),
    ("[]", "Expected `object`, got `array`"),
    ({}, "missing required field `tokens`"),
    ({"tokens": []}, "want at least one key under `tokens`"),
    ({"tokens": [GOOD, GOOD]}, "a kid under `tokens` is used twice"),
    ({"tokens": [GOOD | {"alg": "none"}]}, "Invalid enum value 'none'"),
    ({"tokens": [GOOD | {"kid": ""}]}, "$.tokens[0].kid"),
    ({"tokens": [GOOD | {"key": "A" * 42}]}, "tokens kid a: want at least 32 bytes in base64url"),
    ({"tokens": [GOOD | {"key": "A"}]}, "tokens kid a: want at least 32 bytes in base64url"),
    ({"tokens": [GOOD | {"secret": "x"}]}, "unknown field `secret`"),
    ({"tokens": [GOOD], "ticket": []}, "unknown field `ticket`"),
    ({"tokens": [GOOD], "limits": "A" * 20}, "limits: want at least 16 bytes in base64url"),
    ({"tokens": [GOOD], "limits": "A"}, "limits: want at least 16 bytes in base64url"),
    ({"tokens": [GOOD], "limits": SECRET, "ops": "A" * 20}, "ops: want at least 16 bytes in base64url"),
    ({"tokens": [GOOD], "limits": SECRET, "ops": "A A"}, "ops: want at least 16 bytes in base64url"),
    ({"tokens": [GOOD], "tickets": [{"kid": "t", "key": "A" * 20}]}, "tickets kid t, in place of `limits`: want at least 16 bytes in base64url"),
]


@pytest.mark.parametrize(("content", "complaint"), WRONG, ids=[complaint for _, complaint in WRONG])
def test_a_wrong_file_is_named_and_never_quoted(tmp_path: Path, content: object, complaint: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConfigError) as caught:
        keys.load(path)
    assert str(caught.value).startswith(f"keys file {path}: ")
    assert complaint in str(caught.value)
    assert "AAA" not in str(caught.value)


@pytest.mark.parametrize("more", [{"limits": "A" * 22}, {"tickets": [{"kid": "t", "key": "A" * 22}]}, {}])
def test_sixteen_bytes_are_enough_to_name_buckets(tmp_path: Path, more: dict[str, object]) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"tokens": [GOOD], **more}))
    assert len(keys.load(path).limits_secret) == 32


def test_a_missing_file_says_what_makes_one(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: No such file or directory \(`sluicegate keys` makes one"):
        keys.load(path)


def test_others_who_may_read_it_are_noticed(path: Path) -> None:
    keys.make(path)
    path.chmod(0o640)
    assert keys.is_readable_by_others(path)


def test_no_repr_shows_a_secret() -> None:
    shown = repr(keys.Keys(tokens=(TokenKey("k", "HS256", SECRET, "mint-secret"),), tickets=(SecretKey("t", SECRET),)))
    assert "k, HS256" in shown
    assert SECRET not in shown
    assert "mint-secret" not in shown


def test_padding_makes_no_difference() -> None:
    assert keys.unbase64url("YWI=") == keys.unbase64url("YWI") == b"ab"


def test_the_operators_token_is_made_and_no_workers(path: Path) -> None:
    keys.make(path)
    made = keys.load(path)
    assert len(keys.unbase64url(made.ops)) == 32
    assert made.of_workers.ops == ""
    assert made.of_workers.limits_secret == made.limits_secret
    assert made.ops not in repr(made)
