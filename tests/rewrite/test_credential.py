"""A credential refuses to be built wrong, and shows its secret to nobody."""

from dataclasses import replace

import pytest

from immure.errors import Fault
from immure.model import Endpoint, Secret
from immure.rewrite import Binding, Credential, FieldSlot, HeaderSlot, mint
from immure.rewrite.slot import AssertionSlot

RIGHT = Credential(
    name="codex.access_token",
    placeholder=mint("access_token", bytes(16)),
    secret=Secret("fake-real-token"),
    slots=(HeaderSlot(header="authorization", scheme="bearer"),),
    binding=Binding(endpoints=(Endpoint("chatgpt.com", 443),)),
)

WRONG = [
    ({"placeholder": "openai"}, "placeholder"),
    ({"placeholder": "Bearer " + RIGHT.placeholder}, "placeholder"),
    ({"slots": ()}, "no slot"),
    ({"slots": (*RIGHT.slots, AssertionSlot())}, "no other slot"),
    ({"foreign": "ignore"}, "others"),
    ({"slots": (FieldSlot(field="token", form="json"),)}, "methods and paths"),
    ({"secret": Secret("fake123")}, "shorter"),
]


@pytest.mark.parametrize(("change", "reason"), WRONG)
def test_what_could_not_be_exchanged_safely_is_not_built(change: dict[str, object], reason: str) -> None:
    with pytest.raises(Fault, match=reason) as caught:
        replace(RIGHT, **change)  # type: ignore[arg-type]
    assert "fake" not in str(caught.value)


def test_its_pairs_are_what_restoration_wants() -> None:
    assert replace(RIGHT, secret=Secret("fake-newer-token")).pairs == ((b"fake-newer-token", RIGHT.placeholder.encode()),)


def test_a_credential_prints_without_its_secret() -> None:
    assert "fake-real-token" not in repr(RIGHT)
