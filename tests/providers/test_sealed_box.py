"""Sealed boxes: the published test vectors of the cipher, and that only a whole box for this key is opened."""

from base64 import b64decode
from hashlib import sha512

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.providers.agent_identity import read
from immure.providers.sealed_box import MAX_BOX, key_stream, opened
from immure.rewrite.assertion import signing_key
from immure.testing.openai.agent import Agent

AGENT = Agent(account_id="acct-fake-0000", user_id="user-fake", email="ann@example.com", plan="team")
KEY = sha512(signing_key(read(AGENT.token).private_key.reveal()).private_bytes_raw()).digest()[:32]
BOX = b64decode(AGENT.sealed("fake-task-0000"))


def test_the_key_stream_is_that_of_the_published_vectors() -> None:
    """D. J. Bernstein, "Cryptography in NaCl", sections 8 and 9: the shared secret, the nonce, and the stream's first 32 octets."""
    shared = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    stream = key_stream(shared, nonce, 100)
    assert stream[:32].hex() == "eea6a7251c1e72916d11c2cb214d3c252539121d8e234e652d651fa4c8cff880"
    assert key_stream(shared, nonce, 64) == stream[:64]


@pytest.mark.parametrize("text", ["", "x", "fake-task-0000", "t" * 31, "t" * 32, "t" * 33, "t" * 1000])
def test_a_box_for_this_key_is_opened(text: str) -> None:
    assert opened(b64decode(AGENT.sealed(text)), KEY) == text.encode()


@given(st.integers(0, len(BOX) * 8 - 1))
def test_a_flipped_bit_is_noticed(bit: int) -> None:
    changed = bytearray(BOX)  # bit 255 is ignored by X25519 (RFC 7748 section 5), but not by the nonce
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match=r"not for this key|not one"):
        opened(bytes(changed), KEY)


@pytest.mark.parametrize("box", [b"", BOX[:47], BOX[:-1], BOX + b"x", bytes(len(BOX)), bytes(MAX_BOX + 1)])
def test_what_is_no_box_is_refused(box: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(it|its)"):
        opened(box, KEY)


def test_a_box_for_another_key_stays_closed() -> None:
    with pytest.raises(ValueError, match="not for this key"):
        opened(BOX, bytes(range(32)))
