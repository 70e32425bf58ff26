"""DKIM: who has signed the mail (RFC 6376, RFC 8301, RFC 8463). The cryptography is dkimpy's, DNS is ours."""

import asyncio
import base64
import re
from dataclasses import dataclass

import dkim  # type: ignore[import-untyped]
import structlog

from appeals.envelope import AuthenticityResult
from connectors.email.authenticity.dkim_body import body_hash
from connectors.email.authenticity.dns_lookup import Dns, DnsError

logger = structlog.get_logger(__name__)

MAX_SIGNATURES = 5  # of one mail: more are not looked at
MAX_SIGNATURES_OF_LARGE = 2  # … of a mail over LARGE_BYTES: hashing 25 MB takes up to two seconds
LARGE_BYTES = 1024 * 1024
MAX_HEADER_BYTES = 512 * 1024  # twice what our own reader takes
MAX_FIELD_BYTES = 8 * 1024  # of a DKIM-Signature field, and of a key record
MAX_KEY_CHARS = 1500  # of p=: a key of 8192 bits; larger ones would keep the processor busy for minutes
MIN_KEY_BITS = 1024  # RFC 8301 §3.2

_BAD_IN_HEADER = re.compile(rb"\r(?!\n)|\x00")
_FLAGS = re.compile(rb"(?:^|;)\s*t\s*=\s*([a-z:\s]*)", re.IGNORECASE)
_KEY = re.compile(rb"(?:^|;)\s*p\s*=([^;]*)", re.IGNORECASE)
_NAME = re.compile(rb"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")


