"""Where is a mail from? SPF, DKIM and DMARC of what comes from outside; what our front MTAs say of the rest.

The results stand beside the message (`AppealEnvelope.authenticity`); nothing is refused for them here. The threading
policy lets nobody into an appeal by its number whose DMARC result is `fail`.
"""

import asyncio
import re
from collections.abc import Awaitable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TypeVar

import structlog

from appeals.envelope import AuthenticityResult
from config.channel_settings import EmailSettings
from connectors.email.authenticity.authenticity_header import StatedResults, trusted_results
from connectors.email.authenticity.dkim_signatures import check_dkim, header_block, is_ambiguous
from connectors.email.authenticity.dmarc import DmarcOutcome, DmarcPolicy, Vouched, check_dmarc, find_policy
from connectors.email.authenticity.dns_lookup import Dns, DnsError, Resolver
from connectors.email.authenticity.spf import SpfOutcome, check_spf
from connectors.email.envelope_builder import SmtpEnvelope
from connectors.email.parsing.charsets import clean_line
from connectors.email.parsing.headers import decode_raw, parse_addresses
from connectors.email.smtp.networks import TrustedNetworks, parse_ip

logger = structlog.get_logger(__name__)

MAX_DETAIL_CHARS = 300

_PRIVATE = tuple(
    ip_network(network)
    for network in (
        "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
        "::1/128", "fc00::/7", "fe80::/10",
    )
)  # fmt: skip
_FIELD = re.compile(rb"^(from|authentication-results)[ \t]*:(.*(?:\r?\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE)
_FOLD = re.compile(r"\r?\n")
_TIMED_OUT = "DNS did not answer in time"
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Author:
    """Who is said to have written the mail."""

    domain: str = ""  # ASCII, lower case; "" if there is none
    fault: str = ""  # why nobody can vouch for it; empty if somebody can


class Authenticity:
    """Checks mails, or takes over what a trusted front has found. Never raises, never waits longer than set."""

    def __init__(self, settings: EmailSettings, *, dns: Dns | None = None) -> None:
        """`dns`: who answers; None: the servers of the settings. Raises ConfigurationError."""
        self._checks = settings.authenticity
        self._patterns = settings.trusted_authserv_ids
        self._timeout_s = settings.authenticity_timeout_s
        self._trusted = TrustedNetworks(settings.trusted_networks)
        self._dns = dns or Resolver(settings.dns_servers, timeout_s=settings.authenticity_timeout_s)

    def concerns(self, smtp: SmtpEnvelope) -> bool:
        """Tell whether anything can be said about mail that came this way; quick."""
        return (bool(self._patterns) and self._is_by_front(smtp)) or self._is_from_outside(smtp)

    async def check(self, raw: bytes, smtp: SmtpEnvelope, *, sender: str) -> tuple[AuthenticityResult, ...]:
        """Return what is known: spf, dkim (one for each signature) and dmarc.

        `sender`: the address that the envelope takes for the author's; "" if there is none.
        """
        try:
            return await self._known(raw, smtp, sender=sender)
        except Exception as error:  # a mail must not be lost for what stands in a record of somebody's (P4)
            logger.exception("connector.authenticity_failed", size_bytes=len(raw))
            return (_result("dmarc", "permerror", f"cannot be checked ({type(error).__name__})"),)

    async def _known(self, raw: bytes, smtp: SmtpEnvelope, *, sender: str) -> tuple[AuthenticityResult, ...]:
        fields = _fields(raw)
        author = _author(raw, fields["from"], sender=sender)
        if self._patterns and self._is_by_front(smtp):
            stated = trusted_results(fields["authentication-results"], patterns=self._patterns)
            if stated is not None:
                return await self._taken_over(stated, author)
        if not self._is_from_outside(smtp):
            return ()
        return await self._examined(raw, smtp, author)

    def _is_by_front(self, smtp: SmtpEnvelope) -> bool:
        """Whether a server of ours handed it to us, and so may say what it found."""
        return smtp.protocol == "imap" or (smtp.front or smtp.peer) in self._trusted

    def _is_from_outside(self, smtp: SmtpEnvelope) -> bool:
        return self._checks and bool(smtp.peer) and smtp.peer not in self._trusted

    # -- taking over

    async def _taken_over(self, stated: StatedResults, author: _Author) -> tuple[AuthenticityResult, ...]:
        results: list[AuthenticityResult] = []
        vouched: list[Vouched] = []
        dmarc: DmarcOutcome | None = None
        for item in stated.results:
            if item.method == "dmarc":
                dmarc = dmarc or _stated_dmarc(item.result, item.domain("header.from"), author)
                continue
            is_spf = item.method == "spf"
            names = ("smtp.mailfrom", "smtp.helo") if is_spf else ("header.d", "header.i")
            domain = item.domain(*names)
            vouched.append(Vouched(method="spf" if is_spf else "dkim", result=item.result, domain=_ascii(domain)))
            results.append(_result(item.method, item.result, f"{domain} by {stated.authserv_id or 'the front'}"))
        if dmarc is None and self._checks:
            deadline = asyncio.get_running_loop().time() + self._timeout_s
            policy = await _within(deadline, _policy_of(author, self._dns))
            dmarc = await self._dmarc(author, vouched, policy, deadline=deadline)
        if dmarc is not None:
            results.append(_result("dmarc", dmarc.result, dmarc.detail))
        return tuple(results)

    # -- checking

    async def _examined(self, raw: bytes, smtp: SmtpEnvelope, author: _Author) -> tuple[AuthenticityResult, ...]:
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        spf_domain, sender = _spf_identity(smtp)
        spf, signatures, policy = await asyncio.gather(
            _within(deadline, self._spf(smtp, spf_domain, sender)),
            check_dkim(raw, self._dns, deadline=deadline),
            _within(deadline, _policy_of(author, self._dns)),
        )
        spf = spf if isinstance(spf, SpfOutcome) else SpfOutcome(result="temperror", reason=_TIMED_OUT)
        vouched = [Vouched(method="spf", result=spf.result, domain=spf_domain)]
        vouched += [Vouched(method="dkim", result=item.result, domain=item.domain) for item in signatures]
        dmarc = await self._dmarc(author, vouched, policy, deadline=deadline, spf_known=not _is_private(smtp.peer))
        return (
            _result(
                "spf", spf.result, f"{'smtp.mailfrom' if smtp.mail_from else 'smtp.helo'}={spf_domain} {spf.reason}"
            ),
            *([item.to_result() for item in signatures] or [_result("dkim", "none", "not signed")]),
            _result("dmarc", dmarc.result, dmarc.detail),
        )

    async def _spf(self, smtp: SmtpEnvelope, domain: str, sender: str) -> SpfOutcome:
        ip = parse_ip(smtp.peer)
        if ip is None or _is_private(smtp.peer):
            return SpfOutcome(result="none", reason="a private address: is it a front for email.trusted_networks?")
        return await check_spf(self._dns, ip=ip, domain=domain, sender=sender, helo=smtp.helo)

    async def _dmarc(
        self,
        author: _Author,
        vouched: list[Vouched],
        policy: DmarcPolicy | Exception | None,
        *,
        deadline: float,
        spf_known: bool = True,
    ) -> DmarcOutcome:
        if author.fault:
            return DmarcOutcome(result="fail", detail=author.fault)
        if not author.domain:
            return DmarcOutcome(result="none", detail="no author")
        if isinstance(policy, Exception):
            return DmarcOutcome(result="temperror", detail=str(policy) or _TIMED_OUT)
        outcome = await _within(deadline, check_dmarc(author.domain, vouched, self._dns, policy=policy))
        if not isinstance(outcome, DmarcOutcome):
            return DmarcOutcome(result="temperror", detail=_TIMED_OUT)
        if outcome.result == "fail" and not spf_known:
            return DmarcOutcome(result="none", detail=f"{outcome.detail}: SPF cannot be checked for a private address")
        return outcome


async def _within(deadline: float, work: Awaitable[_T]) -> _T | TimeoutError | DnsError:
    """Return what comes of `work`, or why nothing does; `deadline` is of the loop's clock."""
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except (TimeoutError, DnsError) as error:
        return error


async def _policy_of(author: _Author, dns: Dns) -> DmarcPolicy | None:
    return await find_policy(author.domain, dns) if author.domain and not author.fault else None


def _fields(raw: bytes) -> dict[str, list[str]]:
    """Return the values of the fields we ask about, unfolded, the topmost first."""
    values: dict[str, list[str]] = {"from": [], "authentication-results": []}
    for name, value in _FIELD.findall(header_block(raw)):
        values[name.decode().lower()].append(_FOLD.sub("", value.decode("ascii", "surrogateescape")).strip())
    return values


def _author(raw: bytes, values: list[str], *, sender: str) -> _Author:
    """Return whose domain must be vouched for, as RFC 9989 §11.5 wants it: one From, one domain, read by all alike."""
    domain = _ascii(sender.rpartition("@")[2])
    if len(values) > 1:
        return _Author(domain=domain, fault="several From fields")
    if is_ambiguous(raw):
        return _Author(domain=domain, fault="the header has bare CR or NUL")
    domains = {_ascii(address.address.rpartition("@")[2]) for address in parse_addresses(values)}
    if len(domains) > 1:
        return _Author(domain=domain, fault="authors of several domains")
    if domains and domain not in domains:
        return _Author(domain=domain, fault="From can be read in two ways")
    return _Author(domain=domain)


def _ascii(domain: str) -> str:
    """Return a domain for DNS: lower case, letters beyond ASCII in their A-form (RFC 5890)."""
    text = decode_raw(domain).strip().rstrip(".").lower()
    if text.isascii():
        return text
    try:
        return text.encode("idna").decode("ascii")
    except UnicodeError:
        return text


def _spf_identity(smtp: SmtpEnvelope) -> tuple[str, str]:
    """Return the domain SPF is asked for, and the sender; of the null sender, the greeting's (RFC 7208 §2.4)."""
    sender = smtp.mail_from or f"postmaster@{smtp.helo}"
    local, _, domain = sender.rpartition("@")
    domain = _ascii(domain)
    return domain, f"{local or 'postmaster'}@{domain}"


def _is_private(address: str) -> bool:
    ip = parse_ip(address)
    return ip is not None and any(ip in network for network in _PRIVATE)


def _stated_dmarc(result: str, header_from: str, author: _Author) -> DmarcOutcome:
    if author.fault or (header_from and author.domain and _ascii(header_from) != author.domain):
        return DmarcOutcome(result="fail", detail=author.fault or f"the front looked at {header_from}")
    outcome = {"softfail": "fail", "neutral": "none"}.get(result, result)
    return DmarcOutcome.of(outcome, detail=f"header.from={header_from or author.domain} by the front")


def _result(method: str, result: str, detail: str) -> AuthenticityResult:
    text = clean_line(detail)[:MAX_DETAIL_CHARS].strip()
    return AuthenticityResult.model_validate({"method": method, "result": result, "detail": text})
