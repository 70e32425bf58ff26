"""Who asks, when proxies stand in front and clients lie about it."""

import pytest
from aiohttp.test_utils import make_mocked_request

from appeals.errors import ConfigurationError
from config.settings import HttpSettings
from okno.http_server import client_address, configured_url


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", "1.2.3.4", "203.0.113.9"),  # a stranger's word
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.9", "203.0.113.9"),  # the client made up the first
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),  # two proxies of ours
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "rubbish", "rubbish"),
    ],
)
def test_the_rightmost_untrusted_address_counts(peer: str, forwarded: str, address: str):
    """X-Forwarded-For is read from the right, and only as far as trusted proxies wrote it."""
    request = make_mocked_request("GET", "/", headers={"X-Forwarded-For": forwarded}).clone(remote=peer)
    assert client_address(HttpSettings(trusted_proxies=("10.0.0.0/8",)))(request) == address


def test_a_network_that_is_none_is_refused():
    """A fault in trusted_proxies is a fault of the settings."""
    with pytest.raises(ConfigurationError, match="trusted_proxies"):
        client_address(HttpSettings(trusted_proxies=("everybody",)))


def test_the_configured_url():
    """Commands tell citizens the same address as the daemon."""
    assert configured_url(HttpSettings(public_url="https://okno.example/")) == "https://okno.example"
    assert configured_url(HttpSettings(host="0.0.0.0", port=80)) == "http://127.0.0.1:80"