@dataclass(frozen=True, kw_only=True, slots=True)
class DkimOutcome:
    """What became of one signature."""

    result: str  # of RFC 8601 §2.7.1
    domain: str = ""  # d=, lower case
    selector: str = ""
    reason: str = ""

    def to_result(self) -> AuthenticityResult:
        """Return it as the envelope keeps it."""
        words = [f"d={self.domain}" if self.domain else "", f"s={self.selector}" if self.selector else "", self.reason]
        return AuthenticityResult.model_validate(
            {"method": "dkim", "result": self.result, "detail": " ".join(filter(None, words))}
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Signature:
    """A signature that may be good: its key has to be asked for."""

    index: int
    domain: str
    selector: str
    testing: bool = False

    def outcome(self, result: str, reason: str = "") -> DkimOutcome:
        return DkimOutcome(result=result, domain=self.domain, selector=self.selector, reason=reason)


async def check_dkim(raw: bytes, dns: Dns, *, deadline: float) -> tuple[DkimOutcome, ...]:
    """Return an outcome for each of the first signatures; none if the mail is not signed. Never raises.

    `deadline`, of the loop's clock, bounds DNS for each signature alone: a forger's slow name server must not turn what
    we know of the others into a temperror. A signature that leaves out a part of the text (l=), or whose key is for
    tests (t=y), proves nothing: neutral.
    """
    if _signature_count(raw) == 0:
        return ()
    found = await asyncio.to_thread(_read_signatures, raw)
    return tuple(await asyncio.gather(*(_check(raw, item, dns, deadline) for item in found)))


def header_block(raw: bytes) -> bytes:
    """Return the header with the line end of its last field; longer ones are cut off."""
    if raw.startswith((b"\n", b"\r\n")):
        return b""
    ends = [
        end for end in (raw.find(b"\n\r\n", 0, MAX_HEADER_BYTES), raw.find(b"\n\n", 0, MAX_HEADER_BYTES)) if end >= 0
    ]
    return raw[: min(ends) + 1] if ends else raw[:MAX_HEADER_BYTES]


def _body_start(raw: bytes) -> int:
    end = len(header_block(raw))
    return end + (2 if raw[end : end + 1] == b"\r" else 1)


def is_ambiguous(raw: bytes) -> bool:
    """Tell whether parsers may disagree about the fields of the header: bare CR, NUL."""
    return _BAD_IN_HEADER.search(header_block(raw)) is not None


def _signature_count(raw: bytes) -> int:
    return (b"\n" + header_block(raw)).lower().count(b"\ndkim-signature:")


def _read_signatures(raw: bytes) -> list[_Signature | DkimOutcome]:
    if is_ambiguous(raw):
        return [DkimOutcome(result="permerror", reason="the header has bare CR or NUL")]
    most = MAX_SIGNATURES if len(raw) <= LARGE_BYTES else MAX_SIGNATURES_OF_LARGE
    return [_read_signature(raw, index) for index in range(min(_signature_count(raw), most))]


def _read_signature(raw: bytes, index: int) -> _Signature | DkimOutcome:
    try:
        message = dkim.DKIM(header_block(raw) + b"\r\n")
        fields = [value for name, value in message.headers if name.lower() == b"dkim-signature"]
        if len(fields[index]) > MAX_FIELD_BYTES:
            return DkimOutcome(result="permerror", reason="the signature is too long")
        signature, signed, _ = message.verify_headerprep(index)
    except dkim.DKIMException as error:
        return DkimOutcome(result="fail" if "x= value is past" in str(error) else "permerror", reason=_reason(error))
    except Exception as error:  # noqa: BLE001 - dkimpy stumbles over odd headers; that proves nothing about the mail
        logger.info("smtp.dkim_unreadable", error=type(error).__name__)
        return DkimOutcome(result="permerror", reason="the signature cannot be read")
    domain, selector = signature[b"d"], signature[b"s"]
    if not (_NAME.fullmatch(domain) and _NAME.fullmatch(selector)):
        return DkimOutcome(result="permerror", reason="d= or s= is no name")
    found = _Signature(index=index, domain=domain.decode().lower(), selector=selector.decode())
    if b"from" not in signed:
        return found.outcome("permerror", "From is not signed")
    if signature[b"a"] == b"rsa-sha1":  # RFC 8301 §3.1
        return found.outcome("permerror", "rsa-sha1 is broken")
    return found


async def _check(raw: bytes, item: _Signature | DkimOutcome, dns: Dns, deadline: float) -> DkimOutcome:
    if isinstance(item, DkimOutcome):
        return item
    try:
        async with asyncio.timeout_at(deadline):
            records = await dns.txt(f"{item.selector}._domainkey.{item.domain}")
    except (TimeoutError, DnsError) as error:
        return item.outcome("temperror", str(error) or "DNS did not answer in time")
    key = next(iter(records), b"")
    if not key:
        return item.outcome("permerror", "no key")
    public = _KEY.search(key)
    if public is None or len(key) > MAX_FIELD_BYTES or len(b"".join(public[1].split())) > MAX_KEY_CHARS:
        return item.outcome("permerror", "the key record cannot be used")
    if not public[1].strip():
        return item.outcome("permerror", "the key is revoked")
    flags = _FLAGS.search(key)
    testing = flags is not None and b"y" in flags[1].lower().split(b":")
    return await asyncio.to_thread(_verify, raw, item, key=key, testing=testing)


def _verify(raw: bytes, item: _Signature, *, key: bytes, testing: bool) -> DkimOutcome:
    try:
        outcome = _verified(raw, item, key)
    except dkim.DKIMException as error:
        return item.outcome("permerror" if isinstance(error, dkim.KeyFormatError) else "fail", _reason(error))
    except Exception as error:  # noqa: BLE001 - as above: keys of all kinds reach dkimpy's parsers
        logger.info("smtp.dkim_unreadable", error=type(error).__name__)
        return item.outcome("permerror", "the key or the signature cannot be read")
    return item.outcome("neutral", "the key is for tests") if testing and outcome.result == "pass" else outcome


def _verified(raw: bytes, item: _Signature, key: bytes) -> DkimOutcome:
    """Check the body's hash ourselves, then the header's by dkimpy, which is handed the header alone."""
    message = dkim.DKIM(header_block(raw) + b"\r\n", minkey=MIN_KEY_BITS)
    signature, signed, fields = message.verify_headerprep(item.index)
    limit = int(signature[b"l"]) if signature.get(b"l") else None
    relaxed = signature.get(b"c", b"simple").lower().partition(b"/")[2] == b"relaxed"
    body = body_hash(raw, _body_start(raw), relaxed=relaxed, limit_bytes=limit)
    if base64.b64decode(b"".join(signature.pop(b"bh").split())) != body.digest:
        return item.outcome("fail", "the text was changed")
    if not message.verify_sig(signature, signed, fields[item.index], lambda _name, timeout: key):  # noqa: ARG005
        return item.outcome("fail", "the signature does not match")
    if limit is not None and limit < body.length_bytes:
        return item.outcome("neutral", "a part of the text is not signed")
    return item.outcome("pass")


def _reason(error: Exception) -> str:
    """Return what dkimpy says, without the values it repeats."""
    return re.sub(r"\(.*", "", str(error), flags=re.DOTALL).strip()[:100] or type(error).__name__
