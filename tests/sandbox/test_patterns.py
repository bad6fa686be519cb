"""Patterns of absolute paths."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.errors import UsageError
from immure.sandbox.patterns import expression, matches

MATCHES = [
    ("/a/*", "/a/b", True),
    ("/a/*", "/a/b/c", False),
    ("/a/*", "/a/.b", True),
    ("/a/**/c", "/a/c", True),
    ("/a/**/c", "/a/b/b/c", True),
    ("/a/**/c", "/ac", False),
    ("/a/**", "/a/b/c", True),
    ("/a/?", "/a/b", True),
    ("/a/?", "/a//", False),
    ("/a/[bc].x", "/a/c.x", True),
    ("/a/[bc].x", "/a/d.x", False),
    ("/a/[!bc].x", "/a/d.x", True),
    ("/a/[!bc].x", "/a/b.x", False),
    ("/a/.b", "/a/xb", False),
    ("/a/[", "/a/[", True),
]


@pytest.mark.parametrize(("pattern", "path", "matched"), MATCHES)
def test_what_a_pattern_matches(pattern: str, path: str, matched: bool) -> None:
    assert (expression(pattern).fullmatch(path) is not None) == matched


@given(st.text("/ab*?[]!\\^-.", max_size=12))
def test_every_text_is_a_pattern_or_refused(text: str) -> None:
    try:
        expression(text)
    except UsageError as error:
        assert "bad character range" in error.what  # noqa: PT017


def test_what_is_there_is_found_and_no_link_followed(tmp_path: Path) -> None:
    for path in ("x.pem", "a/x.pem", "a/b/x.pem", "keys.pem/inner"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    (tmp_path / "link").symlink_to("a")

    def found(depth: int | None) -> set[str]:
        return {path.removeprefix(f"{tmp_path}/") for path in matches([f"{tmp_path}/**/*.pem"], depth)}

    assert found(None) == {"x.pem", "a/x.pem", "a/b/x.pem", "keys.pem"}
    assert found(2) == {"x.pem", "a/x.pem", "keys.pem"}
    assert matches([f"{tmp_path}/missing/*"], None) == ()


def test_too_much_is_refused(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / str(number)).write_text("")
    with pytest.raises(UsageError, match="more than 1000 paths"):
        matches([f"{tmp_path}/*"], None)
