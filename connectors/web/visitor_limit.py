"""How much one address may send: a limit an hour, and more work for each submission the nearer it gets."""

import ipaddress
import time

import structlog
from limits import RateLimitItemPerHour
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

IPV6_NETWORK_BITS = 64  # one household or host has a whole /64 to send from
MAX_EXTRA_BITS = 4  # sixteen times the work just below the limit

logger = structlog.get_logger(__name__)


def network_of(address: str) -> str:
    """Return what the limits count an address by: IPv4 as it is, IPv6 by its /64; anything else unchanged."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))


class VisitorLimit:
    """So many submissions an hour and address, counted by this process alone."""

    def __init__(self, name: str, *, per_hour: int) -> None:
        self._name = name
        self._per_hour = per_hour
        self._item = RateLimitItemPerHour(max(per_hour, 1))
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def wait_s(self, address: str) -> float | None:
        """Return how long the address has to wait, in seconds; None if it may send now. Uses nothing up."""
        key = network_of(address)
        if self._per_hour and self._limiter.test(self._item, self._name, key):
            return None
        reset_at = self._limiter.get_window_stats(self._item, self._name, key).reset_time
        logger.warning("connector.visitor_limited", limit=self._name)
        return max(1.0, reset_at - time.time() + 1)  # the library counts by this clock

    def count(self, address: str) -> None:
        """Count one submission of the address."""
        self._limiter.hit(self._item, self._name, network_of(address))

    def extra_bits(self, address: str) -> int:
        """Return by how many bits the address's next proof of work is harder: 0 at first, MAX_EXTRA_BITS at the end."""
        left = self._limiter.get_window_stats(self._item, self._name, network_of(address)).remaining
        used = 1 - left / self._item.amount
        return int(used * (MAX_EXTRA_BITS + 0.99))
