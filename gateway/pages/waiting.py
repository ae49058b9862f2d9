"""The waiting page: what somebody in line sees, whole without JavaScript and better with it.

Pure: a View in, bytes and headers out.  Not decided here: who is called, what the numbers are, when to ask again.

waiting.html is the whole page with all its states.  A part with `data-in` shows in the states it names, the others are
`hidden`; waiting.js changes nothing but that and a few texts.  So each sentence stands once, in words.py.  Those for who
has no place are never changed by the script, so only one of them is sent.

Style and script are in the page, allowed by their hashes: one answer, no second request that could fail, and all of
it is within the 14 KB a server may send before the first acknowledgement.

The reload of those without JavaScript is `<noscript><meta http-equiv=refresh>`, not the header `Refresh`: a script
cannot stop the header, and would be cut off in the middle of a knock.
"""

import math
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

from gateway.pages.words import WORDS, Language, minutes

PAGE_BYTES_MAX: Final = 14 * 1024  # ten segments, a new connection's first window (RFC 6928)
_NO_PLACE: Final = {"outside": ("outside_head", "outside_text"), "full": ("full_head", "full_text"), "shut": ("shut_head", "shut_text")}
State = Literal["outside", "waiting", "called", "through", "paused", "closed", "shut", "provisional", "full", "busy"]


class View(NamedTuple):
    """What one person is shown."""

    room: str  # its name in paths
    title: str  # what it is called, in this language
    lang: Language
    state: State  # outside: no place yet; shut: nor can there be one, the room is closed; busy: knocked, and told to come again in `next_s`
    ahead: int = 0
    p50_s: float = 0.0
    p90_s: float = 0.0
    next_s: int = 0  # until the page asks again by itself; 0: not by itself
    message: str = ""  # the operator's, plain text
    reason: str = ""  # why the estimate rose: core.pace.Reason, or ""
    pass_text: str = ""  # with "through"
    continue_url: str = ""  # where to go with it; "": back to the app


def page(view: View) -> bytes:
    """The whole document."""
    words = WORDS[view.lang]
    text = _template(view.lang, view.state, _why(view.reason)).substitute(
        TITLE=escape(view.title),
        TAB=escape(_tab(view, words)),
        ROOM=quote(view.room, safe=""),
        NEXT_S=view.next_s,
        P90_S=math.ceil(view.p90_s),
        REFRESH=f'<noscript><meta http-equiv="refresh" content="{view.next_s};url=/rooms/{quote(view.room, safe="")}"></noscript>' if view.next_s else "",
        BY_ITSELF=f"<noscript> {words['by_itself'].format(view.next_s)}</noscript>" if view.next_s else "",
        AHEAD=f"{view.ahead:,}",
        WAIT=minutes(view.p50_s, view.p90_s, view.lang),
        NO_MESSAGE="" if view.message else "hidden",
        MESSAGE=escape(view.message, quote=False),
        WAY=_way(view, words),
    )
    return text.encode()


def headers(view: View) -> list[tuple[str, str]]:
    """What the page needs beside Content-Type and Cache-Control; the same for every view."""
    del view
    return list(_HEADERS)


def _tab(view: View, words: Mapping[str, str]) -> str:
    """The title of the tab, which is all that is seen of a page behind others."""
    if view.state in _NO_PLACE:
        return view.title
    said = words["turn"] if view.state in {"called", "busy", "through"} else words[f"{view.state}_head"]
    return f"{minutes(view.p50_s, view.p90_s, view.lang) if view.state == 'waiting' else said} · {view.title}"


def _way(view: View, words: Mapping[str, str]) -> str:
    """Where to go with the pass: behind the #, which no server is sent and no log keeps."""
    pass_text = view.pass_text if view.state == "through" else ""
    if view.continue_url:
        behind = f"#pass={quote(pass_text, safe='')}" if pass_text else ""
        return f'<a class="button" id="go" href="{escape(view.continue_url + behind)}">{words["continue"]}</a>'
    return (
        f'<p>{words["to_app"]}</p><p><label for="pass">{words["pass"]}</label></p>'
        f'<input id="pass" readonly value="{escape(pass_text)}">'
        f'<button id="copy" type="button" class="quiet script" data-copied="{words["copied"]}" hidden>{words["copy"]}</button>'
    )


def _why(reason: str) -> str:
    """The reason among `data-why`: one without a sentence of its own is "any"."""
    return reason if not reason or any(reason in names.split() for names in _WHYS) else "any"


def _packed(name: str, comment: str) -> str:
    """A file beside this one without its comments and spare spaces: they are for us, and would be a third of the page.

    There a comment has lines of its own, strings stand in double quotes, and a statement ends in ; or }.
    """
    lines = [line.strip() for line in Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()]
    text = "\n".join([line for line in lines if line and not line.startswith(comment)])
    return text if name.endswith(".html") else re.sub(r'("[^"]*")|(?<=[;{,])\n| *([=<>?:,{}()|&;*]) *', r"\1\2", text)


def _source(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_HTML: Final = _packed("waiting.html", "<!--")
_STYLE: Final = _packed("waiting.css", "/*")
_SCRIPT: Final = _packed("waiting.js", "//")
_WHYS: Final = tuple(re.findall(r'data-why="([^"]*)"', _HTML))
_MAY: Final = (
    f"default-src 'none'; script-src {_source(_SCRIPT)}; style-src {_source(_STYLE)}; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    ("Content-Security-Policy", _MAY),
    ("X-Robots-Tag", "noindex"),
    ("Vary", "Accept-Language, Cookie"),
    ("Referrer-Policy", "no-referrer"),
)


@lru_cache(maxsize=256)  # 2 languages, 10 states, 8 reasons at most
def _template(lang: Language, state: State, why: str) -> Template:
    """The page with everything that is the same for all who are told this."""
    shown = {state, why, "any"} if why else {state}

    def hide(part: re.Match[str]) -> str:
        return part[0] if shown & set(part[1].split()) else f"{part[0]} hidden"

    html = re.sub(r'data-(?:in|why)="([^"]*)"', hide, _HTML)
    words = {name: text.replace("$", "$$") for name, text in WORDS[lang].items()}
    head, text = _NO_PLACE.get(state, _NO_PLACE["outside"])
    words |= {"NO_PLACE_HEAD": words[head], "NO_PLACE_TEXT": words[text]}
    return Template(
        Template(html).safe_substitute(words, LANG=lang, STATE=state, REASON=why, STYLE=_STYLE.replace("$", "$$"), SCRIPT=_SCRIPT.replace("$", "$$"))
    )
