"""Limits by address."""

import pytest

from connectors.web.visitor_limit import MAX_EXTRA_BITS, VisitorLimit, network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_household_counts_as_one(address: str, network: str):
    """It has 2**64 addresses to send from."""
    assert network_of(address) == network


def test_work_grows_before_the_limit_refuses():
    """A shared address feels harder work first; only the hourly limit says no, and says for how long."""
    limit = VisitorLimit("test", per_hour=4)
    bits = []
    for _ in range(4):
        assert limit.wait_s("192.0.2.1") is None
        bits.append(limit.extra_bits("192.0.2.1"))
        limit.count("192.0.2.1")
    assert bits == sorted(bits)
    assert bits[0] == 0
    assert limit.extra_bits("192.0.2.1") == MAX_EXTRA_BITS
    wait_s = limit.wait_s("192.0.2.1")
    assert wait_s is not None
    assert 0 < wait_s <= 3602
    assert limit.wait_s("192.0.2.2") is None
