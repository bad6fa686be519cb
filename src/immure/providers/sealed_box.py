"""Opening a sealed box: a message that anyone may have encrypted to a public key, and its owner alone can read.

    epk ‖ tag ‖ XSalsa20(message)       libsodium, `crypto_box_seal`

`epk` is a key made for this one message. The key of the cipher is HSalsa20 of what X25519 gives; the nonce is BLAKE2b of both public keys,
24 octets; the tag is Poly1305 under the first 32 octets of the key stream (D. J. Bernstein, "Cryptography in NaCl"; "Extending the Salsa20
nonce"). X25519 and Poly1305 are OpenSSL's; it has no Salsa20, so that is here, for messages as short as a name: a block takes some 50 µs.

Rules: nothing is decrypted before its tag was verified. Python's integers are no help against someone who measures time, which for a
message that is opened once, and whose key is made for it, is nobody.

*Trust:* the box is whatever came from the far end of a verified TLS connection. *Fails:* ValueError, for every box that is not good.
"""

import struct
from hashlib import blake2b
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.poly1305 import Poly1305

MAX_BOX: Final = 4096
_KEY, _TAG, _BLOCK = 32, 16, 64
_SIGMA: Final = struct.unpack("<4I", b"expand 32-byte k")
_DIAGONAL: Final = (0, 5, 10, 15)
# Each line is four quarter-rounds, of columns and then of rows.
_ROUND: Final = (
    *((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)),
    *((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)),
)


def opened(box: bytes, private_key: bytes) -> bytes:
    """The message for the X25519 key of these 32 octets. Raises ValueError."""
    if not _KEY + _TAG <= len(box) <= MAX_BOX:
        raise ValueError("it has no size that a sealed box may have")
    own = X25519PrivateKey.from_private_bytes(private_key)
    theirs = box[:_KEY]
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError:  # a key of small order
        raise ValueError("its key is not one") from None
    nonce = blake2b(theirs + own.public_key().public_bytes_raw(), digest_size=24).digest()
    tag, sealed = box[_KEY : _KEY + _TAG], box[_KEY + _TAG :]
    stream = key_stream(shared, nonce, _KEY + len(sealed))
    try:
        Poly1305.verify_tag(stream[:_KEY], sealed, tag)
    except InvalidSignature:
        raise ValueError("it is not for this key, or not whole") from None
    return bytes(a ^ b for a, b in zip(sealed, stream[_KEY:], strict=True))


def key_stream(shared: bytes, nonce: bytes, length: int) -> bytes:
    """The beginning of the key stream of `crypto_box`, for what X25519 gave to both sides and a nonce of 24 octets."""
    words = struct.unpack("<8I", _hsalsa20(_hsalsa20(shared, bytes(16)), nonce[:16]))
    last = struct.unpack("<2I", nonce[16:])
    stream = bytearray()
    for number in range(-(-length // _BLOCK)):
        state = _state(words, (*last, number, 0))
        stream += struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(_rounds(state), state, strict=True)))
    return bytes(stream[:length])


def _hsalsa20(key: bytes, nonce: bytes) -> bytes:
    mixed = _rounds(_state(struct.unpack("<8I", key), struct.unpack("<4I", nonce)))
    return struct.pack("<8I", *(mixed[at] for at in (*_DIAGONAL, 6, 7, 8, 9)))


def _state(key: tuple[int, ...], middle: tuple[int, ...]) -> list[int]:
    return [_SIGMA[0], *key[:4], _SIGMA[1], *middle, _SIGMA[2], *key[4:], _SIGMA[3]]


def _rounds(state: list[int]) -> list[int]:
    """The twenty rounds of Salsa20 (its specification, section 7)."""
    x = list(state)
    for _ in range(10):
        for a, b, c, d in _ROUND:
            for at, first, second, by in ((b, a, d, 7), (c, b, a, 9), (d, c, b, 13), (a, d, c, 18)):
                total = (x[first] + x[second]) & 0xFFFFFFFF
                x[at] ^= (total << by | total >> (32 - by)) & 0xFFFFFFFF
    return x
