"""SPF: may this client send mail for this domain? (RFC 7208)

Our own, because pyspf has had no release since 2020 and asks DNS in the calling thread. It passes the test suite of
the RFC's authors (tests/data/spf).
"""

import asyncio
import contextlib
import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal

from connectors.email.authenticity.dns_lookup import AddressType, Dns, DnsError
from connectors.email.authenticity.spf_macro import MacroValues, expand_domain, needs_name
from connectors.email.authenticity.spf_record import Mechanism, SpfSyntaxError, is_spf, parse_spf
from connectors.email.smtp.networks import IpAddress

SpfResult = Literal["pass", "fail", "softfail", "neutral", "none", "temperror", "permerror"]

MAX_LOOKUPS = 10  # §4.6.4: terms that ask DNS
MAX_VOID_LOOKUPS = 2  # §4.6.4: questions that nothing answers
MAX_NAMES = 10  # §4.6.4: of one mx or ptr
NAMES_TIMEOUT_S = 0.5  # of the client's names: its own, perhaps hostile, name servers answer for them

_LABEL = re.compile(r"[^.]{1,63}")


class SpfPermanentError(Exception):
    """The domain's records cannot be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpfOutcome:
    """What came out, and why."""

    result: SpfResult
    reason: str = ""


@dataclass(slots=True)
class _Budget:
    lookups: int = MAX_LOOKUPS
    voids: int = MAX_VOID_LOOKUPS

    def spend_lookup(self) -> None:
        self.lookups -= 1
        if self.lookups < 0:
            raise SpfPermanentError(f"more than {MAX_LOOKUPS} terms that ask DNS")

    def spend_void(self) -> None:
        self.voids -= 1
        if self.voids < 0:
            raise SpfPermanentError(f"more than {MAX_VOID_LOOKUPS} questions without an answer")


async def check_spf(dns: Dns, *, ip: IpAddress, domain: str, sender: str, helo: str) -> SpfOutcome:
    """Return whether `ip` may send for `domain` (`check_host`, §4).

    `sender`: local@domain of MAIL FROM, or postmaster@HELO for the null sender. Never raises.
    """
    values = MacroValues(ip=ip, sender=sender, domain=domain, helo=helo)
    try:
        return await _Check(dns).check_host(values)
    except SpfPermanentError as error:
        return SpfOutcome(result="permerror", reason=str(error))
    except SpfSyntaxError as error:
        return SpfOutcome(result="permerror", reason=f"SPF record: {error}")
    except DnsError as error:
        return SpfOutcome(result="temperror", reason=str(error))


class _Check:
    """One evaluation with its budget of questions."""

    def __init__(self, dns: Dns) -> None:
        self._dns = dns
        self._budget = _Budget()

    async def check_host(self, values: MacroValues) -> SpfOutcome:
        if not _is_domain(values.domain):
            return SpfOutcome(result="none", reason="not a domain")
        records = [record for record in await self._dns.txt(values.domain) if is_spf(record)]
        if not records:
            return SpfOutcome(result="none", reason="no SPF record")
        if len(records) > 1:
            raise SpfPermanentError("more than one SPF record")
        record = parse_spf(records[0])
        for mechanism in record.mechanisms:
            if await self._matches(mechanism, values):
                return SpfOutcome(result=mechanism.verdict, reason=f"{mechanism.name} of {values.domain}")
        if record.redirect is None:
            return SpfOutcome(result="neutral", reason="nothing matches")
        self._budget.spend_lookup()
        target = await self._expand(record.redirect, values)
        outcome = await self.check_host(replace(values, domain=target))
        if outcome.result == "none":
            raise SpfPermanentError(f"redirect to {target}, which has no SPF record")
        return outcome

    async def _matches(self, mechanism: Mechanism, values: MacroValues) -> bool:
        if mechanism.name == "all":
            return True
        if mechanism.network is not None:
            return values.ip in mechanism.network
        self._budget.spend_lookup()
        target = values.domain if mechanism.domain is None else await self._expand(mechanism.domain, values)
        if mechanism.name == "include":
            return await self._includes(target, values)
        if mechanism.name == "exists":
            return bool(await self._addresses(target, "A"))
        if mechanism.name == "ptr":
            return any(_is_within(name, target) for name in await self._validated_names(values.ip))
        if mechanism.name == "a":
            return await self._is_address_of(target, mechanism, values.ip)
        return await self._is_exchanger(target, mechanism, values.ip)

    async def _includes(self, target: str, values: MacroValues) -> bool:
        outcome = await self.check_host(replace(values, domain=target))
        if outcome.result == "none":
            raise SpfPermanentError(f"include of {target}, which has no SPF record")
        return outcome.result == "pass"

    async def _is_exchanger(self, target: str, mechanism: Mechanism, ip: IpAddress) -> bool:
        names = await self._dns.mx(target) if _is_name(target) else ()
        if not names:
            self._budget.spend_void()
        if len(names) > MAX_NAMES:
            raise SpfPermanentError(f"more than {MAX_NAMES} mail exchangers")
        for name in names:
            if await self._is_address_of(name, mechanism, ip):
                return True
        return False

    async def _is_address_of(self, name: str, mechanism: Mechanism, ip: IpAddress) -> bool:
        prefix = mechanism.prefix_v4 if isinstance(ip, IPv4Address) else mechanism.prefix_v6
        network = ip_network((ip, prefix), strict=False)
        return any(ip_address(address) in network for address in await self._addresses(name, _kind(ip)))

    async def _addresses(self, name: str, kind: AddressType) -> list[str]:
        found = list(await self._dns.addresses(name, kind)) if _is_name(name) else []
        if not found:
            self._budget.spend_void()
        return found

    async def _expand(self, text: str, values: MacroValues) -> str:
        if needs_name(text):
            names = await self._validated_names(values.ip)
            domain = values.domain.lower()
            best = [name for name in names if name.lower() == domain]
            best += [name for name in names if _is_within(name, domain)]
            values = replace(values, validated_name=next(iter([*best, *names]), "unknown"))
        return expand_domain(text, values)

    async def _validated_names(self, ip: IpAddress) -> list[str]:
        """Return the client's names that lead back to it (§5.5). What DNS cannot say, or says too late, is left out."""
        try:
            async with asyncio.timeout(NAMES_TIMEOUT_S):
                names = list(await self._dns.ptr(str(ip)))[:MAX_NAMES]
                validated = [name for name in names if await self._leads_to(name, ip)]
        except (DnsError, TimeoutError):
            return []
        if not names:
            self._budget.spend_void()
        return validated

    async def _leads_to(self, name: str, ip: IpAddress) -> bool:
        with contextlib.suppress(DnsError):
            return any(ip_address(address) == ip for address in await self._dns.addresses(name, _kind(ip)))
        return False


def _kind(ip: IpAddress) -> AddressType:
    return "AAAA" if isinstance(ip, IPv6Address) else "A"


def _is_domain(domain: str) -> bool:
    """Tell whether `domain` may be checked: several labels of proper length (§4.3)."""
    labels = domain.removesuffix(".").split(".")
    return len(labels) > 1 and len(domain) <= 254 and all(_LABEL.fullmatch(label) for label in labels)  # noqa: PLR2004


def _is_name(name: str) -> bool:
    """Tell whether DNS can be asked for `name`."""
    labels = name.removesuffix(".").split(".")
    return len(name) <= 254 and all(_LABEL.fullmatch(label) for label in labels)  # noqa: PLR2004


def _is_within(name: str, domain: str) -> bool:
    name, domain = name.lower().removesuffix("."), domain.lower().removesuffix(".")
    return name == domain or name.endswith(f".{domain}")
