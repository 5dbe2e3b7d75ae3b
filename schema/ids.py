"""Ids that say their kind: `evt_` and a UUIDv7 in lower-case base 32 (the TypeID form, 26 characters)."""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
import zlib
from datetime import datetime
from typing import Final, Literal, get_args

Kind = Literal["evt", "loc", "hal", "bkg", "typ", "tkt", "org", "usr", "key", "cmd"]
KINDS: Final = frozenset(get_args(Kind))

# Crockford's alphabet in lower case: no i, l, o, u, and its order is that of the bytes, so ids sort by time.
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_SYMBOLS: Final = frozenset(_ALPHABET)
_LENGTH: Final = 26


def new_id(kind: Kind) -> str:
    """Make a fresh id of `kind` from the clock (milliseconds) and 74 random bits."""
    return _spell(kind, _uuid7(time.time_ns() // 1_000_000, secrets.randbits(74)))


def derived_id(kind: Kind, at: datetime, *parts: str) -> str:
    """Make the id that `parts` always give: for imports, where the same line must be the same event for ever.

    `at` fills the UUID's time, so that derived ids sort like the others; times before 1970 count as 1970.
    """
    digest = hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).digest()
    milliseconds = max(0, int(at.timestamp() * 1000)) & ((1 << 48) - 1)
    return _spell(kind, _uuid7(milliseconds, int.from_bytes(digest[:10], "big") & ((1 << 74) - 1)))


def is_id(kind: Kind, text: str) -> bool:
    """Tell whether `text` has the form of an id of `kind`; it says nothing about whether such a thing exists."""
    prefix, _, body = text.partition("_")
    return prefix == kind and len(body) == _LENGTH and body[0] <= "7" and _SYMBOLS.issuperset(body)


def partition_of(stream_id: str, partitions: int) -> int:
    """The partition, 0 to `partitions` - 1, in which the stream `stream_id` lives: CRC-32 of the id."""
    return zlib.crc32(stream_id.encode()) % partitions


def _uuid7(milliseconds: int, noise: int) -> int:
    """RFC 9562, 5.7: 48 bits of time, version, 12 random bits, variant, 62 random bits."""
    return milliseconds << 80 | 0x7 << 76 | (noise >> 62) << 64 | 0b10 << 62 | (noise & ((1 << 62) - 1))


def _spell(kind: Kind, value: int) -> str:
    digits = [_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5)]
    return f"{kind}_{''.join(digits)}"


def uuid_of(text: str) -> uuid.UUID:
    """The UUID inside an id; raises `ValueError` where it has none."""
    value = 0
    for symbol in text.partition("_")[2]:
        value = value << 5 | _ALPHABET.index(symbol)
    return uuid.UUID(int=value)
