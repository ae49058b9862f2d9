"""gzip → bytes, bounded: what a small body may unfold to.

Decided here: one gzip member, complete, at most `bytes_max` long and at most
`ratio_max` times its compressed size.  RFC 1952 allows several members; no
phone sends them, and 5,000 empty ones in 100 kB are an attack, so a second
member is refused like any other trailing byte.
"""

import zlib
from typing import Literal

# What is wrong with a compressed body, as a value.
Flaw = Literal["too-large", "not-gzip"]

_GZIP_ONLY = 16 + zlib.MAX_WBITS


def gunzip(compressed: bytes, bytes_max: int, ratio_max: int) -> bytes | Flaw:
    """The unfolded bytes, or what is wrong.  Never holds more than `bytes_max` + 1 of them."""
    unfolded_max = min(bytes_max, ratio_max * len(compressed))
    stream = zlib.decompressobj(_GZIP_ONLY)
    try:
        unfolded = stream.decompress(compressed, unfolded_max + 1)
    except zlib.error:
        return "not-gzip"
    if len(unfolded) > unfolded_max:
        return "too-large"
    if not stream.eof or stream.unused_data:
        return "not-gzip"
    return unfolded
