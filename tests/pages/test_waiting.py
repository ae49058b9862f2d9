"""The waiting page as bytes: whole in every state and both languages, within 14 KB, and nobody's text is markup."""

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from gateway.core import pace
from gateway.pages import waiting
from gateway.pages.waiting import PAGE_BYTES_MAX, State, View, headers, page
from gateway.pages.words import ENGLISH, KOREAN, WORDS, Language

STATES: tuple[State, ...] = get_args(State)
LANGUAGES: tuple[Language, ...] = ("ko", "en")
EVERY = list(product(LANGUAGES, STATES))
EVIL = """</title><script>alert("1")</script>'$x ${y} & \u2028"""
VOID = {"meta", "input", "link"}
STYLE = Path(waiting.__file__).with_name("waiting.css").read_text(encoding="utf-8")


class Reader(HTMLParser):
    """What a browser would make of a page, as far as these tests ask."""

    def __init__(self, document: bytes) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.seen = ""  # text that shows, without script
        self.texts: dict[str, str] = {}  # of a tag, the last
        self.heads: list[str] = []  # of those that show
        self.feed(document.decode())
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1][0]] = data
        names = {name for name, _ in self.open}
        if not names & {"style", "script", "title"} and not any("hidden" in attributes for _, attributes in self.open):
            self.seen += data
            if "h2" in names:
                self.heads.append(data)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag and wanted.items() <= attributes.items()]


def view(lang: Language = "ko", state: State = "waiting", **more: Any) -> View:
    usual = View("signup", "걷기 앱 가입", lang, state, ahead=5226, p50_s=720, p90_s=1080, next_s=20)
    return usual._replace(**more)


@pytest.mark.parametrize(("lang", "state"), EVERY)
def test_every_page_is_whole_and_says_its_state_alone(lang: Language, state: State) -> None:
    read = Reader(page(view(lang, state)))
    assert read.all("html", lang=lang)
    assert [len(read.all(tag)) for tag in ("h1", "main", "header", "title", "style", "script")] == [1] * 6
    assert read.all("meta", name="robots", content="noindex")
    heads = {name: WORDS[lang][f"{name}_head"] for name in STATES}
    assert [name for name, head in heads.items() if head in read.heads] == [state]
    assert "$" not in read.seen


@pytest.mark.parametrize(("lang", "state"), EVERY)
def test_every_page_is_within_the_first_window(lang: Language, state: State) -> None:
    """With the longest title the settings allow and the longest message an operator may say, all of it Hangul."""
    most = view(lang, state, title="걷" * 80, message="가" * 500, reason="overload", pass_text="p" * 64)
    assert len(page(most)) <= PAGE_BYTES_MAX
    assert len(page(most._replace(continue_url="https://walk.example/" + "u" * 40))) <= PAGE_BYTES_MAX


@pytest.mark.parametrize("state", STATES)
def test_forms_do_what_the_state_allows(state: State) -> None:
    text = page(view(state=state)).decode()
    shown = [part for part in re.findall(r'<section class="card" data-in="[^"]*">.*?</section>', text, re.DOTALL) if "<form" in part]
    acts = [re.search(r'name="act" value="(\w+)"', part) for part in shown]
    assert [act[1] for act in acts if act] == {"outside": ["join"], "full": ["join"], "shut": ["join"], "called": ["enter"], "busy": ["enter"]}.get(state, [])
    assert {form["action"] for form in Reader(text.encode()).all("form")} == {"/rooms/signup"}


def test_a_waiting_page_tells_the_place_and_the_wait() -> None:
    korean, english = (Reader(page(view(lang))) for lang in LANGUAGES)
    assert "5,226명" in korean.seen
    assert "약 12–18분" in korean.seen
    assert korean.texts["title"] == "약 12–18분 · 걷기 앱 가입"
    assert "about 12–18 minutes" in english.seen
    for words, read in ((KOREAN, korean), (ENGLISH, english)):
        assert words["leave_text"] in read.seen
        assert words["turn_text"] in read.seen
        assert words["turn_script"] not in read.seen  # hidden from who has no script
        assert words["at_load"] in read.seen


def test_a_closed_room_tells_who_waits_that_the_place_is_kept_and_who_comes_that_there_is_none() -> None:
    for lang in LANGUAGES:
        words = WORDS[lang]
        closed, shut = (Reader(page(view(lang, state, message="내일 다시 엽니다"))) for state in ("closed", "shut"))
        assert [words[name] in closed.seen for name in ("closed_text", "ahead", "look", "shut_text")] == [True, True, True, False]
        assert [words[name] in shut.seen for name in ("closed_text", "ahead", "look", "shut_text")] == [False, False, False, True]
        assert "내일 다시 엽니다" in closed.seen
        assert "내일 다시 엽니다" in shut.seen


@pytest.mark.parametrize("state", ["called", "busy", "through"])
def test_the_tab_says_it_is_your_turn(state: State) -> None:
    assert Reader(page(view("en", state))).texts["title"] == "Your turn · 걷기 앱 가입"


def test_the_page_asks_again_by_itself_only_when_told() -> None:
    """The reload is for those without script, and a GET even where this page was the answer to a POST."""
    refresh = '<noscript><meta http-equiv="refresh" content="20;url=/rooms/signup"></noscript>'
    assert refresh in page(view()).decode()
    assert "20초마다" in Reader(page(view())).seen
    assert "refresh" not in page(view(next_s=0)).decode()
    assert "초마다" not in page(view(next_s=0)).decode()


