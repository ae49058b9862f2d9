"""The secrets that a spool is sealed with.

    <data_dir>/spool.key    32 bytes in base64url, mode 0600

The keys file may name them (`spool`, newest first: new segments are sealed with the first, older ones opened with
any).  Where it does not, a key is made here, once, before the first segment.  Segments without their key cannot be
read by anybody, so a spool whose key is missing stops the start: making another one would hide that.
Source: DESIGN section 7.
"""

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gateway.core.record import SECRET_BYTES
from gateway.disk import Disk, put_new_file
from gateway.errors import ConfigError
from gateway.keys import SecretKey, unbase64url

KEY_FILE: Final = "spool.key"
_FILE_BYTES_MAX: Final = 1024
_DRAFT_BYTES: Final = 8
_SUFFIX: Final = ".spool"


def secrets_of(keys: Sequence[SecretKey], disk: Disk, data_dir: Path, spool_path: Path, random: Callable[[int], bytes]) -> tuple[bytes, ...]:
    """All secrets there are, the one to seal with first.  The supervisor calls this once, before workers start: it blocks.

    Raises:
        ConfigError: a secret is too short, or there is none and the spool has segments.
        OSError: a key cannot be made.
    """
    named = [_secret(key.key, f"keys file: spool kid {key.kid}") for key in keys]
    path = data_dir / KEY_FILE
    if KEY_FILE in disk.names(data_dir):
        return (*named, _secret(_text_of(disk, path), str(path)))
    if named:
        return tuple(named)
    if used := next((one for one in disk.names(spool_path) if any(name.endswith(_SUFFIX) for name in disk.names(spool_path / one))), None):
        raise ConfigError(f"spool key {path}: missing, and {spool_path / used} was sealed with it: want it back, or that directory moved away")
    return (_make(disk, data_dir, random),)


def known_secrets(keys: Sequence[SecretKey], disk: Disk, data_dir: Path) -> tuple[bytes, ...]:
    """Those there are, for who only looks: nothing is made.  Raises ConfigError: one cannot be read."""
    named = [_secret(key.key, f"keys file: spool kid {key.kid}") for key in keys]
    path = data_dir / KEY_FILE
    return (*named, _secret(_text_of(disk, path), str(path))) if KEY_FILE in disk.names(data_dir) else tuple(named)


def _text_of(disk: Disk, path: Path) -> str:
    try:
        file = disk.open(path)
        try:
            return file.read(0, _FILE_BYTES_MAX).decode("ascii", errors="replace").strip()
        finally:
            file.close()
    except OSError as exc:
        raise ConfigError(f"spool key {path}: cannot be read: {exc.strerror}") from exc


def _secret(text: str, where: str) -> bytes:
    try:
        secret = unbase64url(text)
    except ValueError:
        secret = b""
    if len(secret) < SECRET_BYTES:
        raise ConfigError(f"{where}: want at least {SECRET_BYTES} bytes in base64url")
    return secret[:SECRET_BYTES]


def _make(disk: Disk, data_dir: Path, random: Callable[[int], bytes]) -> bytes:
    """The key in its file; durable when this returns, for what is sealed with it will be.

    Another supervisor may do the same this very moment: then it is that one's which is there, for both.
    """
    text = base64.urlsafe_b64encode(random(SECRET_BYTES)).rstrip(b"=") + b"\n"
    put_new_file(disk, data_dir, KEY_FILE, text, random(_DRAFT_BYTES).hex())
    path = data_dir / KEY_FILE
    return _secret(_text_of(disk, path), str(path))
