"""DMARC: is the author's domain the one that SPF or DKIM vouch for? (RFC 9989)

The organisational domain is found by the DNS tree walk of RFC 9989, which took the place of the list of public
suffixes in RFC 7489: nothing to ship, nothing that grows old.
"""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from connectors.email.authenticity.dns_lookup import Dns, DnsError

MAX_WALK_LABELS = 7  # RFC 9989 §4.10: the walk goes on from there where a domain has 8 labels and more

_VERSION = re.compile(rb"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|$)")
_TAG = re.compile(r"([A-Za-z][A-Za-z0-9_]*)[ \t]*=[ \t]*([^;]*)")
_POLICIES = frozenset({"none", "quarantine", "reject"})

DmarcResult = Literal["pass", "fail", "none", "temperror", "permerror"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DmarcRecord:
    """What one domain publishes."""

    domain: str
    policy: str = "none"
    subdomain_policy: str = ""  # empty: as `policy`
    strict_dkim: bool = False
    strict_spf: bool = False
    suffix: Literal["y", "n", "u"] = "u"  # psd: the domain is a public suffix, is none, or does not say


@dataclass(frozen=True, kw_only=True, slots=True)
class Vouched:
    """A domain that SPF or DKIM has looked at."""

    method: Literal["spf", "dkim"]
    result: str
    domain: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DmarcOutcome:
    """What came out, and why."""

    result: DmarcResult
    detail: str = ""

    @classmethod
    def of(cls, result: str, *, detail: str) -> "DmarcOutcome":
        """Return the outcome of a result that somebody else states."""
        known: dict[str, DmarcResult] = {word: word for word in get_args(DmarcResult)}
        return cls(result=known.get(result, "permerror"), detail=detail)


@dataclass(frozen=True, kw_only=True, slots=True)
class DmarcPolicy:
    """What holds for an author's domain."""

    record: DmarcRecord
    organisation: str  # the author's organisational domain
    request: str  # none, quarantine or reject: what the domain asks for where the check fails


def parse_dmarc(record: bytes, *, domain: str) -> DmarcRecord | None:
    """Return the record read; None if it is none, or its policy cannot be used (§4.7)."""
    if _VERSION.match(record) is None:
        return None
    tags = {name.lower(): value.strip() for name, value in _TAG.findall(record.decode("ascii", "replace"))}
    policies = {name: tags[name].lower() for name in ("p", "sp") if name in tags}
    if not set(policies.values()) <= _POLICIES:
        if "mailto:" not in tags.get("rua", "").lower():
            return None
        policies = {}
    suffix = tags.get("psd", "u").lower()
    return DmarcRecord(
        domain=domain,
        policy=policies.get("p", "none"),
        subdomain_policy=policies.get("sp", ""),
        strict_dkim=tags.get("adkim", "r").lower() == "s",
        strict_spf=tags.get("aspf", "r").lower() == "s",
        suffix="y" if suffix == "y" else "n" if suffix == "n" else "u",
    )


async def find_policy(author: str, dns: Dns) -> DmarcPolicy | None:
    """Return what holds for mail of `author`, a domain; None if nobody has published anything. Raises DnsError."""
    records = await _walk(author, dns)
    organisation = _organisation(author, records)
    by_domain = {record.domain: record for record in records}
    record = (
        by_domain.get(author)
        or by_domain.get(organisation)
        or next((item for item in records if item.suffix == "y"), None)
    )
    if record is None:
        return None
    request = record.policy if record.domain == author else record.subdomain_policy or record.policy
    return DmarcPolicy(record=record, organisation=organisation, request=request)


async def check_dmarc(author: str, vouched: Iterable[Vouched], dns: Dns, *, policy: DmarcPolicy | None) -> DmarcOutcome:
    """Return whether one of `vouched` passed for the author's own domain (§4.4). Never raises."""
    if policy is None:
        return DmarcOutcome(result="none", detail=f"header.from={author}")
    detail = f"header.from={author} p={policy.request}"
    unsure = False
    for item in vouched:
        if item.result not in {"pass", "temperror"}:
            continue
        strict = policy.record.strict_spf if item.method == "spf" else policy.record.strict_dkim
        try:
            aligned = await _is_aligned(author, item.domain, dns, organisation="" if strict else policy.organisation)
        except DnsError:
            aligned, unsure = False, True
        if aligned and item.result == "pass":
            return DmarcOutcome(result="pass", detail=f"{detail} by {item.method}")
        unsure = unsure or aligned
    return DmarcOutcome(result="temperror" if unsure else "fail", detail=detail)


async def _is_aligned(author: str, domain: str, dns: Dns, *, organisation: str) -> bool:
    if domain == author:
        return True
    if not organisation or not _is_within(domain, organisation):
        return False
    return domain == organisation or _organisation(domain, await _walk(domain, dns)) == organisation


async def _walk(domain: str, dns: Dns) -> list[DmarcRecord]:
    """Return the records from `domain` upwards (§4.10), up to the first that says where the organisation ends."""
    labels = domain.split(".")
    first = min(len(labels) - 1, MAX_WALK_LABELS)
    names = [domain, *(".".join(labels[-count:]) for count in range(first, 0, -1))]
    answers = await asyncio.gather(*(dns.txt(f"_dmarc.{name}") for name in names))
    records = []
    for name, answer in zip(names, answers, strict=True):
        found = [record for record in (parse_dmarc(text, domain=name) for text in answer) if record is not None]
        if len(found) == 1:
            records.append(found[0])
            if found[0].suffix != "u":
                break
    return records


def _organisation(domain: str, records: list[DmarcRecord]) -> str:
    """Return the organisational domain (§4.10.2)."""
    for record in records:
        if record.suffix == "n":
            return record.domain
        if record.suffix == "y" and record.domain != domain:
            labels = domain.split(".")
            return ".".join(labels[-(record.domain.count(".") + 2) :])
    return records[-1].domain if records else domain


def _is_within(domain: str, organisation: str) -> bool:
    return domain == organisation or domain.endswith(f".{organisation}")
