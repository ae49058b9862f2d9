"""The operators' page as files: it is light, whole, ours, and can be read."""

import gzip
import json
import re
from pathlib import Path
from typing import Final

import pytest

from tests.pages.test_waiting import contrast

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "gateway/ops/dashboard"
LIBRARY: Final = [PAGE / "node_modules/uplot/dist" / name for name in ("uPlot.iife.min.js", "uPlot.min.css")]
OURS: Final = [path for path in sorted(PAGE.iterdir()) if path.suffix in {".html", ".js", ".css", ".svg"} or path.name == "words.json"]
LOAD_BYTES_MAX: Final = 60_000
HTML: Final = (PAGE / "index.html").read_text(encoding="utf-8")
CSS: Final = (PAGE / "dashboard.css").read_text(encoding="utf-8")


def test_the_whole_page_is_light() -> None:
    """All of it, compressed as the port compresses it: a phone in a tunnel sees it too."""
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in [*OURS, *LIBRARY]}
    print(sizes)
    assert sum(sizes.values()) <= LOAD_BYTES_MAX, sizes


def test_the_library_is_named_by_version_and_hash_and_no_registry() -> None:
    wanted = json.loads((PAGE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    lock = json.loads((PAGE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert wanted == {"uplot": "1.6.32"}
    assert {name for name in lock if name} == {"node_modules/uplot"}
    assert lock["node_modules/uplot"]["version"] == wanted["uplot"]
    assert lock["node_modules/uplot"]["integrity"].startswith("sha512-")
    assert "resolved" not in lock["node_modules/uplot"]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_it_names_nobody_else(path: Path) -> None:
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", path.read_text(encoding="utf-8")))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # a name, which nobody fetches


def test_nothing_is_inline() -> None:
    """The policy of the page would stop it, and nobody would see why."""
    assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:|data:", HTML)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", HTML))


def test_whatever_it_loads_is_there() -> None:
    loaded = set(re.findall(r'(?:href|src)="/assets/([^"]+)"', HTML))
    loaded |= {
        name
        for path in OURS
        if path.suffix == ".js"
        for name in re.findall(r'from "\./([^"]+)"|"/assets/([^"]+)"', path.read_text(encoding="utf-8"))
        for name in name
        if name
    }
    assert loaded == {path.name for path in [*OURS, *LIBRARY]} - {"index.html"}


def test_every_script_states_its_law() -> None:
    assert not [path.name for path in OURS if path.suffix == ".js" and not path.read_text(encoding="utf-8").startswith("// ")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_can_be_read_on_its_ground(scheme: str) -> None:
    blocks = [dict(re.findall(r"--([\w-]+):#(\w+)", block)) for block in re.findall(r":root\{(.*?)\}", CSS, re.DOTALL)]
    colours = blocks[0] if scheme == "light" else blocks[0] | blocks[1]
    texts = [(text, ground) for text in ("ink", "soft", "ok", "warn", "bad") for ground in ("ground", "card", "warn-card", "bad-card")]
    texts += [("faded", "card"), ("act", "card"), ("act", "ground"), ("on-act", "act"), ("on-state", "ok"), ("on-state", "warn"), ("on-state", "bad")]
    assert not [pair for pair in texts if contrast(colours[pair[0]], colours[pair[1]]) < 4.5]
    assert not [line for line in ("line", "line-1", "line-2", "line-3") if contrast(colours[line], colours["card"]) < 3]
