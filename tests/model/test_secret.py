"""A secret does not print itself."""

import copy
import pickle

import pytest

from immure.errors import Fault
from immure.model import Secret

VALUE = "fake-secret-value"


def test_no_rendering_shows_it() -> None:
    secret = Secret(VALUE)
    for text in (str(secret), repr(secret), f"{secret}", f"{secret!r:>40}", f"{[secret]}", "%s" % secret):  # noqa: UP031
        assert VALUE not in text
    assert secret.reveal() == VALUE


@pytest.mark.parametrize("leave", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_is_not_copied_out(leave: object) -> None:
    with pytest.raises(TypeError):
        leave(Secret(VALUE))  # type: ignore[operator]


def test_equality() -> None:
    assert Secret(VALUE) == Secret(VALUE)
    assert Secret(VALUE) != Secret("fake-other")
    assert Secret(VALUE) != VALUE


@pytest.mark.parametrize("text", ["", "é", "line\nbreak", "\0"])
def test_what_cannot_be_a_header_value_is_no_secret(text: str) -> None:
    with pytest.raises(Fault) as caught:
        Secret(text)
    assert text == "" or text not in str(caught.value)
