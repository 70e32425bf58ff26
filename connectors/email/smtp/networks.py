"""Which addresses are ours: front MTAs are believed, everybody else is counted and checked."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

PREFIX_IPV6_HOST = 64  # a host is given a whole /64, so connections are counted by it

IpAddress = IPv4Address | IPv6Address


class TrustedNetworks:
    """The networks of our own front MTAs."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(ip_network(network) for network in networks)
        self._known = lru_cache(maxsize=1024)(self._look_up)

    def __contains__(self, address: object) -> bool:
        """Tell whether `address`, a text, is within; what is no address is not."""
        return isinstance(address, str) and self._known(address)

    def _look_up(self, address: str) -> bool:
        ip = parse_ip(address)
        return ip is not None and any(ip in network for network in self._networks)


def parse_ip(address: str) -> IpAddress | None:
    """Return the address, an IPv4-mapped IPv6 one as IPv4, a zone (`%eth0`) left out; None if it is none."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def host_key(address: str) -> str:
    """Return what connections of `address` are counted under: the address itself, of IPv6 its /64."""
    ip = parse_ip(address)
    if isinstance(ip, IPv6Address):
        return str(ip_network((ip, PREFIX_IPV6_HOST), strict=False))
    return str(ip or address)
