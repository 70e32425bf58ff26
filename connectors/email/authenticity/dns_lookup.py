"""DNS for the checks of where a mail is from: asynchronous, cached, with an end."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Literal, Protocol

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.resolver
import dns.reversename
import structlog

from appeals.errors import ConfigurationError, TransientError

logger = structlog.get_logger(__name__)

DNS_PORT = 53
CACHE_MAX_ANSWERS = 10_000
QUERY_TIMEOUT_S = 1.0  # of one server; then the next one is asked

AddressType = Literal["A", "AAAA"]


class DnsError(TransientError):
    """No server answered, or one said that it cannot: the same question may be answered later."""


class Dns(Protocol):
    """The questions that SPF, DKIM and DMARC ask. No such name and no such record are both empty; else DnsError."""

    async def txt(self, name: str) -> Sequence[bytes]:
        """Return the TXT records, the strings of each joined."""
        ...

    async def addresses(self, name: str, kind: AddressType) -> Sequence[str]:
        """Return the IP addresses."""
        ...

    async def mx(self, name: str) -> Sequence[str]:
        """Return the names of the mail exchangers, the preferred first."""
        ...

    async def ptr(self, address: str) -> Sequence[str]:
        """Return the names of an IP address."""
        ...


class Resolver(Dns):
    """Asks the name servers of the system, or those of the settings. Answers are kept for as long as they hold."""

    def __init__(self, servers: Sequence[str] = (), *, timeout_s: float) -> None:
        """`servers`: "address" or "address:port"; empty: the system's. Raises ConfigurationError."""
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        self._resolver.timeout, self._resolver.lifetime = min(QUERY_TIMEOUT_S, timeout_s), timeout_s
        self._resolver.cache = dns.resolver.LRUCache(CACHE_MAX_ANSWERS)
        self._resolver.search = []
        if servers:
            self._resolver.nameservers = [_nameserver(server) for server in servers]
        else:
            self._read_system()

    def _read_system(self) -> None:
        try:
            system = dns.resolver.Resolver()
        except dns.resolver.NoResolverConfiguration:  # every question is then a DnsError, every check a temperror
            logger.warning("smtp.no_name_servers", setting="email.dns_servers")
            return
        self._resolver.nameservers, self._resolver.port = system.nameservers, system.port

    async def txt(self, name: str) -> Sequence[bytes]:
        """Return the TXT records, the strings of each joined."""
        return [b"".join(record.strings) for record in await self._ask(name, "TXT")]

    async def addresses(self, name: str, kind: AddressType) -> Sequence[str]:
        """Return the IP addresses."""
        return [record.address for record in await self._ask(name, kind)]

    async def mx(self, name: str) -> Sequence[str]:
        """Return the names of the mail exchangers, the preferred first."""
        records = sorted(await self._ask(name, "MX"), key=lambda record: record.preference)
        return [record.exchange.to_text(omit_final_dot=True) for record in records]

    async def ptr(self, address: str) -> Sequence[str]:
        """Return the names of an IP address."""
        name = dns.reversename.from_address(address).to_text()
        return [record.target.to_text(omit_final_dot=True) for record in await self._ask(name, "PTR")]

    async def _ask(self, name: str, kind: str) -> list[Any]:
        try:
            return list(await self._resolver.resolve(dns.name.from_text(name), kind, search=False))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (
            dns.name.LabelTooLong,
            dns.name.NameTooLong,
            dns.name.EmptyLabel,
            dns.name.BadEscape,
            dns.name.IDNAException,
        ):
            return []  # no such name can be
        except (dns.exception.DNSException, OSError, asyncio.IncompleteReadError) as error:
            raise DnsError(f"DNS gives no {kind} of {name}: {type(error).__name__}") from error


def _nameserver(server: str) -> dns.nameserver.Do53Nameserver:
    host, port = server, str(DNS_PORT)
    if server.startswith("["):
        host, _, rest = server[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif server.count(":") == 1:
        host, _, port = server.partition(":")
    try:
        return dns.nameserver.Do53Nameserver(str(ip_address(host)), int(port))
    except ValueError as error:
        raise ConfigurationError(f"email.dns_servers: {server!r} is no address, nor address:port") from error
