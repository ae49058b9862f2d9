"""Receipts: each says where something is kept, and nobody else can make one."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from string import ascii_letters, digits

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.kept import TEXT_CHARS, InKafka, InSpool, Kept, Receipts
from gateway.core.ticket import Key, Office

RECEIPTS = Receipts(b"s" * 32)
ALPHABET = ascii_letters + digits + "-_"
IN_KAFKA, IN_SPOOL = InKafka("syncs", 3, 1_204_117, 1_204_120), InSpool(0x5D0C1BE2F7A84936, 88_213)
TEXTS = tuple(RECEIPTS.text(kept).decode() for kept in (IN_KAFKA, InKafka("signups", 0, -1, -1), IN_SPOOL))
PINNED = (
    "IAAAAAMAAAAAABJflQAAAAPpGF_KWtJp1bkT80k4DU4n",
    "IQAAAAD__________wAAAABWdS_x5ZVzRnEyjsUVglNT",
    "Il0MG-L3qEk2AAAAAAABWJWNXHYtFHcl0Nokig6nRfqZ",
)

offsets = st.tuples(st.integers(0, 2**62), st.integers(0, 2**32 - 1)).map(lambda first_further: (first_further[0], sum(first_further)))
in_kafka = st.builds(lambda kind, partition, both: InKafka(kind, partition, *both), st.sampled_from(["syncs", "signups"]), st.integers(0, 2**31 - 1), offsets)
in_spool = st.builds(InSpool, st.integers(1, 2**64 - 1), st.integers(0, 2**63))


@given(st.one_of(in_kafka, in_spool))
@example(InKafka("syncs", 0, -1, -1))
@example(InKafka("signups", 2**31 - 1, 0, 2**32 - 1))
def test_a_receipt_says_what_it_was_made_of(kept: Kept) -> None:
    text = RECEIPTS.text(kept).decode()
    assert RECEIPTS.read(text) == kept
    assert len(text) == TEXT_CHARS
    assert set(text) <= set(ALPHABET)


@pytest.mark.parametrize(("first", "last", "said"), [(500, 3, 500), (0, 2**40, 2**32 - 1), (-1, -1, -1), (7, -1, 7)])
def test_offsets_that_do_not_fit_still_make_a_receipt(first: int, last: int, said: int) -> None:
    """It is for a 202 that has to be given."""
    assert RECEIPTS.read(RECEIPTS.text(InKafka("syncs", 0, first, last)).decode()) == InKafka("syncs", 0, first, said)


@given(st.one_of(in_kafka, in_spool), st.integers(0, TEXT_CHARS - 1), st.sampled_from(ALPHABET))
def test_no_character_of_any_receipt_can_be_changed(kept: Kept, at: int, character: str) -> None:
    text = RECEIPTS.text(kept).decode()
    changed = text[:at] + character + text[at + 1 :]
    assert RECEIPTS.read(changed) == (kept if changed == text else None)


@pytest.mark.parametrize("text", TEXTS)
def test_not_one_change_of_one_character_is_read(text: str) -> None:
    for at in range(TEXT_CHARS):
        for character in {*ALPHABET, "+", "/", "=", " ", "\n", "é", "\udcff"} - {text[at]}:
            assert RECEIPTS.read(text[:at] + character + text[at + 1 :]) is None, (at, character)


@pytest.mark.parametrize("text", ["", *(TEXTS[0][:length] for length in range(0, TEXT_CHARS, 4)), TEXTS[0] + "AAAA", TEXTS[0] + "=", "x" * 100_000])
def test_what_is_cut_or_longer_is_none(text: str) -> None:
    assert RECEIPTS.read(text) is None


def test_the_form_is_pinned() -> None:
    """Receipts outlive the version that gave them: a change needs a new high half of the kind."""
    assert TEXTS == PINNED
    assert [urlsafe_b64decode(text)[0] for text in TEXTS] == [0x20, 0x21, 0x22]


def test_all_who_share_the_secret_read_it_and_nobody_else() -> None:
    assert Receipts(b"s" * 32).read(TEXTS[0]) == IN_KAFKA
    assert Receipts(b"t" * 32).read(TEXTS[0]) is None


def test_offsets_farther_apart_than_the_form_can_say_are_told_as_far_as_it_can() -> None:
    assert RECEIPTS.read(RECEIPTS.text(InKafka("syncs", 0, 5, 2**40)).decode()) == InKafka("syncs", 0, 5, 5 + 2**32 - 1)


def test_a_kind_of_a_later_version_is_not_read() -> None:
    """Though it is signed with our key."""
    for kind in (0x00, 0x10, 0x23, 0x30, 0xFF):
        body = bytes([kind]) + urlsafe_b64decode(TEXTS[0])[1:17]
        assert RECEIPTS.read(urlsafe_b64encode(body + RECEIPTS._mac(body)).decode()) is None, kind


def test_neither_is_a_receipt_a_ticket_nor_a_ticket_a_receipt() -> None:
    """One secret behind both: also where the length would fit."""
    office = Office("room", 1, [Key("1", b"s" * 32)], b"s" * 32)
    for made in (office.ticket(5, 7), office.pass_for(5, 7)):
        assert RECEIPTS.read(made) is None
        assert RECEIPTS.read(made[:TEXT_CHARS]) is None
    for text in TEXTS:
        assert not isinstance(office.read_ticket(text), tuple)
        assert not isinstance(office.read_pass(text, 0), tuple)
