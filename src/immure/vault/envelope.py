"""The sealed form of one record: AES-256-GCM, bound to the record's name.

    version (1 octet, 0x01) | nonce (12 octets) | ciphertext and tag (NIST SP 800-38D)

Version and name are the associated data, so a record that is renamed, or swapped with another on disk, does not open. The name is
prefixed by its length because a concatenation without one can be split in two ways.

Rules: the caller brings a fresh random nonce for every seal. 96 random bits under one key stay far from the limit of 2^32 messages
(SP 800-38D section 8.3): a vault is written a few times an hour.

*Trust:* whoever can write the user's files chooses the bytes that are opened here. *Fails:* with EnvelopeError, which says nothing
about the content.
"""

import hashlib
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_SIZE: Final = 32
NONCE_SIZE: Final = 12
_TAG_SIZE: Final = 16
_VERSION: Final = b"\x01"
_PURPOSE: Final = b"immure vault record"


class EnvelopeError(ValueError):
    """The bytes are not a record that was sealed under this key and this name."""


def seal(key: bytes, name: str, content: bytes, nonce: bytes) -> bytes:
    """Encrypt `content` (any length) as the record `name`. Raises ValueError for a key or nonce of the wrong size."""
    if len(key) != KEY_SIZE or len(nonce) != NONCE_SIZE:
        raise ValueError("a record is sealed with a 32-byte key and a 12-byte nonce")
    return _VERSION + nonce + AESGCM(key).encrypt(nonce, content, _identity(name))


def unseal(key: bytes, name: str, envelope: bytes) -> bytes:
    """The content of a record that was sealed under this key and name. Raises EnvelopeError."""
    if envelope[:1] != _VERSION:
        raise EnvelopeError("is of another version, or no record at all")
    nonce, sealed = envelope[1 : 1 + NONCE_SIZE], envelope[1 + NONCE_SIZE :]
    if len(nonce) != NONCE_SIZE or len(sealed) < _TAG_SIZE:
        raise EnvelopeError("is cut short")
    try:
        return AESGCM(key).decrypt(nonce, sealed, _identity(name))
    except InvalidTag:
        raise EnvelopeError("does not open with this key under this name") from None


def mark(key: bytes) -> str:
    """What tells keys apart and says nothing else of them: they are random, so a digest cannot be searched."""
    return hashlib.sha256(b"immure vault key " + key).hexdigest()[:32]


def _identity(name: str) -> bytes:
    encoded = name.encode()
    return b"%b %b %d %b" % (_PURPOSE, _VERSION, len(encoded), encoded)
