"""benchmarks/sut.py: keys and tokens the gateway takes, and another commit beside the work tree."""

import subprocess
import time
from pathlib import Path

import jwt
import pytest

from benchmarks import sut
from gateway import keys


def test_the_gateway_reads_our_keys_file_and_it_verifies_our_tokens(tmp_path: Path) -> None:
    """The harness signs for all arms, so the gateway must know the key."""
    secret = sut.new_secret()
    command = sut.command(tmp_path, tmp_path / "data", sut.NOWHERE, secret)
    (key,) = keys.load(Path(command.environment["GATEWAY_KEYS_FILE"])).tokens
    token = sut.tokens(secret, 2, int(time.time()))[1]
    assert jwt.get_unverified_header(token)["kid"] == key.kid
    claims = jwt.decode(token, key.verifying, algorithms=[key.alg], audience=sut.AUDIENCE, issuer=sut.ISSUER)
    assert claims["sub"] == "bench-1"
    assert not keys.is_readable_by_others(tmp_path / "data" / "keys.json")


def test_settings_are_those_of_the_tree_that_is_started(tmp_path: Path) -> None:
    """An old commit gets its own gateway.toml; one without any gets none."""
    assert "--config" not in sut.command(tmp_path, tmp_path / "a", sut.NOWHERE, b"s" * 32).argv
    ours = sut.command(sut.ROOT, tmp_path / "b", sut.NOWHERE, b"s" * 32)
    assert ours.argv[-1] == str(sut.ROOT / "benchmarks" / "gateway.toml")
    assert ours.environment["PYTHONPATH"] == str(sut.ROOT)


def git(repository: Path, *arguments: str) -> str:
    """Run git in a repository of the test's own."""
    identity = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@localhost",
        "-c",
        "core.hooksPath=/dev/null",
    ]
    command = ["git", "-C", str(repository), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_commit_is_checked_out_beside_and_taken_away_again(tmp_path: Path) -> None:
    """The old file is there during the run; afterwards neither the tree nor git's note of it."""
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet")
    (repository / "rule.txt").write_text("old")
    git(repository, "add", "rule.txt")
    git(repository, "commit", "--quiet", "--message", "old")
    (repository / "rule.txt").write_text("new")
    with sut.worktree("HEAD", tmp_path / "beside", repository) as tree:
        assert (tree / "rule.txt").read_text() == "old"
    assert not (tmp_path / "beside").exists()
    assert git(repository, "worktree", "list").count("\n") == 1
    assert (repository / "rule.txt").read_text() == "new"


def test_an_unknown_commit_is_named(tmp_path: Path) -> None:
    """With git's own words."""
    git(tmp_path, "init", "--quiet")
    with (
        pytest.raises(ValueError, match="--against nonsense"),
        sut.worktree("nonsense", tmp_path / "beside", tmp_path),
    ):
        pass
