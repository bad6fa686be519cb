"""Paths: the one form of each, those that have none, and what a pattern covers."""

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.model.path import PathPattern, canonical_path

CANONICAL = [
    ("/", "/"),
    ("/v1/responses", "/v1/responses"),
    ("/a//b/", "/a//b/"),
    ("/a/./b/../c", "/a/c"),
    ("/a/b/..", "/a/"),
    ("/a/b/.", "/a/b/"),
    ("/../../a", "/a"),
    ("/%76%31/%7Eann", "/v1/~ann"),
    ("/a/%2e%2e/b", "/b"),
    ("/a/%2E/b", "/a/b"),
    ("/a%2fb", "/a%2Fb"),
    ("/a%20b%c3%a9", "/a%20b%C3%A9"),
    ("/.well-known/x", "/.well-known/x"),
    ("/a/...", "/a/..."),
    ("/a;b=c/d", "/a;b=c/d"),
    ("/100%25", "/100%25"),
    ("/V1", "/V1"),
]
NONE = [
    "",
    "*",
    "v1",
    "/%",
    "/%zz",
    "/é",
    "/a/%2e%2e%2fb",
    "/a/..%2Fb",
    "/a%2F..",
    "/a/..%5cb",
    "/a\\..\\b",
    "/a/%252e%252e/b",
    "/a/%25252e%25252e/b",
    "/a/..;/b",
    "/a/..;x=y",
    "/a/.;/b",
    "/a%00b",
    "/a%2500b",
    "/a/%c0%ae%c0%ae/b",
    "/a/%e0%80%af..",
    "/a%2525252525252e",
]
MATCHES = [
    ("/v1/**", "/v1/a", True),
    ("/v1/**", "/v1/a/b", True),
    ("/v1/**", "/v1/", True),
    ("/v1/**", "/v1", False),
    ("/v1/**", "/v10/a", False),
    ("/v1/**", "/V1/a", False),
    ("/v1/**", "//v1/a", False),
    ("/**", "/a", True),
    ("/v1", "/v1", True),
    ("/v1", "/v1/", False),
]


@pytest.mark.parametrize(("path", "form"), CANONICAL)
def test_canonical(path: str, form: str) -> None:
    assert canonical_path(path) == form
    assert canonical_path(form) == form


@pytest.mark.parametrize("path", NONE)
def test_what_servers_may_read_in_different_ways_has_no_form(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        canonical_path(path)


@pytest.mark.parametrize(("pattern", "path", "covered"), MATCHES)
def test_matches(pattern: str, path: str, covered: bool) -> None:
    assert PathPattern(pattern).matches(path) is covered


@pytest.mark.parametrize("text", ["", "v1", "**", "/*", "/a/*/b", "/**/b", "/a**", "/a/../b", "/%61", "/a?b"])
def test_what_is_not_a_pattern(text: str) -> None:
    with pytest.raises(ValueError, match="path"):
        PathPattern(text)


pieces = st.lists(st.sampled_from(["a", "..", ".", "/", "%2e", "%2f", "%5C", "\\", "%25", "2e", ";", "%00", "//", "%"]), max_size=8)


@given(pieces.map("".join))
def test_below_a_prefix_no_reading_leads_out_of_it(rest: str) -> None:
    try:
        path = canonical_path("/inside/" + rest)
    except ValueError:
        return
    if not PathPattern("/inside/**").matches(path):
        return
    reading = path.encode()
    for _ in range(4):
        depth = 0
        for segment in reading.replace(b"\\", b"/").split(b"/")[2:]:
            name = segment.partition(b";")[0]
            depth += (name not in (b"", b".", b"..")) - (name == b"..")
            assert depth >= 0, reading
        reading = unquote_to_bytes(reading)
