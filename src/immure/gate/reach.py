"""Which addresses of the real world a sandbox may be connected to: those of the public Internet, and no others.

An allowed name may be made to resolve to anything by whoever runs its DNS, so the answer is judged too, each time it is used: loopback,
private networks, link-local and with it the metadata services of clouds, carrier-grade NAT, multicast, and all of these again inside
the IPv6 forms that carry an IPv4 address.

Reference: the IANA special-purpose address registries (RFC 6890) and, for what they do not list, the operators' own pages.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_REFUSED_V4: Final = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "the metadata service of Azure"),  # a public address that is answered by the host
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "reserved for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "reserved for benchmarks"),
        ("198.51.100.0/24", "reserved for documentation"),
        ("203.0.113.0/24", "reserved for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_REFUSED_V6: Final = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("2001::/23", "reserved"),  # Teredo, benchmarks, ORCHID
        ("2001:db8::/32", "reserved for documentation"),
        ("3fff::/20", "reserved for documentation"),
    )
)
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")


def objection(address: str) -> str | None:
    """What kind of address this is, if it is one that is not to be connected to; None for a public one."""
    parsed = ip_address(address)
    return _objection_v4(parsed) if isinstance(parsed, IPv4Address) else _objection_v6(parsed)


def _objection_v4(address: IPv4Address) -> str | None:
    return next((kind for network, kind in _REFUSED_V4 if address in network), None)


def _objection_v6(address: IPv6Address) -> str | None:
    if address in _MAPPED:
        return "an IPv4 address in IPv6 form"
    if address in _NAT64:
        return _objection_v4(IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None:
        return _objection_v4(address.sixtofour)
    if address.is_loopback:
        return "loopback"
    if address not in _GLOBAL_V6:
        return "not a public address"
    return next((kind for network, kind in _REFUSED_V6 if address in network), None)
