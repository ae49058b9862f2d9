"""Every code that can reach the operators' page has a plain sentence, in Korean and in English."""

import json
import re
from pathlib import Path
from typing import Final

import pytest

from gateway.core.light import REASONS
from gateway.core.pace import Reason
from gateway.errors import PROBLEMS
from gateway.ops.readings import STATES

PAGE: Final = Path(__file__).parents[2] / "gateway/ops/dashboard"
WORDS: Final[dict[str, dict[str, str]]] = json.loads((PAGE / "words.json").read_text(encoding="utf-8"))
LANGUAGES: Final = ("ko", "en")
# What a frame and the log may say, by the group of its words; where the gateway has a table of its own, that one is read too.
TABLE: Final = """
bottleneck  starting draining no-worker worker kafka redis room-store spool closed paused overload core told
bottleneck  acks-stopped spool-filling downstream floor ceiling climbing lag-unknown none
light       not-asked ok single-copy-allowed slow connecting topic-missing single-copy partition-failing kafka-silent kafka-away
light       redis-ok redis-slow redis-away room-ok room-away no-room no-spool
light       spool-ok spool-used spool-aside spool-full spool-failed spool-rejected
light       workers-ok workers-starting worker-ended worker-silent no-worker
pace        paused told acks-stopped spool-filling overload lag-unknown climbing floor ceiling consumption closed
log         started ready draining reloaded reload-failed worker-started worker-ended worker-silent light pace room-state act act-refused
worker      stopped starting serving draining silent
state       open paused closed
drain       paused closed
up          starting draining no-worker
colour      grey green amber red
dependency  workers kafka redis room spool
class       syncs signups joins looks
slo         answered acked
level       ok warn bad
"""
SOURCES: Final = {"light": [reason.code for reason in REASONS], "pace": [reason.value for reason in Reason], "problem": [*PROBLEMS], "worker": [*STATES]}


def codes() -> set[str]:
    """group.code of everything there is."""
    table = [line.split() for line in TABLE.strip().splitlines()]
    return {f"{group}.{code}" for group, *said in [*table, *([group, *said] for group, said in SOURCES.items())] for code in said}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_code_has_its_words(lang: str) -> None:
    assert not codes() - WORDS[lang].keys()


def test_both_languages_say_the_same_things_of_the_same_values() -> None:
    holes = {lang: {key: sorted(re.findall(r"\{(\w+)\}", text)) for key, text in WORDS[lang].items()} for lang in LANGUAGES}
    assert holes["ko"] == holes["en"]
    assert all(text.strip() for lang in LANGUAGES for text in WORDS[lang].values())


def test_korean_is_korean_and_english_is_english() -> None:
    """Names and units aside, no sentence was left in the other language."""
    assert not [key for key, text in WORDS["en"].items() if re.search("[가-힣]", text)]
    alike = {key for key, text in WORDS["ko"].items() if not re.search("[가-힣]", text)}
    assert alike <= {"bottleneck.kafka", "bottleneck.redis", "dependency.kafka", "dependency.redis", "log.light", "series.ack.p99_ms", "worker.cpu", "changed"}


def test_refusals_are_titled_as_everywhere() -> None:
    titles = {f"problem.{code}": (problem.title_ko, problem.title) for code, problem in PROBLEMS.items()}
    assert {key: (WORDS["ko"].get(key), WORDS["en"].get(key)) for key in titles} == titles


def test_every_sentence_is_used_and_every_one_used_is_there() -> None:
    """Written out in a script or the page, or made of a group's name and a code."""
    texts = [path.read_text(encoding="utf-8") for path in [PAGE / "index.html", *PAGE.glob("*.js")]]
    written = {key for text in texts for key in re.findall(r"""["'`]([a-z][\w-]*(?:[./][\w./-]+)?)["'`]""", text)}
    groups = {key for text in texts for key in re.findall(r"`([a-z][\w-]*\.)\$\{", text)} | {"pace.", "light.", "worker."}
    keys = WORDS["en"].keys()
    assert not [key for key in keys if key not in written and not any(key.startswith(group) for group in groups)]
    said = {key for text in texts for key in re.findall(r"""say\("([^"]+)"|data-(?:word|label)="([^"]+)\"""", text) for key in key if key}
    assert said <= keys
