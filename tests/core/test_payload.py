"""What a sync and a sign-up may contain.

Bodies are written by `text` below, not by a JSON library: it can name a field twice, spell a
name with escapes, and put white space where JSON allows it.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core import payload
from gateway.core.payload import SAMPLES_MAX, SEQ_MAX, STEPS_MAX, Flaw, Invalid, Malformed, Sample, Signup, SyncBody, read_signup, read_sync

Pairs = list[tuple[str, str]]
"""An object as (name, JSON text of its value)."""

PLAIN: Final = (("seq", "41"), ("day", '"2026-01-27"'), ("steps", "8123"), ("recorded_at", '"2026-01-27T22:10:05+09:00"'), ("source", '"watch"'))
HEAD: Final = (("device_id", '"4f1c"'), ("platform", '"android"'), ("app_version", '"2.3.1"'))
SAMPLE_FIELDS: Final = (*(name for name, _ in PLAIN), "id")
SYNC_FIELDS: Final = (*(name for name, _ in HEAD), "samples")

APPLICATION: Final[dict[str, Any]] = {
    "signup_id": "0190a6f0-3d52-7b1e-8c4f-5a9d2e7b6c18",
    "revision": 1,
    "name": "홍길동",
    "phone": "+821012345678",
    "birth_date": "1960-03-01",
    "district": "종로구",
    "device": {"platform": "ios", "model": "iPhone15,2"},
    "consents": {"terms": True, "health_data": True, "marketing": False},
}


def text(pairs: Iterable[tuple[str, str]], *, space: str = "", escape: bool = False) -> str:
    """An object of these pairs; with `escape` the first letter of each name is spelled \\u00xx."""
    return "{" + ",".join(f'"{_spelled(name, escape=escape)}"{space}:{space}{value}' for name, value in pairs) + "}"


def _spelled(name: str, *, escape: bool) -> str:
    return f"\\u{ord(name[0]):04x}{name[1:]}" if escape else name


def sample(**fields: str) -> Pairs:
    """A valid sample; `fields` are JSON texts."""
    return list((dict(PLAIN) | fields).items())


def sync_of(samples: Sequence[str], head: Sequence[tuple[str, str]] = HEAD) -> bytes:
    return text([*head, ("samples", f"[{','.join(samples)}]")]).encode()


def sync(*samples: Iterable[tuple[str, str]]) -> bytes:
    return sync_of([text(pairs) for pairs in samples])


def read(body: bytes) -> list[Sample | Flaw]:
    found = read_sync(body)
    assert isinstance(found, SyncBody), found
    return list(found.samples)


def fields(found: Sample | Flaw) -> dict[str, object] | None:
    """A valid sample's fields; which of the two decoders made it says nothing."""
    return {name: getattr(found, name) for name in SAMPLE_FIELDS} if isinstance(found, Sample) else None


# One wrong field each, and where the pointer has to lead.
WRONG: Final[list[tuple[str, str | None]]] = [
    *(("steps", wrong) for wrong in (None, "null", "1.5", "8123.0", "1e3", "0.0", '"8123"', "true", "false", "[1]", "{}", "-1", str(STEPS_MAX + 1), "9" * 400)),
    *(("seq", wrong) for wrong in (None, "null", "1.0", '"1"', "true", "-1", str(SEQ_MAX + 1))),
    *(
        ("day", wrong)
        for wrong in (None, "null", "20260127", '"27.01.2026"', '"2026-1-27"', '"2026-01-27T00"', '"2026-01-2x"', '"２０２６-01-27"', '"2026-W05-1"', '""')
    ),
    *(("recorded_at", wrong) for wrong in (None, "null", "0", '"2026-01-27T22:10:05"', '"2026-02-30T00:00:00Z"', '"2026-01-27"', '"now"')),
    *(("source", wrong) for wrong in (None, "null", '""', f'"{"w" * 33}"', r'"a\u0000b"', r'"a\n"', r'"\u001f"', "7")),
    *(("id", wrong) for wrong in ('""', f'"{"i" * 65}"', "7", "{}", r'"\t"', r'"i\n"')),
]

