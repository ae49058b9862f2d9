"""What the page says, and to whom in which language."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pages import words
from gateway.pages.words import ENGLISH, KOREAN, Language, language, minutes

HTML = Path(words.__file__).with_name("waiting.html").read_text(encoding="utf-8")
RENDERER = Path(words.__file__).with_name("waiting.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", "ko"),
        ("ko", "ko"),
        ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", "ko"),
        ("en-US,en;q=0.9,ko;q=0.8", "en"),
        ("en;q=0.8,ko;q=0.9", "ko"),
        ("EN-gb", "en"),
        ("en ; q=0.5 , ko;q=0.4", "en"),
        ("ja,zh-CN;q=0.9", "ko"),
        ("ja,en;q=0.1", "en"),
        ("en;q=0", "ko"),
        ("ko;q=0,en;q=0.001", "en"),
        ("en,ko", "en"),
        ("ko,en", "ko"),
        ("*", "ko"),
        ("*;q=0.5,en;q=0.4", "en"),
        ("en;q=2", "ko"),
        ("en;q=1.5", "ko"),
        ("en;q=abc", "ko"),
        ("enough", "ko"),
        (";;,,=", "ko"),
        ("ja," * 32 + "en", "ko"),  # nobody lists 32 before it
    ],
)
def test_language(header: str, wanted: str) -> None:
    assert language(header) == wanted


@given(st.text())
def test_any_header_has_a_language(header: str) -> None:
    assert language(header) in {"ko", "en"}


ESTIMATES = [
    (0, 0, "1분 이내", "less than a minute"),
    (-5, 59.9, "1분 이내", "less than a minute"),
    (0, 60, "약 1분", "about 1 minute"),
    (20, 170, "약 1–3분", "about 1–3 minutes"),
    (720, 1080, "약 12–18분", "about 12–18 minutes"),
    (1080, 720, "약 12–18분", "about 12–18 minutes"),
    (899, 900, "약 15분", "about 15 minutes"),
    (1490, 2013, "약 25–35분", "about 25–35 minutes"),
    (4 * 60, 55.5 * 60, "약 4분–1시간", "about 4 min – 1 h"),
    (41 * 60, 63 * 60, "약 40분–1시간 10분", "about 40 min – 1 h 10"),
    (79 * 60, 118 * 60, "약 1시간 20분–2시간", "about 1 h 20 – 2 h"),
    (3600, 3600, "약 1시간", "about 1 h"),
    (5220, 5400, "약 1시간 30분", "about 1 h 30"),
    (4 * 3600 + 800, 5 * 3600 + 60, "약 4시간–5시간 30분", "about 4 h – 5 h 30"),
    (13.4 * 3600, 20.1 * 3600, "약 13시간–21시간", "about 13 h – 21 h"),
    (20 * 3600, 30 * 3600, "20시간 이상", "more than 20 h"),
    (86_400, 90_000, "하루 이상", "more than a day"),
    (1e9, 1e12, "하루 이상", "more than a day"),
]


@pytest.mark.parametrize(("p50_s", "p90_s", "korean", "english"), ESTIMATES)
def test_minutes(p50_s: float, p90_s: float, korean: str, english: str) -> None:
    assert minutes(p50_s, p90_s, "ko") == korean
    assert minutes(p50_s, p90_s, "en") == english


@given(st.floats(0, 86_399), st.floats(0, 86_399))
def test_an_estimate_never_promises_less_than_p90(one_s: float, other_s: float) -> None:
    """And says nothing finer than its step: where two numbers are told, the first is the smaller."""
    told = minutes(one_s, other_s, "en")
    hours_or_minutes = [int(hours) * 60 + int(rest or 0) for hours, rest in re.findall(r"(\d+) h(?: (\d+))?", told)]
    plain = [int(number) for number in re.findall(r"\d+(?= min|–|$)", told)] if "h" not in told.replace("than", "") else []
    found = [*plain, *hours_or_minutes]
    assert found == sorted(set(found))
    assert not found or found[-1] * 60 >= max(one_s, other_s)


def test_both_languages_say_the_same_things() -> None:
    assert KOREAN.keys() == ENGLISH.keys()
    for name, text in KOREAN.items():
        assert text.count("{}") == ENGLISH[name].count("{}"), name


def test_every_sentence_is_used() -> None:
    """In the page, or in the renderer."""
    lost = [name for name in KOREAN if f"${name}" not in HTML and f'"{name}"' not in RENDERER and f"'{name}'" not in RENDERER]
    assert not lost


@pytest.mark.parametrize("texts", [KOREAN, ENGLISH])
def test_sentences_may_stand_in_attributes(texts: dict[str, str]) -> None:
    assert not [text for text in texts.values() if set(text) & set('<>&"$')]


def test_korean_is_polite() -> None:
    """Sentences end in 습니다, 세요, 십니다, 나요; labels and headings of one word are no sentences."""
    blunt = [text for text in KOREAN.values() if "." in text and not re.fullmatch(r"(?s)(.*(니다|세요|나요)[.?])(\s.*(니다|세요|나요)[.?])*", text)]
    assert not blunt


def test_there_are_two_languages() -> None:
    languages: list[Language] = ["ko", "en"]
    assert list(words.WORDS) == languages
