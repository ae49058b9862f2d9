"""Tickets and passes: one text for each thing, and whatever else is shown has a name."""

import random
from base64 import urlsafe_b64decode, urlsafe_b64encode
from itertools import pairwise
from string import ascii_letters, digits
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core import ticket as ticket_module
from gateway.core.ticket import JOIN_BYTES, PASS_US, TEXT_CHARS, Flaw, Key, Office, Pass, Provisional, Ticket

ROOM, EPOCH, NOW_US = "signup", 1_766_270_464, 1_766_300_000_000_000
JOIN_SECRET = b"j" * 32
OLD, NEW, STRANGE = Key("1", bytes(range(32))), Key("2", b"n" * 32), Key("3", b"s" * 32)
ALPHABET = ascii_letters + digits + "-_"
NOT_OURS = {Flaw.FORGED, Flaw.UNKNOWN_KEY}


def office(*keys: Key, room: str = ROOM, epoch: int = EPOCH, join_secret: bytes = JOIN_SECRET) -> Office:
    return Office(room, epoch, keys or (OLD,), join_secret)


OFFICE = office()
JOIN = OFFICE.join_hash(UUID(int=5))
TICKET, PROVISIONAL = OFFICE.ticket(4_711, NOW_US), OFFICE.provisional(JOIN, NOW_US)
PASS, PASS_PROVISIONAL = OFFICE.pass_for(4_711, NOW_US), OFFICE.pass_for(JOIN, NOW_US)
TEXTS = (TICKET, PROVISIONAL, PASS, PASS_PROVISIONAL)
PINNED = (
    "EURhh7fId50bAAAAAGlHJgANwTCH5qg0twAGRnDEERgAMzYxV6S-7NA7g-pgvCLe",
    "EkRhh7fId50bAAAAAGlHJgAAAAAAAAASZwAGRnDn1F4A5PtrxyS3wi5M_s2aBnnD",
    "E0Rhh7fId50bAAAAAGlHJgANwTCH5qg0twAGRnDn1F4AkOk7SUXneEIEc0TfPYgr",
)

places = st.integers(0, 2**64 - 1)
times_us = st.integers(0, 2**63)
joins = st.binary(min_size=JOIN_BYTES, max_size=JOIN_BYTES)


def answers(text: str, of: Office = OFFICE, now_us: int = NOW_US) -> set[object]:
    """What both readers say."""
    return {of.read_ticket(text), of.read_pass(text, now_us)}


def changed(text: str, byte: int, mask: int) -> str:
    """With some bits of one byte turned over."""
    sealed = bytearray(urlsafe_b64decode(text))
    sealed[byte] ^= mask
    return urlsafe_b64encode(sealed).decode()


# What is made is read


@given(places, times_us)
def test_a_ticket_says_what_it_was_made_of(place: int, joined_us: int) -> None:
    text = OFFICE.ticket(place, joined_us)
    assert OFFICE.read_ticket(text) == Ticket(place, joined_us)
    assert len(text) == TEXT_CHARS
    assert set(text) <= set(ALPHABET)


@given(joins, times_us)
@example(b"\x00" * JOIN_BYTES, 0)
def test_a_provisional_ticket_too(join: bytes, joined_us: int) -> None:
    text = OFFICE.provisional(join, joined_us)
    assert OFFICE.read_ticket(text) == Provisional(join, joined_us)
    assert len(text) == TEXT_CHARS


@given(st.one_of(places, joins), times_us)
def test_a_pass_is_valid_from_its_slot_for_ten_minutes(holder: int | bytes, slot_us: int) -> None:
    text = OFFICE.pass_for(holder, slot_us)
    assert OFFICE.read_pass(text, slot_us) == Pass(holder, slot_us + PASS_US)
    assert len(text) == TEXT_CHARS