wrongs = st.sampled_from(WRONG)
good_fields = st.fixed_dictionaries(
    {
        "seq": st.integers(0, SEQ_MAX).map(str),
        "day": st.dates().map(lambda day: f'"{day.isoformat()}"'),
        "steps": st.integers(0, STEPS_MAX).map(str),
        "recorded_at": st.datetimes().map(lambda at: f'"{at.isoformat()}+09:00"'),
        "source": st.sampled_from(["watch", "phone", "손목시계"]).map(lambda s: json.dumps(s, ensure_ascii=False)),
    },
    optional={"id": st.sampled_from(['"a"', '"seq"', '"steps"', "null", r'"\u0041"'])},
)


# A sample is judged alone


@given(st.lists(good_fields | wrongs, min_size=1, max_size=6))
def test_exactly_the_valid_ones_come_through(choices: list[dict[str, str] | tuple[str, str | None]]) -> None:
    """With the pointer of what is wrong with the others, and no neighbour harmed."""
    samples = []
    for choice in choices:
        if isinstance(choice, dict):
            samples.append(sample(**choice))
        else:
            name, wrong = choice
            samples.append([pair for pair in sample() if pair[0] != name] + ([] if wrong is None else [(name, wrong)]))
    found = read(sync(*samples))
    assert len(found) == len(choices)
    for index, (choice, one) in enumerate(zip(choices, found, strict=True)):
        if isinstance(choice, dict):
            assert isinstance(one, Sample), one
            assert (str(one.seq), str(one.steps), f'"{one.day}"') == (choice["seq"], choice["steps"], choice["day"])
            assert one.id == json.loads(choice.get("id", "null"))
        else:
            assert isinstance(one, Flaw), one
            assert (one.code, one.pointer) == ("invalid-field", f"/samples/{index}/{choice[0]}")
            assert one.seq == (None if choice[0] == "seq" else 41)


@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_each_wrong_field_is_named(name: str, wrong: str | None) -> None:
    bad = [pair for pair in sample() if pair[0] != name] + ([] if wrong is None else [(name, wrong)])
    first, second = read(sync(bad, sample(seq="42")))
    assert isinstance(first, Flaw)
    assert (first.code, first.pointer) == ("invalid-field", f"/samples/0/{name}")
    assert isinstance(second, Sample)


@pytest.mark.parametrize("name", ["seq", "day", "steps", "recorded_at", "source", "id"])
def test_what_is_wrong_is_never_quoted(name: str) -> None:
    secret = "홍길동" * 30
    [one] = read(sync(sample(**{name: json.dumps(secret, ensure_ascii=False)})))
    assert secret[:3] not in repr(one)


@pytest.mark.parametrize("not_an_object", ["null", "5", '"x"', "[]", "true"])
def test_what_is_no_object_is_one_invalid_sample(not_an_object: str) -> None:
    first, second = read(sync_of([not_an_object, text(sample())]))
    assert isinstance(first, Flaw)
    assert (first.code, first.pointer, first.id, first.seq) == ("invalid-field", "/samples/0", None, None)
    assert isinstance(second, Sample)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(json_values, st.booleans())
@example(1.0, False)
@example(True, False)
@example("7", True)
@example(None, True)
def test_steps_are_what_an_integer_says_and_nothing_else(value: object, has_flawed_neighbour: bool) -> None:
    """Absent, null, float, text and bool never become a number, least of all 0; on neither path."""
    neighbours = [sample(steps="null")] if has_flawed_neighbour else []
    one = read(sync(sample(steps=json.dumps(value)), *neighbours))[0]
    if type(value) is int and 0 <= value <= STEPS_MAX:
        assert isinstance(one, Sample)
        assert (one.steps, type(one.steps)) == (value, int)
    else:
        assert isinstance(one, Flaw)
        assert one.pointer == "/samples/0/steps"


