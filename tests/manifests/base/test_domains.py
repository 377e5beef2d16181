import pytest

from manifests.base.domains import is_public_suffix, registered_domain


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("img.example.com", "example.com"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("localhost", "localhost"),
        ("10.0.0.1", "10.0.0.1"),
        ("[::1]", "[::1]"),
        ("xn--bcher-kva.example.de", "example.de"),
    ],
)
def test_hosts_belong_to_the_domain_that_a_registry_sold(host: str, domain: str) -> None:
    assert registered_domain(host) == domain


def test_suffixes_of_registries_are_told_from_domains() -> None:
    assert [is_public_suffix(host) for host in ("com", "co.uk", "example.com", "github.io")] == [
        True, True, False, False]  # fmt: skip
