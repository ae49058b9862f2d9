"""The newest sign of each worker on disk, so that a start after all were killed remembers the line.

A file a worker, replaced whole; not fsynced: it is for a Redis that came back empty, not for a machine
that lost its power with it.  What cannot be read is as good as not there.

    <data_dir>/room-<name>-<epoch>.<worker>.sign    BLAKE2b-8 of the rest | msgpack of core.sign.Sign

The checksum is against a byte that fell over: a tail that grew by a bit would be the line's for good.
"""

from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from gateway import logs
from gateway.core.sign import Sign

_SUM_BYTES: Final = 8
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Sign).decode


class SignFile:
    """The files of one room; this worker writes one and reads all."""

    def __init__(self, directory: Path, stem: str, worker: int) -> None:
        self._directory = directory
        self._stem = stem
        self._path = directory / f"{stem}.{worker}.sign"
        self._has_complained = False

    def write(self, sign: Sign) -> None:
        """Replace this worker's; a disk that does not take it is said once."""
        draft = self._path.with_suffix(".draft")
        try:
            body = _encode(sign)
            draft.write_bytes(_sum(body) + body)
            draft.replace(self._path)
        except OSError as exc:
            if not self._has_complained:
                logs.warning("the sign cannot be kept on disk", reason=exc.strerror)
            self._has_complained = True

    def newest(self) -> Sign | None:
        """The largest of all workers' tails and heads, in the newest of their signs; None where there is none."""
        signs = [sign for path in sorted(self._directory.glob(f"{self._stem}.*.sign")) if (sign := _read(path)) is not None]
        if not signs:
            return None
        newest = max(signs, key=lambda sign: sign.at_us)
        acts = max((sign.acts for sign in signs), key=lambda acts: acts.version)
        # The newest sign may be of a store that had forgotten the newest acts.
        return newest.obeying(acts, newest.at_us)._replace(tail=max(sign.tail for sign in signs), head=max(sign.head for sign in signs))


def _read(path: Path) -> Sign | None:
    try:
        kept = path.read_bytes()
        if kept[:_SUM_BYTES] != _sum(kept[_SUM_BYTES:]):
            raise ValueError("not as it was written")
        return _decode(kept[_SUM_BYTES:])
    except (OSError, msgspec.DecodeError, ValueError) as exc:
        logs.warning("a sign on disk is not readable", reason=type(exc).__name__)
        return None


def _sum(body: bytes) -> bytes:
    return blake2b(body, digest_size=_SUM_BYTES).digest()
