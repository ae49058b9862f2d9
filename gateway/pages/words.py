"""What the waiting page says, in Korean and English, and which of the two somebody reads.

Pure.  Decided here: every sentence of the page, the language, how an estimate is put in words.
Not decided here: where a sentence stands (waiting.html) and when it shows (waiting.py, waiting.js).

The sentences are for somebody of 70 with a phone: polite, short, none of our words (no ticket, no token).  They are HTML already: no `<`, `&` or `"` but as meant.

An estimate is told as finely as it is true, p50 to the nearest step and p90 to the next above:

    up to 20 min  1 min     up to 1 h  5 min     up to 3 h  10 min     up to 12 h  30 min     above  1 h

waiting.js says the same minutes in the page; tests/browser holds the two equal.
"""

import math
import re
from collections.abc import Mapping
from typing import Final, Literal

Language = Literal["ko", "en"]

DAY_S: Final = 86_400
_STEPS: Final = ((20, 1), (60, 5), (180, 10), (720, 30))  # minutes below which, and the step; beyond the last, an hour
_RANGES_MAX: Final = 32  # of one Accept-Language; browsers send under ten
_RANGE: Final = re.compile(r"([a-z]{2,8})(?:-[a-z0-9-]*)?(?:\s*;\s*q\s*=\s*([01](?:\.\d{0,3})?))?", re.IGNORECASE)

KOREAN: Final = {
    "outside_head": "지금은 차례대로 들어갑니다",
    "outside_text": "아래 단추를 누르시면 순서가 정해집니다. 먼저 누르신 분부터 들어가십니다.",
    "join": "줄 서기",
    "waiting_head": "줄을 서서 기다리고 계십니다",
    "ahead": "내 앞에 계신 분",
    "people": "명",
    "wait": "예상 대기 시간",
    "why": "예상 시간이 바뀌었습니다.",
    "why_told": "담당자가 들어가는 속도를 조절했습니다.",
    "why_slow": "가입 신청을 처리할 수 있는 만큼 천천히 들어가고 있습니다.",
    "called_head": "차례가 되었습니다",
    "called_text": "아래 ‘들어가기’ 단추를 눌러 주세요. 몇 초 걸릴 수 있습니다.",
    "called_script": "지금 들어가고 있습니다. 몇 초만 기다려 주세요.",
    "enter": "들어가기",
    "busy_head": "곧 들어가십니다",
    "busy_text": "차례가 되었지만 지금 들어가시는 분이 많습니다. 순서는 그대로입니다.",
    "busy_again": "잠시 뒤 ‘들어가기’ 단추를 다시 눌러 주세요.",
    "busy_script": "이 화면이 알아서 다시 시도합니다. 그대로 두시면 됩니다.",
    "through_head": "이제 들어가실 수 있습니다",
    "through_text": "입장권은 받으신 때부터 10분 동안 쓸 수 있습니다. 그 안에 가입 신청을 마쳐 주세요.",
    "until": "{}까지 쓸 수 있습니다.",
    "continue": "가입 신청하러 가기",
    "to_app": "앱으로 돌아가 아래 입장권 번호를 붙여 넣어 주세요.",
    "pass": "입장권 번호",
    "copy": "복사하기",
    "copied": "복사했습니다",
    "paused_head": "입장이 잠시 멈췄습니다",
    "paused_text": "순서는 그대로 있습니다. 다시 시작되면 이 화면에 나옵니다.",
    "closed_head": "지금은 대기실이 닫혀 있습니다",
    "closed_text": "순서는 그대로 있습니다. 다시 열리면 이 화면에 나옵니다.",
    "shut_head": "지금은 줄을 서실 수 없습니다",
    "shut_text": "대기실이 닫혀 있습니다. 다시 열린 뒤에 아래 단추를 눌러 주세요.",
    "provisional_head": "순서를 확인하고 있습니다",
    "provisional_text": "줄을 서신 시각은 기록해 두었습니다. 잠시 뒤에 순서를 알려 드립니다.",
    "full_head": "지금은 줄이 가득 찼습니다",
    "full_text": "죄송합니다. 지금은 더 모실 수 없습니다. 잠시 뒤에 다시 눌러 주세요.",
    "trouble": "인터넷 연결이 고르지 않습니다. 순서는 그대로 있으며, 다시 연결하고 있습니다.",
    "message_head": "안내 말씀",
    "at_load": "이 화면을 연 때의 내용입니다.",
    "at": "마지막 확인: {}",
    "by_itself": "{}초마다 스스로 다시 확인합니다.",
    "look": "지금 다시 확인",
    "moment": "잠시만 기다려 주세요",
    "help_head": "알아 두세요",
    "leave_head": "이 화면을 닫으면 어떻게 되나요?",
    "leave_text": "순서는 그대로 있습니다. 같은 기기의 같은 인터넷 앱(브라우저)에서 이 화면을 다시 여시면 됩니다.",
    "turn_head": "차례가 되면 어떻게 되나요?",
    "turn_text": "이 화면에 ‘들어가기’ 단추가 나옵니다.",
    "turn_script": "이 화면이 알아서 들어가고, 들어가신 것을 알려 드립니다.",
    "turn_after": "그때부터 10분 안에 가입 신청을 마쳐 주세요. 차례를 놓치셔도 다시 오시면 앞쪽에서 들어가십니다.",
    "turn": "차례입니다",
}

