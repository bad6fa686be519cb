"""The one canonical form of a host name, and patterns over it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.model import Endpoint, canonical_host

CANONICAL = [
    ("example.com", "example.com"),
    ("EXAMPLE.com.", "example.com"),
    ("_dmarc.example.com", "_dmarc.example.com"),
    ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ("192.0.2.1", "192.0.2.1"),
    ("[2001:DB8::1]", "2001:db8::1"),
    ("2001:db8:0:0::1", "2001:db8::1"),
]

REFUSED = [
    "",
    ".",
    "a..b",
    ".a",
    "-a.example",
    "a-.example",
    "a b",
    "a\0.example",
    "a\n",
    "a/b",
    "user@host",
    "bücher.example",
    "example\uff0ecom",  # full-width dot
    "exam\u200bple.com",  # zero-width space
    "İstanbul.example",
    "127.1",
    "0x7f000001",
    "0x7f.1",
    "2130706433",
    "0177.0.0.1",
    "1.2.3.4.5",
    "[::1",
    "[fe80::1%eth0]",
    "a" * 64 + ".example",
    ".".join(["a" * 60] * 5),
]


@pytest.mark.parametrize(("text", "expected"), CANONICAL)
def test_canonical(text: str, expected: str) -> None:
    assert expected == canonical_host(text)


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (ipaddress has a subclass of its own)
        canonical_host(text)


@given(st.text(max_size=40))
def test_canonical_is_a_fixed_point_or_a_refusal(text: str) -> None:
    try:
        once = canonical_host(text)
    except ValueError:
        return
    assert once == canonical_host(once)


# (pattern, host, port, matches)
MATCHES = [
    ("a.com", "a.com", 443, True),
    ("a.com", "a.com", 80, False),
    ("a.com", "b.a.com", 443, False),
    ("*.a.com", "b.a.com", 443, True),
    ("*.a.com", "c.b.a.com", 443, True),
    ("*.a.com", "a.com", 443, False),
    ("*.a.com", "xa.com", 443, False),
    ("*.a.com", "a.com.evil.com", 443, False),
    ("[::1]:80", "::1", 80, True),
]


@pytest.mark.parametrize(("pattern", "host", "port", "expected"), MATCHES)
def test_matches(pattern: str, host: str, port: int, expected: bool) -> None:
    assert expected == Endpoint.parse(pattern).matches(host, port)


@pytest.mark.parametrize("text", ["*", "*.", "a.com:", "a.com:0", "a.com:65536", "a.com:x", "2001:db8::1:443", "*.192.0.2.1", "a.*.com"])
def test_refused_patterns(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Endpoint.parse(text)


@pytest.mark.parametrize("text", ["a.com:443", "*.a.com:8443", "[2001:db8::1]:443", "192.0.2.1:80"])
def test_text_form_reads_back(text: str) -> None:
    assert text == str(Endpoint.parse(text))
