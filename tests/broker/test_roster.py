"""Which sandbox a person means."""

import pytest

from immure.broker.roster import find
from immure.errors import UsageError

RUNNING = ("sb-1a2b3c4d", "sb-1a99ffff", "sb-77aa0011")
MEANT = [
    ("sb-1a2b3c4d", "sb-1a2b3c4d"),
    ("1a2b3c4d", "sb-1a2b3c4d"),
    ("sb-1a2", "sb-1a2b3c4d"),
    ("7", "sb-77aa0011"),
]
# what was typed, the code of the error, and what it names
NOT_MEANT = [
    ("1a", "sandbox.ambiguous", "sb-1a2b3c4d or sb-1a99ffff"),
    ("sb-2", "sandbox.unknown", "running: sb-1a2b3c4d, sb-1a99ffff, sb-77aa0011"),
    ("", "sandbox.unknown", "running: "),
    ("sb-", "sandbox.unknown", "running: "),
    ("b-1a2b3c4d", "sandbox.unknown", "running: "),
]


@pytest.mark.parametrize(("text", "identifier"), MEANT)
def test_an_id_or_a_beginning_that_no_other_has_is_meant(text: str, identifier: str) -> None:
    assert find(text, RUNNING) == identifier


@pytest.mark.parametrize(("text", "code", "named"), NOT_MEANT)
def test_anything_else_is_an_error_that_names_the_candidates(text: str, code: str, named: str) -> None:
    with pytest.raises(UsageError) as error:
        find(text, RUNNING)
    assert error.value.code == code
    assert named in error.value.render()


def test_a_whole_id_is_meant_though_another_begins_with_it() -> None:
    assert find("sb-1", ("sb-1", "sb-12")) == "sb-1"


def test_without_a_sandbox_the_error_says_what_starts_one() -> None:
    with pytest.raises(UsageError, match="no running sandbox is called 'x'") as error:
        find("x", ())
    assert "immure run" in error.value.hint
