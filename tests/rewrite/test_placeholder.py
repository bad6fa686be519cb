"""The grammar of placeholders: what is minted is recognised, and what is not ours is not."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.errors import Fault
from immure.rewrite import Shape, is_placeholder, mint
from immure.rewrite.placeholder import holds_placeholder

ENTROPY = bytes(range(16))

RECOGNISED = [
    "immure-at-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "sk-immure-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "immure-aaaaaaaaaaaaaaaaaaaaaaaaaa",  # a shape that no version mints yet
    "at-immure-pat-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "IMMURE-AT-AAAAAAAAAAAAAAAAAAAAAAAAAA",
]
OTHERS = [
    "",
    "sk-proj-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "immure-at-",
    "immure-at-aaaaaaaaaaaaaaaaaaaaaaaaa",
    "immure-at-11111111111111111111111111",
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


@given(st.sampled_from(get_args(Shape)), st.binary(min_size=16, max_size=40))
def test_what_is_minted_is_recognised_and_harmless_anywhere(shape: Shape, entropy: bytes) -> None:
    text = mint(shape, entropy)
    assert is_placeholder(text)
    assert holds_placeholder(text)
    assert text.replace("-", "").isalnum()
    assert text.isascii()


@given(st.sampled_from(get_args(Shape)), st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_no_entropy_is_lost(shape: Shape, one: bytes, other: bytes) -> None:
    assert (mint(shape, one) == mint(shape, other)) is (one == other)


def test_shapes_can_be_told_apart() -> None:
    assert len({mint(shape, ENTROPY) for shape in get_args(Shape)}) == len(get_args(Shape))
    assert mint("api_key", ENTROPY).startswith("sk-immure-")


def test_too_little_entropy_is_a_fault() -> None:
    with pytest.raises(Fault):
        mint("access_token", ENTROPY[:15])