def test_the_form_is_pinned() -> None:
    """A change of it takes the place of everybody who waits: it needs a new version."""
    assert JOIN.hex() == "0dc13087e6a834b7"
    assert TICKET == "EERhh7fId50bAAAAAGlHJgAAAAAAAAASZwAGRnDEERgA36Vnn3hnvfpE_6cj8wUh"
    assert [urlsafe_b64decode(text)[0] for text in TEXTS] == [0x10, 0x11, 0x12, 0x13]
    assert TEXTS[1:] == PINNED


def test_every_worker_makes_the_same_pass_of_a_slot() -> None:
    assert office().pass_for(4_711, NOW_US) == PASS
    assert len({PASS, office().pass_for(4_712, NOW_US), office().pass_for(4_711, NOW_US + 1), office().pass_for(JOIN, NOW_US)}) == 4


def test_a_holder_is_named_as_in_kafka() -> None:
    assert Pass(4_711, 0).name == "4711"
    assert Pass(JOIN, 0).name == "j0dc13087e6a834b7"


# What is changed is refused


@pytest.mark.parametrize("text", TEXTS)
def test_no_byte_can_be_changed(text: str) -> None:
    """Every change of every byte; of those that say which key, it says that."""
    for byte in range(48):
        for mask in range(1, 256):
            found = answers(changed(text, byte, mask))
            assert found == {Flaw.UNKNOWN_KEY if byte in (1, 2) else Flaw.FORGED}, (byte, mask)


@pytest.mark.parametrize("text", TEXTS)
def test_no_character_can_be_changed(text: str) -> None:
    """Nor written in another way: the standard alphabet, white space, a letter that only looks like one."""
    for at in range(TEXT_CHARS):
        for character in {*ALPHABET, "+", "/", "=", " ", "\n", "é", "\udcff", "A"} - {text[at]}:
            assert answers(text[:at] + character + text[at + 1 :]) <= NOT_OURS, (at, character)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("length", range(TEXT_CHARS))
def test_a_cut_one_is_told_from_a_forged_one(text: str, length: int) -> None:
    assert answers(text[:length]) == {Flaw.CUT}
    assert answers(text[TEXT_CHARS - length :]) == {Flaw.CUT}


@pytest.mark.parametrize("more", ["A", "=", "==", "\n", " ", "A" * 64, TICKET, "A" * 100_000])
def test_a_longer_one_is_none(more: str) -> None:
    assert answers(TICKET + more) == answers(more[: TEXT_CHARS - 1] + TICKET) == {Flaw.FORGED}


@given(st.text(max_size=80))
@example("\udcff" * 64)
@example("=" * 64)
@example("A" * 64)
def test_no_text_of_others_is_read_and_none_raises(text: str) -> None:
    assert answers(text) <= {Flaw.CUT, *NOT_OURS}


@given(st.binary(min_size=48, max_size=48))
def test_no_bytes_of_others_are_read(sealed: bytes) -> None:
    assert answers(urlsafe_b64encode(sealed).decode()) <= NOT_OURS


def test_of_a_hundred_thousand_mutants_none_is_accepted() -> None:
    """Flips, cuts, splices of two, other rooms, other epochs, tickets as passes, keys that are gone."""
    rng = random.Random(1)
    strangers = [office(room="signups"), office(epoch=EPOCH + 1), office(STRANGE), office(Key("1", b"o" * 32))]

    def mutant() -> str:
        text, place = rng.choice(TEXTS), rng.randrange(5_000, 1_000_000)
        match rng.randrange(6):
            case 0:
                for _ in range(rng.randrange(1, 4)):
                    text = changed(text, rng.randrange(48), 1 << rng.randrange(8))
                return text
            case 1:
                return text[: rng.randrange(TEXT_CHARS)]
            case 2:
                at = rng.randrange(36, TEXT_CHARS)  # behind the place
                return text[:at] + OFFICE.ticket(place, NOW_US + place)[at:]
            case 3:
                return rng.choice(strangers).ticket(place, NOW_US)
            case 4:
                return rng.choice(strangers).pass_for(place, NOW_US)
            case _:
                return rng.choice(ALPHABET) + text[1:]

    mutants = {mutant() for _ in range(110_000)} - set(TEXTS)
    accepted = [text for text in mutants if not all(isinstance(found, Flaw) for found in answers(text))]
    assert not accepted
    assert len(mutants) > 50_000


