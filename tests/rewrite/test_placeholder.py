"""The grammar of placeholders: what is minted is recognised, and what is not ours is not."""

import json
import re
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.errors import Fault
from immure.rewrite import is_placeholder, mint
from immure.rewrite.placeholder import holds_placeholder, is_shape

ENTROPY = bytes(range(16))
NAMED = ["access_token", "refresh_token", "account_id", "personal_access_token", "api_key", "authorization_code", "device_auth_id", "jwt"]
VENDORS = ["ghp_", "github_pat_", "glpat-", "xoxb-", "sk-ant-api03-", "hf_", "sk_live_"]
SHAPES = [*NAMED, *VENDORS]

RECOGNISED = [
    "immure-at-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "sk-immure-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "immure-aaaaaaaaaaaaaaaaaaaaaaaaaa",  # a shape that no version mints yet
    "at-immure-pat-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ghp_immure-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "SK-ANT-immure-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "e30.e30.immure-jw-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "IMMURE-AT-AAAAAAAAAAAAAAAAAAAAAAAAAA",
]
OTHERS = [
    "",
    "sk-proj-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "immure-at-",
    "immure-at-aaaaaaaaaaaaaaaaaaaaaaaaa",
    "immure-at-11111111111111111111111111",
    "e30.immure-jw-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "e30.e30.sig",
    "ghp_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "Bearer immure-at-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "immure-at-aaaaaaaaaaaaaaaaaaaaaaaaaa\n",
]


@pytest.mark.parametrize("text", RECOGNISED)
def test_a_placeholder_of_any_age_is_recognised(text: str) -> None:
    assert is_placeholder(text)
    assert holds_placeholder(f"Bearer {text}, and more")


@pytest.mark.parametrize("text", OTHERS)
def test_what_is_not_a_whole_placeholder_is_not(text: str) -> None:
    assert not is_placeholder(text)


@given(st.sampled_from(SHAPES), st.binary(min_size=16, max_size=40))
def test_what_is_minted_is_recognised_and_harmless_anywhere(shape: str, entropy: bytes) -> None:
    text = mint(shape, entropy)
    assert is_placeholder(text)
    assert holds_placeholder(text)
    assert re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}" if shape == "jwt" else r"[a-z0-9_-]+", text)


@given(st.sampled_from(SHAPES), st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_no_entropy_is_lost(shape: str, one: bytes, other: bytes) -> None:
    assert (mint(shape, one) == mint(shape, other)) is (one == other)


def test_shapes_can_be_told_apart() -> None:
    assert len({mint(shape, ENTROPY) for shape in SHAPES}) == len(SHAPES)
    assert mint("api_key", ENTROPY).startswith("sk-immure-")


def test_too_little_entropy_is_a_fault() -> None:
    with pytest.raises(Fault):
        mint("access_token", ENTROPY[:15])


def test_a_vendors_beginning_is_kept() -> None:
    for prefix in VENDORS:
        assert mint(prefix, ENTROPY).startswith(prefix + "immure-")


@pytest.mark.parametrize("shape", ["", "ghp", "-", "_", "a b-", "GHP_", "a" * 17 + "-", "a-b-c-d-e-", "é-", "sk-\n", 'x"-'])
def test_what_is_not_a_shape(shape: str) -> None:
    assert not is_shape(shape)
    with pytest.raises(Fault, match="shape"):
        mint(shape, ENTROPY)


@given(st.binary(min_size=16, max_size=40), st.none() | st.integers(min_value=0, max_value=1 << 40))
def test_a_jwt_parses_strictly_and_says_that_it_is_not_signed(entropy: bytes, expires: int | None) -> None:
    segments = mint("jwt", entropy, expires=expires).split(".")
    header, payload = (json.loads(urlsafe_b64decode(segment + "=" * (-len(segment) % 4))) for segment in segments[:2])
    assert header == {"alg": "none", "typ": "JWT"}
    assert (payload.pop("iss"), payload.pop("jti").isalnum(), payload) == ("immure", True, {} if expires is None else {"exp": expires})
    assert len(segments[2]) % 4 == 0
    assert urlsafe_b64decode(segments[2])
