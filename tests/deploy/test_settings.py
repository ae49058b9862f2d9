"""The settings that deploy/ ships: they load, and say what the containers around them say."""

from pathlib import Path

import pytest

from gateway import config, keys
from gateway.__main__ import main
from tests.deploy.manifests import COMPOSE, KUBERNETES

BOTH = pytest.mark.parametrize("path", [COMPOSE / "gateway.toml", KUBERNETES / "gateway.toml"], ids=["compose", "kubernetes"])


@BOTH
def test_they_load_and_are_what_check_config_accepts(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in config.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GATEWAY_KEYS_FILE", str(tmp_path / "keys.json"))
    keys.make(tmp_path / "keys.json")
    assert main(["--config", str(path), "check-config"]) == 0
    assert 'room.name = "signup"' in capsys.readouterr().out


@BOTH
def test_they_listen_on_all_of_the_container_on_the_images_ports(path: Path) -> None:
    loaded = config.load(path, {})
    assert (loaded.http.bind, loaded.ops.bind) == ("0.0.0.0:8080", "0.0.0.0:8081")
    assert loaded.process.data_dir == "/data"


@BOTH
def test_the_number_of_workers_is_said(path: Path) -> None:
    """0 counts the cores of the node, which a limit of CPU does not change."""
    assert config.load(path, {}).process.workers > 0


@BOTH
def test_copies_are_never_single(path: Path) -> None:
    assert not config.load(path, {}).deliver.allow_single_copy


@BOTH
def test_no_secret_stands_in_them(path: Path) -> None:
    loaded = config.load(path, {})
    assert config.masked(loaded).count("***") == 0
    assert loaded.identity.keys_file.startswith("/run/secrets/")