@pytest.mark.parametrize(
    ("name", "number", "is_valid"), [("steps", 0, True), ("steps", 200_000, True), ("steps", 200_001, False), ("seq", 2**53 - 1, True), ("seq", 2**53, False)]
)
def test_the_bounds_are_those_promised(name: str, number: int, is_valid: bool) -> None:
    [one] = read(sync(sample(**{name: str(number)})))
    assert isinstance(one, Sample) == is_valid


def test_two_hundred_samples_and_no_more() -> None:
    assert len(read(sync(*[sample()] * SAMPLES_MAX))) == SAMPLES_MAX
    assert read_sync(sync(*[sample()] * (SAMPLES_MAX + 1))) == Invalid([("/samples", "Expected `array` of length <= 200")])
    assert read_sync(sync()) == Invalid([("/samples", "Expected `array` of length >= 1")])


@pytest.mark.parametrize("name", SYNC_FIELDS)
@pytest.mark.parametrize("wrong", [None, "null", "7", '""', r'"x\n"'])
def test_a_head_that_cannot_be_read_refuses_the_request(name: str, wrong: str | None) -> None:
    whole = [*HEAD, ("samples", f"[{text(sample())}]")]
    body = text([pair for pair in whole if pair[0] != name] + ([] if wrong is None else [(name, wrong)])).encode()
    found = read_sync(body)
    assert isinstance(found, Invalid)
    assert [pointer for pointer, _ in found.errors] == [f"/{name}"]


# Names given twice

spellings: Final[st.SearchStrategy[dict[str, Any]]] = st.fixed_dictionaries({"space": st.sampled_from(["", " ", "\n\t "]), "escape": st.booleans()})
# Values that look like names, and objects that hold them: none of these is a name given twice.
strange = st.lists(
    st.tuples(
        st.sampled_from(["x", "mood", "id2", "seqs"]),
        st.sampled_from(['"seq"', '"steps"', '"id"', "7", "null", '{"seq":1,"id":"a"}', '[{"steps":1},{"steps":2}]', '{"x":1,"x":2}', '"device_id"']),
    ),
    max_size=3,
)


