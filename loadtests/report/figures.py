"""How figures and words are written in a report: for people, "—" where nothing is known, and all of it escaped."""

import math
import re
from html import escape
from typing import Final

UNKNOWN: Final = "—"
TEXT_MAX: Final = 600  # characters of one sentence from a result: a traceback in a reason must not be the whole page
# What XML 1.0 does not allow, lone surrogates among it: a name of a file that is not UTF-8 would end in them.
_UNWRITABLE: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def plain(text: str) -> str:
    """Text that any file may hold, of bounded length."""
    clean = _UNWRITABLE.sub("\ufffd", text)
    return clean if len(clean) <= TEXT_MAX else f"{clean[: TEXT_MAX - 1]}…"


def said(text: str) -> str:
    """The same within HTML, in an element or an attribute."""
    return escape(plain(text))


def number(value: float | None, unit: str = "") -> str:
    """Three digits that count, or all of a whole number."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    size = abs(value)
    digits = 0 if size >= 100 or value == int(value) else 1 if size >= 10 else 2 if size >= 0.1 else 3
    text = f"{value:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text}\u00a0{unit}" if unit else text


def latency(value_ms: float) -> str:
    """Milliseconds, or seconds of them."""
    return number(value_ms, "ms") if not value_ms >= 1000 else number(value_ms / 1000, "s")


def duration(value_s: float) -> str:
    """Seconds, or minutes where there are many."""
    if not math.isfinite(value_s) or value_s < 120:
        return number(value_s, "s")
    minutes, seconds = divmod(round(value_s), 60)
    return f"{minutes:,}\u00a0min {seconds:02d}\u00a0s" if minutes < 120 else f"{minutes // 60}\u00a0h {minutes % 60:02d}\u00a0min"


def percent(share: float) -> str:
    """Of one, in hundredths; tenths of them are enough."""
    return number(round(share * 100, 1), "%")


def clock(at_s: float) -> str:
    """An instant of the rehearsal's clock: m:ss or h:mm:ss."""
    if not math.isfinite(at_s):
        return UNKNOWN
    sign, whole = "−" if at_s < 0 else "", abs(round(at_s))
    hours, minutes, seconds = whole // 3600, whole // 60 % 60, whole % 60
    return f"{sign}{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{sign}{minutes}:{seconds:02d}"
