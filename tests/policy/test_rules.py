"""Rules refuse to be built wrong."""

import pytest

from immure.model import Binary, Endpoint
from immure.policy import Rule

CURL = Binary("/usr/bin/curl", 1, 11)

MALFORMED: list[dict[str, object]] = [
    {"name": ""},
    {"name": "  "},
    {"name": "two\nlines"},
    {"name": "right\u202eto left"},
    {"layer": ""},
    {"effect": "audit"},
    {"parents": (CURL,)},
    {"parents": (CURL,), "binaries": (CURL,), "effect": "deny"},
]


@pytest.mark.parametrize("change", MALFORMED)
def test_a_rule_that_could_not_be_shown_or_enforced_is_not_built(change: dict[str, object]) -> None:
    right = {"name": "npm", "layer": "policy file", "effect": "allow", "endpoint": Endpoint("a.com", 443)}
    Rule(**right)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^not an? "):
        Rule(**(right | change))  # type: ignore[arg-type]
