"""The page's files as they are served."""

import gzip
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.errors import Refusal
from gateway.ops.assets import Assets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text("<!doctype html>" + "x" * 1_000)
    (tmp_path / "words.json").write_text("{}")
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("not for browsers")
    return tmp_path


def asked(**headers: str) -> web.Request:
    return make_mocked_request("GET", "/", headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_compressed_for_who_takes_it(folder: Path) -> None:
    plain, packed = Assets(folder).answer(asked(), "index.html"), Assets(folder).answer(asked(Accept_Encoding="gzip, br"), "index.html")
    assert isinstance(plain.body, bytes)
    assert isinstance(packed.body, bytes)
    assert gzip.decompress(packed.body) == plain.body == (folder / "index.html").read_bytes()
    assert (packed.headers["Content-Encoding"], len(packed.body) < 100) == ("gzip", True)
    assert packed.headers["Vary"] == "Accept-Encoding"


def test_what_has_not_changed_is_not_sent_again(folder: Path) -> None:
    etag = Assets(folder).answer(asked(), "index.html").headers["ETag"]
    assert Assets(folder).answer(asked(If_None_Match=etag), "index.html").status == 304
    assert Assets(folder).answer(asked(If_None_Match=etag), "index.html", status=401).status == 401
    (folder / "index.html").write_text("another")
    assert Assets(folder).answer(asked(If_None_Match=etag), "index.html").status == 200


@pytest.mark.parametrize("name", ["package.json", "notes.txt", "../assets.py", "", "uPlot.iife.min.js"])
def test_nothing_else_is_served(folder: Path, name: str) -> None:
    with pytest.raises(Refusal):
        Assets(folder).answer(asked(), name)


def test_charts_come_from_the_package(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    Assets(folder)
    assert "no charts, only tables" in caplog.text
    dist = folder / "node_modules/uplot/dist"
    dist.mkdir(parents=True)
    for name in ("uPlot.iife.min.js", "uPlot.min.css", "uPlot.esm.js"):
        (dist / name).write_text("x")
    caplog.clear()
    assert Assets(folder).answer(asked(), "uPlot.iife.min.js").status == 200
    assert caplog.text == ""
    with pytest.raises(Refusal):
        Assets(folder).answer(asked(), "uPlot.esm.js")


def test_no_script_of_anybody_elses(folder: Path) -> None:
    policy = Assets(folder).answer(asked(), "index.html").headers["Content-Security-Policy"]
    assert policy == "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
