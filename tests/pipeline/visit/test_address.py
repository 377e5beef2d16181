import ipaddress

import pytest

from pipeline.visit.address import is_refused, parse_networks

CLOSED = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "fc00::/7", "fe80::/10", "ff00::/8"),
    "::ffff:127.0.0.0/104",
]


@pytest.mark.parametrize("network", CLOSED)
def test_both_ends_of_closed_ranges_are_refused(network: str) -> None:
    found = ipaddress.ip_network(network)
    assert is_refused(str(found[0]))
    assert is_refused(str(found[-1]))


@pytest.mark.parametrize(
    "address",
    [
        *("100.128.0.1", "172.32.0.1", "198.20.0.1", "8.8.8.8", "::ffff:8.8.8.8"),
        *("64:ff9b::808:808", "2606:4700::1"),
    ],
)
def test_public_addresses_are_open(address: str) -> None:
    assert not is_refused(address)


@pytest.mark.parametrize(
    "address",
    [
        *("2002:808:808::", "64:ff9b:1::1", "100::1", "::127.0.0.1", "::1", "::", "fec0::1"),
        *("5f00::1", "64:ff9b::a00:1", "ff02::1", "fe80::1%eth0", "not an address", ""),
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    assert is_refused(address)


def test_networks_can_be_opened() -> None:
    allowed = parse_networks(["10.1.0.0/16"])
    assert not is_refused("10.1.2.3", allowed)
    assert not is_refused("::ffff:10.1.2.3", allowed)
    assert is_refused("10.2.0.1", allowed)
    with pytest.raises(ValueError, match=r"10\.1\.2\.3/16"):
        parse_networks(["10.1.2.3/16"])
