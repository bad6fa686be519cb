"""What a broker writes is what a gate reads."""

from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from house import allow, credentials, virtual

from immure.config.settings import Upstream
from immure.gate.brief import Brief
from immure.gate.grants import Grants, Withdrawal
from immure.model import Binary, Endpoint
from immure.model.path import PathPattern
from immure.rewrite import Binding, FieldSlot, HeaderSlot, PathSlot, QuerySlot

BINARY = Binary("/usr/bin/cürl \udcff", 2049, 123456789012, "ab" * 32, (1, 2, 1_790_000_000_000_000_003))

BRIEFS = [
    Brief(sandbox="empty"),
    Brief(
        sandbox="full",
        grants=Grants(
            rules=(
                allow("api.example.com", 443),
                allow("*.example.com", 8443, BINARY),
                replace(allow("*.example.com", 8443, BINARY), parents=(BINARY,), exact=True),
                replace(allow("::1", 1), binaries=(), effect="deny", hint="x"),
            ),
            credentials=(
                *credentials("api.example.com", 443),
                replace(
                    credentials("a.example", 1)[0],
                    slots=(
                        HeaderSlot(header="authorization", scheme="basic"),
                        QuerySlot(parameter="key"),
                        PathSlot(before="/bot"),
                        FieldSlot(field="token", form="json"),
                    ),
                    binding=Binding(
                        endpoints=(Endpoint("a.example", 1),),
                        methods=("GET", "POST"),
                        paths=(PathPattern("/a"), PathPattern("/b/**")),
                        binaries=(BINARY,),
                    ),
                    foreign="allow",
                ),
            ),
            virtual=(virtual("auth.example.com", 443, "/oauth/token"),),
            withdrawn=(Withdrawal(placeholders=("immure-at-x",), rules=(allow("b.example", 1, BINARY),), reason="it went", hint="get it"),),
        ),
        upstreams=(
            Upstream(host="a.example", address="::1", port=8443, ca_pem="PEM"),
            Upstream(host="b.example", address="127.0.0.1", port=1),
        ),
        pool=IPv4Network("127.18.0.0/16"),
    ),
]


@pytest.mark.parametrize("brief", BRIEFS, ids=lambda brief: brief.sandbox)
def test_a_brief_reads_back_as_it_was(brief: Brief) -> None:
    decoded = Brief.decode(brief.encode())
    assert decoded == brief
    assert [binary.stamp for binary in decoded.grants.binaries] == [binary.stamp for binary in brief.grants.binaries]


def test_a_brief_does_not_show_its_secrets() -> None:
    assert "fake-" not in repr(BRIEFS[1])


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"sandbox": "x"}', b"\xff"])
def test_anything_else_is_an_error(data: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Brief.decode(data)
