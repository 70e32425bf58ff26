"""Servers on this very machine: the stand-ins of the demo and the tests."""

from ipaddress import ip_address

from yarl import URL


def is_loopback_http(address: str | URL) -> bool:
    """Tell whether `address` is plain HTTP to this machine: allowed without TLS, and never sent through a proxy."""
    url = URL(address)
    if url.scheme != "http" or url.host is None:
        return False
    try:
        return ip_address(url.host).is_loopback
    except ValueError:
        return url.host == "localhost"