@st.composite
def spelled_samples(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A sample's text, and which of its fields stand twice in it."""
    pairs = sample(**draw(good_fields)) + draw(strange)
    repeated = draw(st.lists(st.sampled_from([name for name, _ in pairs if name in SAMPLE_FIELDS]), max_size=2, unique=True)) if draw(st.booleans()) else []
    values = dict(pairs)
    for name in repeated:
        pairs.insert(draw(st.integers(0, len(pairs))), (name, draw(st.sampled_from([values[name], "null", "7"]))))
    return text(pairs, **draw(spellings)), repeated


@given(st.lists(spelled_samples(), min_size=1, max_size=4))
@example([(text([*sample(), ("id", '"a"'), ("id", "null")]), ["id"]), (text(sample(id='"id"')), [])])
@example([(text([*sample(id='"a"'), ("id", '"b"')]), ["id"]), (text(sample()), [])])
@example([(text([*sample(), ("x", "1"), ("x", "2")]), [])])
def test_a_field_named_twice_is_found_and_its_sample_refused(samples: list[tuple[str, list[str]]]) -> None:
    """However it is spelled, whatever stands beside it; and no sample without one is refused for it."""
    for index, (one, (_, repeated)) in enumerate(zip(read(sync_of([written for written, _ in samples])), samples, strict=True)):
        if not repeated:
            assert isinstance(one, Sample), one
            continue
        assert isinstance(one, Flaw), one
        assert one.code == "duplicate-key"
        assert one.pointer in [f"/samples/{index}/{name}" for name in repeated]
        # Which of two would the phone mean?  A name given twice cannot be read.
        assert "id" not in repeated or one.id is None
        assert "seq" not in repeated or one.seq is None


@given(st.sampled_from(SYNC_FIELDS), spellings, strange)
def test_a_field_of_the_head_named_twice_refuses_the_request(name: str, spelling: dict[str, Any], more: Pairs) -> None:
    whole = [*HEAD, ("samples", f"[{text(sample())}]"), *more]
    body = text([(name, dict(whole)[name]), *whole], **spelling).encode()
    assert read_sync(body) == Invalid([(f"/{name}", "named twice in one object")])


@given(st.lists(spelled_samples(), min_size=1, max_size=4), strange, spellings)
@example([(text(sample()), [])], [], {"space": " ", "escape": False})
def test_the_fast_path_agrees_with_the_slow_one(samples: list[tuple[str, list[str]]], more: Pairs, spelling: dict[str, Any]) -> None:
    """Fields and flaws alike, on every body; the fast path is only ever faster."""
    body = text([*HEAD, *more, ("samples", f"[{','.join(written for written, _ in samples)}]")], **spelling).encode()
    assert same(read_sync(body), payload._read_sync_by_sample(body))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A body that was valid until something happened to a few of its bytes."""
    body = bytearray(sync(sample(), sample(seq="42", id='"a"')))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 3))] = draw(
            st.sampled_from([b"", b'"', b"\\", b"{", b"}", b",", b"0", b"\xff", b"null", b'"id":"x",', b"1.5", b" "])
        )
    return bytes(body)


@given(damaged())
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(sync(sample())[:-1])
@example(sync([*sample(), ("x", '"@"')]).replace(b"@", b"\xff"))
@example(sync([*sample(), ("x", '"\\ud800"')], sample(steps="null")))
@example(sync([*sample(), ("x", "NaN")]))
@example(sync([*sample(), ("x", "01")], sample(steps="null")))
def test_both_paths_agree_on_damaged_bodies(body: bytes) -> None:
    assert same(read_sync(body), payload._read_sync_by_sample(body))


def same(fast: SyncBody | Malformed | Invalid, slow: SyncBody | Malformed | Invalid) -> bool:
    """Equal, but for the words in which two parsers say that something is no JSON."""
    match fast, slow:
        case SyncBody(), SyncBody():
            heads = [(found.device_id, found.platform, found.app_version) for found in (fast, slow)]
            one, other = ([fields(s) or s for s in found.samples] for found in (fast, slow))
            return heads[0] == heads[1] and one == other
        case Malformed(), Malformed():
            return True
        case _:
            return fast == slow


@pytest.mark.parametrize(
    ("more", "is_fast"),
    [([], True), ([("mood", "7"), ("x", '"y"')], True), ([("x", '{"seq":1}')], False), ([("id", "null")], False), ([("x", r'"\u0041"')], False)],
)
def test_what_the_fast_path_takes(more: Pairs, is_fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown fields and full samples do not cost the closer look."""
    looks: list[bytes] = []
    monkeypatch.setattr(payload, "_read_sync_by_sample", looks.append)
    read_sync(sync([*sample(), *more], sample(id='"a"')))
    assert (not looks) == is_fast


# What no body can do


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_body_is_an_accident(body: bytes) -> None:
    assert isinstance(read_sync(body), SyncBody | Malformed | Invalid)
    assert isinstance(read_signup(body), Signup | Malformed | Invalid)


@pytest.mark.parametrize("depth", [10, 900, 5_000, 100_000])
def test_a_deep_body_is_judged_not_crashed_on(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    for head in (HEAD, ()):
        found = read_sync(sync_of([text(sample())], [("x", deep), *head]))
        assert isinstance(found, (SyncBody if head else Invalid) if depth < 1_000 else Malformed)


def test_an_answer_is_never_much_larger_than_its_body() -> None:
    """A long unknown name with 20,000 pairs in it would be 20,000 long pointers, if they were told."""
    inside = "{" + ",".join(['"a":0'] * 20_000) + "}"
    long = ("K" * 130_000, inside)
    application = [(name, json.dumps(value)) for name, value in APPLICATION.items()]
    assert isinstance(read_signup(text([long, *application]).encode()), Signup)
    assert isinstance(read_sync(text([long, ("samples", "[]"), *HEAD]).encode()), Invalid)
    [one] = read(sync([long, *sample(), ("steps", "0")]))
    assert isinstance(one, Flaw)
    assert one.pointer == "/samples/0/steps"


def test_what_is_malformed_is_said_without_quoting() -> None:
    for body in ('{"비밀": 홍길동}'.encode(), b'{"a": "\xff"}', b'{"secret"', b"[1, 2"):
        found = read_sync(body)
        assert isinstance(found, Malformed)
        assert "secret" not in found.detail
        assert found.detail.isascii()


# Sign-ups


def application(**fields: object) -> bytes:
    return json.dumps(APPLICATION | fields, ensure_ascii=False).encode()


def places(body: bytes) -> list[str]:
    found = read_signup(body)
    assert isinstance(found, Invalid), found
    return [pointer for pointer, _ in found.errors]


def test_an_application_is_read() -> None:
    found = read_signup(application())
    assert isinstance(found, Signup)
    assert (str(found.signup_id), found.revision, found.name) == (APPLICATION["signup_id"], 1, "홍길동")


@pytest.mark.parametrize("wrong", ["821012345678", "+0212345678", "+82101234567890123", "+82 10", "+8210123\n", "+821012345678\n", "", "+１２３４５６７８"])
def test_a_phone_number_is_e164_to_its_last_character(wrong: str) -> None:
    assert places(application(phone=wrong)) == ["/phone"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("signup_id", wrong) for wrong in ("x", 7, None)),
        *(("revision", wrong) for wrong in (0, -1, 1.0, "1", None, True, 1_000_001)),
        *(("birth_date", wrong) for wrong in ("1960-02-30", "1960-3-1", 0, None)),
        *((name, wrong) for name in ("name", "district") for wrong in ("", "x" * 101, "홍\n", "\0", None, 7)),
        ("device", None),
        ("device", []),
        ("device", "ios"),
        ("consents", None),
        ("consents", []),
        ("consents", True),
    ],
)
def test_each_wrong_field_of_an_application_is_named(name: str, wrong: object) -> None:
    assert places(application(**{name: wrong})) == [f"/{name}"]


