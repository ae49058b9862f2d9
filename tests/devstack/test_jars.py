"""The class path is the pinned one, or there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devstack import jars

if TYPE_CHECKING:
    from pathlib import Path


def test_the_pins_have_one_version_of_kafka() -> None:
    """The trap: beside log4j the resolver picks kafka-clients 3.8.0 unless told."""
    names = [line.split()[1] for line in jars.PINS.read_text().splitlines()]
    assert "kafka_2.13-4.1.1.jar" in names
    assert [name for name in names if name.startswith("kafka-clients")] == ["kafka-clients-4.1.1.jar"]


def test_a_broken_cache_is_fetched_afresh_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupted download heals by itself; jars that are still wrong are refused."""
    jar = tmp_path / "jars" / "a.jar"
    jar.parent.mkdir()
    monkeypatch.setattr(jars, "PINS", tmp_path / "pins")
    monkeypatch.setenv("M2_REPO", "")  # so that it is put back afterwards
    jar.write_bytes(b"whole")
    jars.PINS.write_text(jars._listing([jar]))
    jar.write_bytes(b"who")

    def build(*, update: bool = False) -> list[Path]:
        if update:
            jar.write_bytes(b"whole")
        return [jar]

    monkeypatch.setattr(jars, "_build", build)
    assert jars._fetch(tmp_path) == [jar]
    assert "not whole" in capsys.readouterr().out

    jars.PINS.write_text("another  a.jar\n")
    with pytest.raises(RuntimeError, match="not those of"):
        jars._fetch(tmp_path)
