"""Which addresses are public, and which only look so."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immure.gate.reach import objection

REFUSED = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
    *("169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.168.1.1", "198.18.0.1", "198.19.255.255", "224.0.0.1"),
    *("239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *(
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "ff02::1",
        "2001:db8::1",
        "2001::1",
        "3fff::1",
        "100::1",
        "fec0::1",
    ),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:93.184.216.34", "::127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::5db8:d822", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:c0a8:101::"),
]
PUBLIC = ["93.184.216.34", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "168.63.129.17", "2606:4700::1111", "64:ff9b::5db8:d822"]


@pytest.mark.parametrize("address", REFUSED)
def test_not_to_be_reached(address: str) -> None:
    assert objection(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_to_be_reached(address: str) -> None:
    assert objection(address) is None


@given(st.ip_addresses(v=4))
def test_nothing_that_is_not_global_is_reached(address: IPv4Address) -> None:
    if not address.is_global or address.is_multicast:
        assert objection(str(address))


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "::", "64:ff9b::", "2002::"]))
def test_an_address_within_an_address_is_judged_too(address: IPv4Address, prefix: str) -> None:
    shift = 80 if prefix == "2002::" else 0
    wrapped = IPv6Address(int(ip_address(prefix)) | int(address) << shift)
    if objection(str(address)):
        assert objection(str(wrapped))


@given(st.ip_addresses(v=6))
def test_nothing_that_is_not_global_is_reached_by_v6(address: IPv6Address) -> None:
    if not address.is_global or address.is_multicast:
        assert objection(str(address)) or address.sixtofour