ENGLISH: Final = {
    "outside_head": "People are let in one after another",
    "outside_text": "Press the button below to take your place. Who comes first is let in first.",
    "join": "Join the line",
    "waiting_head": "You are in line",
    "ahead": "People ahead of you",
    "people": "",
    "wait": "Expected wait",
    "why": "The expected wait has changed.",
    "why_told": "Our staff adjusted how fast people are let in.",
    "why_slow": "People are let in only as fast as sign-ups can be handled.",
    "called_head": "It is your turn",
    "called_text": "Please press “Enter” below. It may take a few seconds.",
    "called_script": "You are being let in. Please wait a few seconds.",
    "enter": "Enter",
    "busy_head": "You will be let in shortly",
    "busy_text": "It is your turn, but many people are entering just now. Your place is kept.",
    "busy_again": "Please press “Enter” again in a moment.",
    "busy_script": "This page tries again by itself. Just leave it open.",
    "through_head": "You can go in now",
    "through_text": "Your pass is good for 10 minutes from when you got it. Please finish signing up within that time.",
    "until": "It is good until {}.",
    "continue": "Go on to sign up",
    "to_app": "Go back to the app and paste the pass below.",
    "pass": "Your pass",
    "copy": "Copy",
    "copied": "Copied",
    "paused_head": "Nobody is let in for the moment",
    "paused_text": "Your place is kept. This page will show when it goes on.",
    "closed_head": "The waiting room is closed just now",
    "closed_text": "Your place is kept. This page will show when it opens again.",
    "shut_head": "Nobody can join the line just now",
    "shut_text": "The waiting room is closed. Please press the button below when it has opened again.",
    "provisional_head": "We are looking up your place",
    "provisional_text": "The time you joined is noted. Your place will show here shortly.",
    "full_head": "The line is full just now",
    "full_text": "We are sorry: we cannot take more people at the moment. Please try again a little later.",
    "trouble": "The connection is unsteady. Your place is kept, and we are trying again.",
    "message_head": "From our staff",
    "at_load": "As it was when you opened this page.",
    "at": "Last checked: {}",
    "by_itself": "It checks again by itself every {} seconds.",
    "look": "Check again now",
    "moment": "One moment, please",
    "help_head": "Good to know",
    "leave_head": "What if I close this page?",
    "leave_text": "Your place is kept. Come back to this page on the same device, in the same browser.",
    "turn_head": "What happens when it is my turn?",
    "turn_text": "An “Enter” button shows on this page.",
    "turn_script": "This page lets you in by itself and tells you.",
    "turn_after": "You then have 10 minutes to finish signing up. If you miss your turn, come back: you will be among the first to enter.",
    "turn": "Your turn",
}

WORDS: Final[Mapping[Language, Mapping[str, str]]] = {"ko": KOREAN, "en": ENGLISH}


def language(accept_language: str) -> Language:
    """The one of ours that is wanted more, the first of equals; Korean where neither is named."""
    best: Language = "ko"
    best_q = 0.0
    for wanted in accept_language.split(",", _RANGES_MAX)[:_RANGES_MAX]:
        match = _RANGE.fullmatch(wanted.strip())
        if match is None:
            continue
        q = 1.0 if match[2] is None else float(match[2])
        for ours in WORDS:
            if match[1].lower() == ours and best_q < q <= 1:
                best, best_q = ours, q
    return best


def minutes(p50_s: float, p90_s: float, lang: Language) -> str:
    """An estimate as people say it: "약 12–18분", "about 1 h 20 – 2 h"."""
    low_s, high_s = sorted((max(p50_s, 0.0), max(p90_s, 0.0)))
    is_korean = lang == "ko"
    if high_s < 60:
        return "1분 이내" if is_korean else "less than a minute"
    if low_s >= DAY_S:
        return "하루 이상" if is_korean else "more than a day"
    low = max(1, _stepped(low_s, is_up=False))
    if high_s >= DAY_S:
        return f"{_span(low, is_korean=True)} 이상" if is_korean else f"more than {_span(low, is_korean=False)}"
    high = _stepped(high_s, is_up=True)
    if high < 60:
        between = f"{low}" if low == high else f"{low}–{high}"
        return f"약 {between}분" if is_korean else f"about {between} minute{'' if high == 1 else 's'}"
    first, last = _span(low, is_korean=is_korean), _span(high, is_korean=is_korean)
    about, dash = ("약", "–") if is_korean else ("about", " – ")
    return f"{about} {last}" if low == high else f"{about} {first}{dash}{last}"


def _stepped(seconds: float, *, is_up: bool) -> int:
    minute = seconds / 60
    step = next((step for below, step in _STEPS if minute < below), 60)
    # Not round(): it takes halves to the even step, and waiting.js does not.
    return (math.ceil(minute / step) if is_up else math.floor(minute / step + 0.5)) * step


def _span(minute: int, *, is_korean: bool) -> str:
    hours, rest = divmod(minute, 60)
    if is_korean:
        return " ".join([*([f"{hours}시간"] if hours else []), *([f"{rest}분"] if rest or not hours else [])])
    if not hours:
        return f"{rest} min"
    return f"{hours} h {rest}" if rest else f"{hours} h"