# What is ours, and for something else


@pytest.mark.parametrize("text", [TICKET, PROVISIONAL])
def test_a_ticket_is_no_pass(text: str) -> None:
    assert OFFICE.read_pass(text, NOW_US) is Flaw.TICKET_AS_PASS


@pytest.mark.parametrize("text", [PASS, PASS_PROVISIONAL])
def test_a_pass_is_no_ticket(text: str) -> None:
    assert OFFICE.read_ticket(text) is Flaw.PASS_AS_TICKET


@pytest.mark.parametrize(("text", "mask"), [(TICKET, 2), (PROVISIONAL, 2), (PASS, 2), (TICKET, 1), (PASS, 1)])
def test_a_ticket_that_calls_itself_a_pass_is_forged(text: str, mask: int) -> None:
    """And a place that calls itself a join hash, too."""
    assert answers(changed(text, 0, mask)) == {Flaw.FORGED}


def test_the_two_labels_have_two_keys() -> None:
    """Even the same body would have another MAC."""
    assert OLD.mac(0x10, b"body") == OLD.mac(0x11, b"body") != OLD.mac(0x12, b"body") == OLD.mac(0x13, b"body")


def test_a_later_version_under_our_key_is_not_guessed_at() -> None:
    body = b"\x20" + urlsafe_b64decode(TICKET)[1:33]
    assert answers(urlsafe_b64encode(body + OLD.mac(0x20, body)).decode()) == {Flaw.FORGED}


@pytest.mark.parametrize(
    ("other", "want"),
    [
        (office(room="signups"), Flaw.ROOM),
        (office(room=""), Flaw.ROOM),
        (office(room="가입"), Flaw.ROOM),
        (office(epoch=EPOCH + 1), Flaw.EPOCH),
        (office(epoch=0), Flaw.EPOCH),
        (office(room="signups", epoch=0), Flaw.ROOM),
        (office(STRANGE), Flaw.UNKNOWN_KEY),
        (office(Key("1", b"o" * 32)), Flaw.FORGED),  # the kid used again for another secret
    ],
)
def test_of_another_room_epoch_or_key(other: Office, want: Flaw) -> None:
    """In both directions; and a flaw of the kind is said first: the client has mixed them up."""
    assert other.read_ticket(TICKET) == other.read_ticket(PROVISIONAL) == other.read_pass(PASS, NOW_US) == want
    assert OFFICE.read_ticket(other.ticket(1, NOW_US)) == OFFICE.read_pass(other.pass_for(1, NOW_US), NOW_US) == want
    if want in (Flaw.ROOM, Flaw.EPOCH):
        assert OFFICE.read_pass(other.ticket(1, NOW_US), NOW_US) is Flaw.TICKET_AS_PASS


# Time


@pytest.mark.parametrize(
    ("after_slot_us", "is_valid"),
    [
        (0, True),
        (1, True),
        (PASS_US - 1, True),
        (PASS_US, False),
        (PASS_US + 1, False),
        (10**15, False),
        (-1, True),  # the reader's clock is behind the door's
        (-3_600_000_000, True),  # by an hour
        (-NOW_US, True),  # or has no battery
    ],
)
def test_a_pass_ends_by_the_clock_of_who_reads_it(after_slot_us: int, is_valid: bool) -> None:
    found = OFFICE.read_pass(PASS, NOW_US + after_slot_us)
    assert found == (Pass(4_711, NOW_US + PASS_US) if is_valid else Flaw.EXPIRED)


def test_an_expired_pass_of_another_epoch_is_of_another_epoch() -> None:
    """Expiry is said last: it invites to come again."""
    assert office(epoch=1).read_pass(PASS, NOW_US + PASS_US) is Flaw.EPOCH


# Keys


