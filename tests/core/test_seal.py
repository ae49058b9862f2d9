"""One key for one secret and label, one spelling for one thing."""

from base64 import urlsafe_b64encode
from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.seal import keyed, unspelt


def test_another_secret_or_label_is_another_key() -> None:
    made = [keyed(secret, label, 16).digest() for secret, label in ((b"a" * 32, b"x"), (b"b" * 32, b"x"), (b"a" * 32, b"y"))]
    assert len(set(made)) == 3
    assert made[0] == keyed(b"a" * 32, b"x", 16).digest()


@given(st.binary(min_size=33, max_size=33))
def test_what_is_spelt_is_read(data: bytes) -> None:
    assert unspelt(urlsafe_b64encode(data).decode(), 44) == data


@pytest.mark.parametrize("character", [*(set(map(chr, range(128))) - {*ascii_letters, *digits, "-", "_"}), "é", "\udcff", "Ａ", "٣"])
@pytest.mark.parametrize("at", [0, 20, 43])
def test_no_other_character_is_passed_over(character: str, at: int) -> None:
    text = "A" * 44
    assert unspelt(text[:at] + character + text[at + 1 :], 44) is None


@pytest.mark.parametrize("length", [0, 40, 43, 45, 48])
def test_no_other_length_is_read(length: int) -> None:
    assert unspelt("A" * length, 44) is None
