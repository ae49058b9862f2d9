"""What the public port serves from memory: notices, the OpenAPI document, the pages of problems.

Read at start and on SIGHUP; an unreadable notices file at start stops the
start, on SIGHUP it changes nothing and says why.
"""

from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from gateway.core.notice import Notices
from gateway.errors import ConfigError
from gateway.openapi import openapi
from gateway.reply import etag, problem_page

_JSON: Final = "application/json"
_HTML: Final = "text/html; charset=utf-8"


class Document(NamedTuple):
    """A body and the tag of exactly this body."""

    content_type: str
    body: bytes
    etag: str


class Documents:
    """All of them, made once."""

    def __init__(self, notices_file: str, notices_max_age_s: int) -> None:
        """Args: notices_file: JSON of the form of `Notices`; empty for none."""
        self.notices_max_age_s = notices_max_age_s
        self.notices = _notices(notices_file)
        self.openapi = _document(_JSON, msgspec.json.encode(openapi()))
        self._problems: dict[tuple[str, str], Document] = {}

    def reload(self, notices_file: str) -> None:
        """Read the notices again.  Raises ConfigError, and then nothing has changed."""
        self.notices = _notices(notices_file)

    def problem(self, code: str, lang: str) -> Document:
        """The page of one problem in "ko" or "en"."""
        document = self._problems.get((code, lang))
        if document is None:
            document = self._problems[code, lang] = _document(_HTML, problem_page(code, lang))
        return document


def _document(content_type: str, body: bytes) -> Document:
    return Document(content_type, body, etag(body))


def _notices(path: str) -> Document:
    notices = Notices()
    if path:
        try:
            notices = msgspec.json.decode(Path(path).read_bytes(), type=Notices)
        except OSError as exc:
            raise ConfigError(f"notices.file {path}: cannot be read: {exc.strerror}") from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise ConfigError(f"notices.file {path}: {exc}") from exc
    return _document(_JSON, msgspec.json.encode(notices))
