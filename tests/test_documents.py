"""What the public port serves from memory."""

import json
from pathlib import Path

import pytest

from gateway.documents import Documents
from gateway.errors import PROBLEMS, ConfigError

NOTICES = {"notices": [{"id": "n1", "title": {"ko": "어제 걸음 수", "en": "Yesterday's steps"}, "text": {"ko": "…", "en": "…"}, "since": "2026-01-05"}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "notices.json"
    file.write_text(json.dumps(NOTICES))
    return file


def test_notices_are_what_the_file_says(path: Path) -> None:
    notices = Documents(str(path), 60).notices
    assert notices.content_type == "application/json"
    [notice] = json.loads(notices.body)["notices"]
    assert notice == NOTICES["notices"][0] | {"until": ""}


def test_without_a_file_there_are_none() -> None:
    assert json.loads(Documents("", 60).notices.body) == {"notices": []}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"notices": 5}',
        '{"notices": [{}]}',
        '{"notice": []}',
        '{"notices": [{"id": "", "title": {}, "text": {}}]}',
        '{"notices": [{"id": "a", "title": {}, "text": {}, "html": ""}]}',
    ],
)
def test_a_file_that_says_something_else_stops_the_start(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"^notices\.file .*notices\.json: "):
        Documents(str(path), 60)


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Documents(str(tmp_path / "none.json"), 60)


def test_a_file_that_is_not_utf8_stops_the_start(path: Path) -> None:
    path.write_bytes(b'{"notices": [{"id": "\xff", "title": {}, "text": {}}]}')
    with pytest.raises(ConfigError):
        Documents(str(path), 60)


def test_a_reload_reads_it_again_and_a_bad_one_changes_nothing(path: Path) -> None:
    documents = Documents(str(path), 60)
    first = documents.notices
    path.write_text("{}")
    documents.reload(str(path))
    assert json.loads(documents.notices.body) == {"notices": []}
    second = documents.notices
    assert second.etag != first.etag
    path.write_text("{")
    with pytest.raises(ConfigError):
        documents.reload(str(path))
    assert documents.notices is second


def test_a_tag_is_of_exactly_its_body(path: Path) -> None:
    one, other = Documents(str(path), 60), Documents(str(path), 60)
    assert one.notices == other.notices  # every worker and every restart: the same
    assert one.openapi == other.openapi
    pages = [one.problem(code, lang) for code in PROBLEMS for lang in ("ko", "en")]
    assert len({page.etag for page in pages}) == len({page.body for page in pages}) == len(pages)
    assert all(page.etag[0] == page.etag[-1] == '"' for page in pages)


def test_pages_of_problems_are_made_once() -> None:
    documents = Documents("", 60)
    assert documents.problem("overloaded", "ko") is documents.problem("overloaded", "ko")
    assert documents.problem("overloaded", "ko").content_type == "text/html; charset=utf-8"
    with pytest.raises(KeyError):
        documents.problem("no-such-code", "en")


def test_the_openapi_document_is_one() -> None:
    document = json.loads(Documents("", 60).openapi.body)
    assert document["openapi"].startswith("3.1")
    assert {"/v1/syncs", "/v1/signups"} <= document["paths"].keys()
