"""The page's files: read once, compressed once, served from memory.

Decided here: which files there are, and what headers they get.  They hold no data: whoever may not look gets them
and no more.  uPlot is a package that set-up fetches (dashboard/package.json); without it the page shows tables.
"""

import gzip
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import web

from gateway import logs
from gateway.errors import Refusal
from gateway.reply import etag

PAGE: Final = "index.html"
FOLDER: Final = Path(__file__).parent / "dashboard"
_UPLOT: Final = Path("node_modules/uplot/dist")
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
# no-cache: kept, and asked for again each time; a page and a script of two releases do not fit.
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
}


class Asset(NamedTuple):
    """One file."""

    content_type: str
    plain: bytes
    packed: bytes
    etag: str


class Assets:
    """All files of the page."""

    def __init__(self, folder: Path = FOLDER) -> None:
        paths = {path.name: path for path in sorted(folder.glob("*")) if path.suffix in _TYPES and not path.name.startswith("package")}
        uplot = {name: folder / _UPLOT / name for name in ("uPlot.iife.min.js", "uPlot.min.css")}
        missing = [name for name, path in uplot.items() if not path.is_file()]
        if missing:
            logs.warning("the screen has no charts, only tables: its package was not fetched at set-up", missing=missing)
        paths |= {name: path for name, path in uplot.items() if name not in missing}
        self._assets = {name: _asset(path) for name, path in paths.items()}

    def answer(self, request: web.Request, name: str, status: int = 200) -> web.Response:
        """One file.  Raises Refusal: there is none of that name."""
        asset = self._assets.get(name)
        if asset is None:
            raise Refusal("not-found", "no such file")
        headers = {**_HEADERS, "Content-Type": asset.content_type, "ETag": asset.etag}
        if status == 200 and request.headers.get("If-None-Match") == asset.etag:
            return web.Response(status=304, headers=headers)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(status=status, body=asset.packed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(status=status, body=asset.plain, headers=headers)


def _asset(path: Path) -> Asset:
    plain = path.read_bytes()
    return Asset(_TYPES[path.suffix], plain, gzip.compress(plain, 9, mtime=0), etag(plain))
