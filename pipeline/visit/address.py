"""Which addresses may be connected to: public ones, whatever a name, redirect or list says."""

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_CLOSED_4 = [
    ipaddress.IPv4Network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
]
"""IANA's special-purpose registry, with multicast and the reserved class."""
_OPEN_6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_6 = [
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]
_CARRIES_4 = [ipaddress.IPv6Network(text) for text in ("::ffff:0:0/96", "64:ff9b::/96")]
"""The IPv4 address inside is where the bytes go."""


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return networks in CIDR form.

    Raises:
        ValueError: naming the text that is none.
    """
    return tuple(ipaddress.ip_network(text) for text in texts)


def is_refused(address: str, allowed: Sequence[Network] = ()) -> bool:
    """Tell whether no byte may go to an address.

    Python's `is_global` is not enough: 3.11 takes 224.0.0.1, 192.88.99.1 and 64:ff9b::a00:1 for
    global.

    Args:
        address: as the socket gets it; what is no address is refused.
        allowed: networks that are open all the same.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(found, ipaddress.IPv6Address) and any(found in net for net in _CARRIES_4):
        found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    if any(found in net for net in allowed):
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return any(found in net for net in _CLOSED_4)
    return found not in _OPEN_6 or any(found in net for net in _CLOSED_6)