@pytest.mark.parametrize(
    ("terms", "health_data", "want"),
    [(False, True, ["/consents/terms"]), (True, False, ["/consents/health_data"]), (False, False, ["/consents/terms", "/consents/health_data"])],
)
def test_the_two_consents_are_needed(terms: bool, health_data: bool, want: list[str]) -> None:
    assert places(application(consents={"terms": terms, "health_data": health_data, "marketing": True})) == want


@pytest.mark.parametrize("consent", [None, 1, "true"])
def test_a_consent_is_a_bool_and_not_what_resembles_one(consent: object) -> None:
    assert places(application(consents={"terms": consent, "health_data": True, "marketing": True})) == ["/consents/terms"]


def spelled_application(place: str, name: str, *, spelling: dict[str, Any]) -> bytes:
    """An application whose object at `place` names `name` twice."""

    def written(value: object, at: str) -> str:
        if not isinstance(value, dict):
            return json.dumps(value)
        pairs = [(inner, written(one, f"{at}/{inner}")) for inner, one in value.items()]
        return text([*pairs, (name, dict(pairs)[name])] if at == place else pairs, **spelling)

    return written(APPLICATION, "").encode()


@pytest.mark.parametrize(
    ("place", "name"),
    [*(("", name) for name in APPLICATION), *(("/device", name) for name in APPLICATION["device"]), *(("/consents", name) for name in APPLICATION["consents"])],
)
@pytest.mark.parametrize("spelling", [{"space": "", "escape": False}, {"space": " \n", "escape": True}])
def test_a_field_of_an_application_named_twice(place: str, name: str, spelling: dict[str, Any]) -> None:
    assert places(spelled_application(place, name, spelling=spelling)) == [f"{place}/{name}"]


def test_unknown_fields_of_an_application_are_ignored_with_all_in_them() -> None:
    body = application(x={"terms": False}, device=APPLICATION["device"] | {"y": "\0"}).decode()
    assert isinstance(read_signup((body[:-1] + ', "x": {"z": 1, "z": 2}}').encode()), Signup)
