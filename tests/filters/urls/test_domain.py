import pytest

from filters.urls.domain import is_public_name, site_of


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("img.example.co.uk", "example.co.uk"),
        ("foo.blogspot.com", "foo.blogspot.com"),
        ("cdn.shopify.com", "shopify.com"),
        ("example.com.", "example.com"),
        ("co.uk", "co.uk"),
        ("a.b.corp", "b.corp"),
        ("127.0.0.1", "127.0.0.1"),
        ("[2606:4700::1]", "[2606:4700::1]"),
    ],
)
def test_the_site_of_a_host(host: str, site: str) -> None:
    assert site_of(host) == site


@pytest.mark.parametrize(
    "host",
    ["localhost", "router", "a.local", "a.localhost", "a.internal", "x.home.arpa", "a.onion",
     "a.test", "a.invalid", "localhost."],
)  # fmt: skip
def test_names_that_no_public_host_has(host: str) -> None:
    assert not is_public_name(host)


@pytest.mark.parametrize("host", ["example.com", "8.8.8.8", "[::1]", "home.example"])
def test_names_and_addresses_that_may_be_asked(host: str) -> None:
    assert is_public_name(host)