@pytest.mark.parametrize("reason", ["", *(reason.value for reason in pace.Reason), "something new"])
def test_a_rise_is_explained_as_far_as_we_have_words(reason: str) -> None:
    read = Reader(page(view("en", reason=reason)))
    assert (ENGLISH["why"] in read.seen) == bool(reason)
    assert (ENGLISH["why_told"] in read.seen) == (reason == "told")
    assert (ENGLISH["why_slow"] in read.seen) == (reason in {"acks-stopped", "spool-filling", "overload", "floor", "consumption"})


def test_every_reason_the_page_knows_exists() -> None:
    known = {name for names in waiting._WHYS for name in names.split()} - {"any"}
    assert known <= {reason.value for reason in pace.Reason}


# The pass


def test_with_a_continue_url_the_pass_stands_behind_its_hash() -> None:
    read = Reader(page(view(state="through", pass_text="a-_.~/+b", continue_url="https://walk.example/join?a=1&b=2")))
    assert [link["href"] for link in read.all("a")] == ["https://walk.example/join?a=1&b=2#pass=a-_.~%2F%2Bb"]
    assert KOREAN["through_text"] in read.seen


def test_without_one_the_pass_is_shown_for_the_app() -> None:
    read = Reader(page(view(state="through", pass_text='p"<1')))
    assert not read.all("a")
    [field] = read.all("input", id="pass")
    assert field["value"] == 'p"<1'
    assert KOREAN["to_app"] in read.seen
    assert read.all("label", **{"for": "pass"})


@pytest.mark.parametrize("state", [state for state in STATES if state != "through"])
def test_only_who_is_through_has_the_pass(state: State) -> None:
    for url in ("", "https://walk.example/"):
        assert b"a-pass" not in page(view(state=state, continue_url=url, pass_text="a-pass"))


# Nobody's text is markup


@pytest.mark.parametrize("field", ["title", "message", "continue_url", "pass_text", "room", "reason"])
@pytest.mark.parametrize("url", ["", "https://walk.example/"])
def test_no_text_becomes_markup(field: str, url: str) -> None:
    changed: dict[str, Any] = {field: EVIL}
    plain = Reader(page(view(state="through", message="m", reason="x" * (field == "reason"), continue_url=url or "x" * (field == "continue_url"))))
    evil = Reader(page(view(state="through", message="m", continue_url=url)._replace(**changed)))
    assert [(tag, attributes.keys()) for tag, attributes in evil.tags] == [(tag, attributes.keys()) for tag, attributes in plain.tags]
    if field == "message":
        assert EVIL in evil.seen
    if field == "title":
        assert evil.texts["title"].endswith(EVIL)


def test_without_a_message_there_is_no_place_for_one() -> None:
    assert KOREAN["message_head"] not in Reader(page(view())).seen
    assert KOREAN["message_head"] in Reader(page(view(message="오늘은 천천히 들어갑니다"))).seen


# What may run


def test_the_policy_allows_exactly_our_style_and_script() -> None:
    said = dict(headers(view()))
    policy = dict(part.strip().split(" ", 1) for part in said["Content-Security-Policy"].split(";"))
    for lang, state in EVERY:
        text = page(view(lang, state, message="$&", continue_url="https://walk.example/")).decode()
        for tag, directive in (("style", "style-src"), ("script", "script-src")):
            [inner] = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
            assert policy[directive] == f"'sha256-{b64encode(sha256(inner.encode()).digest()).decode()}'"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"


def test_headers() -> None:
    said = dict(headers(view()))
    assert said["X-Robots-Tag"] == "noindex"
    assert said["Referrer-Policy"] == "no-referrer"
    assert {name.strip() for name in said["Vary"].split(",")} == {"Accept-Language", "Cookie"}
    assert "Refresh" not in said  # a script could not stop it


@pytest.mark.parametrize(("lang", "state"), EVERY)
def test_nothing_comes_from_elsewhere_and_nothing_is_inline_but_the_two(lang: Language, state: State) -> None:
    read = Reader(page(view(lang, state)))
    names = {name for _, attributes in read.tags for name in attributes}
    assert not names & {"src", "style", "srcset", "onclick", "onload", "onsubmit"}
    assert not re.search(rb"https?://|//[a-z]|url\(|@import", page(view(lang, state)))


# Colours


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    digits = colour * 2 if len(colour) == 3 else colour
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out(scheme: int) -> None:
    colours = [dict(re.findall(r"--([a-z-]+):#(\w+)", rule)) for rule in re.findall(r":root\{([^}]*)\}", STYLE)][scheme]
    texts = [("ink", "ground"), ("ink", "card"), ("ink", "note"), ("soft", "ground"), ("soft", "card"), ("on-act", "act"), ("act", "ground"), ("act", "card")]
    assert not [pair for pair in texts if contrast(*(colours[name] for name in pair)) < 4.5]
    edges = [("act", "card"), ("act", "ground"), ("line", "card")]
    assert not [pair for pair in edges if contrast(*(colours[name] for name in pair)) < 3]