def test_a_change_of_keys_refuses_nobody() -> None:
    """At each step some workers are a step ahead of the others."""
    steps = [office(OLD), office(OLD, NEW), office(NEW, OLD), office(NEW)]
    for behind, ahead in pairwise(steps):
        for maker, reader in [(ahead, behind), (behind, ahead)]:
            assert reader.read_ticket(maker.ticket(7, NOW_US)) == Ticket(7, NOW_US)
            assert reader.read_pass(maker.pass_for(7, NOW_US), NOW_US) == Pass(7, NOW_US + PASS_US)


def test_a_key_that_is_gone_opens_nothing() -> None:
    assert answers(TICKET, office(NEW)) == answers(PASS, office(NEW)) == {Flaw.UNKNOWN_KEY}
    assert office(NEW, OLD).read_ticket(TICKET) == Ticket(4_711, NOW_US)


def test_a_key_that_is_put_in_front_at_once_is_unknown_to_those_behind() -> None:
    """Why a change has three steps."""
    assert office(OLD).read_ticket(office(NEW, OLD).ticket(7, NOW_US)) is Flaw.UNKNOWN_KEY


def twin_of(kid: str) -> str:
    """Another kid of the same tag."""
    tag = Key(kid, b"x" * 32).tag
    return next(other for number in range(10**6) if Key(other := f"k{number}", b"x" * 32).tag == tag)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ((), r"0 keys under `tickets` \(\): want 1 or 2"),
        ((OLD, NEW, STRANGE), r"3 keys under `tickets` \(1, 2, 3\): want 1 or 2"),
        ((OLD, OLD), "want two that differ"),
        ((OLD, Key(twin_of("1"), b"t" * 32)), r"kids under `tickets` \(1, k\d+\): want two that differ in their hash"),
    ],
)
def test_keys_no_office_can_have_are_said(keys: tuple[Key, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Office(ROOM, EPOCH, keys, JOIN_SECRET)


@pytest.mark.parametrize("length", [0, 31])
def test_short_secrets_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"tickets kid a: {length} bytes: want at least 32"):
        Key("a", b"x" * length)
    with pytest.raises(ValueError, match=f"join secret: {length} bytes: want at least 32"):
        Office(ROOM, EPOCH, [OLD], b"x" * length)


def test_a_secret_may_be_longer_than_a_hash_takes() -> None:
    assert office(Key("a", b"x" * 65)).ticket(1, 1) != office(Key("a", b"x" * 66)).ticket(1, 1)


def test_no_repr_shows_a_secret() -> None:
    key = Key("a", b"SECRET" * 6)
    assert repr(key) == "Key(a, ***)"
    assert "SECRET" not in repr(office(key))


# Joins


@given(st.uuids())
def test_a_join_has_one_hash_whatever_the_ticket_keys(join_id: UUID) -> None:
    """A change of keys in the middle of a line gives nobody a second place."""
    assert office(OLD).join_hash(join_id) == office(NEW, OLD).join_hash(join_id)
    assert len(office().join_hash(join_id)) == JOIN_BYTES


def test_the_same_join_is_another_one_elsewhere() -> None:
    others = [office(), office(room="signups"), office(epoch=EPOCH + 1), office(join_secret=b"o" * 32)]
    assert len({other.join_hash(UUID(int=5)) for other in others}) == len(others)


def test_joins_do_not_meet() -> None:
    assert len({OFFICE.join_hash(UUID(int=number)) for number in range(100_000)}) == 100_000


def test_what_was_read_before_is_remembered_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is genuine; and another line, or other keys, know nothing of it."""
    monkeypatch.setattr(ticket_module, "KNOWN_MAX", 3)
    mine = office()
    texts = [mine.ticket(place, 7) for place in range(5)]
    for _ in range(2):
        assert [mine.read_ticket(text) for text in texts] == [Ticket(place, 7) for place in range(5)]
        assert len(mine._known) <= 3
    assert mine.read_ticket(texts[0][:-1] + ("A" if texts[0][-1] != "A" else "B")) is Flaw.FORGED
    assert office(epoch=EPOCH + 1).read_ticket(texts[4]) is Flaw.EPOCH
