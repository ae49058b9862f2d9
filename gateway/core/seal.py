"""What every text of ours that people carry has in common: its key, and its spelling.

Pure.  A seal is a keyed BLAKE2b whose key follows from a secret and a label, so that two kinds of text are never each
other's although one secret is behind both.  The text is base64url of a length that has no spare bits and no padding
(a multiple of 3 bytes), so each thing has exactly one.
"""

import re
from base64 import urlsafe_b64decode
from hashlib import blake2b
from typing import Final

_TEXT: Final = re.compile(r"[A-Za-z0-9_-]*")  # the decoder itself skips what it does not know


def keyed(secret: bytes, label: bytes, digest_bytes: int) -> blake2b:
    """A hash whose key is of this secret and label alone.  A copy of such a state costs half of keying anew."""
    return blake2b(digest_size=digest_bytes, key=blake2b(secret, digest_size=32, person=label).digest())


def unspelt(text: str, chars: int) -> bytes | None:
    """The bytes that a text of so many characters spells; None where it has more or fewer, or others than ours."""
    return urlsafe_b64decode(text) if len(text) == chars and _TEXT.fullmatch(text) else None
