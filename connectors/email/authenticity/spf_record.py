"""An SPF record, read whole before any of it is asked for (RFC 7208 §4.6 and §12)."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

SpfVerdict = Literal["pass", "fail", "softfail", "neutral"]

VERSION = "v=spf1"

_QUALIFIERS: dict[str, SpfVerdict] = {"": "pass", "+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)", re.DOTALL)
_DIRECTIVE = re.compile(r"([-+?~]?)([A-Za-z][A-Za-z0-9._-]*)([:/].*)?", re.DOTALL)
_TARGET = re.compile(r"(?::(.+?))?(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?", re.DOTALL)
_MACRO_LETTERS = "slodipvhSLODIPVH"
_EXPAND = rf"%\{{[{_MACRO_LETTERS}](?:0*[1-9]\d{{0,2}})?[rR]?[-.+,/_=]*\}}|%%|%_|%-"
_EXPLAIN_EXPAND = _EXPAND.replace(_MACRO_LETTERS, _MACRO_LETTERS + "crtCRT")
_MACRO_STRING = re.compile(rf"(?:{_EXPAND}|[!-$&-~])*")
_EXPLAIN_MACRO_STRING = re.compile(rf"(?:{_EXPLAIN_EXPAND}|[!-$&-~])*")
_TOP_LABEL = r"(?:[A-Za-z0-9]*[A-Za-z][A-Za-z0-9]*|[A-Za-z0-9]+-[A-Za-z0-9-]*[A-Za-z0-9])"
_DOMAIN_SPEC = re.compile(rf"(?:{_EXPAND}|[!-$&-~])*(?:\.{_TOP_LABEL}\.?|{_EXPAND})")
_TAKES_DOMAIN = {"a": False, "mx": False, "ptr": False, "include": True, "exists": True}  # True: must be given
_TAKES_CIDR = frozenset({"a", "mx"})


class SpfSyntaxError(ValueError):
    """A record that breaks the grammar: permerror."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mechanism:
    """One directive."""

    name: str  # all, include, a, mx, ptr, ip4, ip6, exists
    verdict: SpfVerdict  # if it matches
    domain: str | None = None  # a macro string; None: the domain that is checked
    prefix_v4: int = 32
    prefix_v6: int = 128
    network: IPv4Network | IPv6Network | None = None  # of ip4 and ip6


@dataclass(frozen=True, kw_only=True, slots=True)
class SpfRecord:
    """The directives in order, and where to go on if none matches."""

    mechanisms: tuple[Mechanism, ...]
    redirect: str | None = None  # a macro string


def is_spf(record: bytes) -> bool:
    """Tell whether a TXT record is meant for SPF (§4.5)."""
    return record[: len(VERSION)].lower() == VERSION.encode() and record[len(VERSION) : len(VERSION) + 1] in {b"", b" "}


def parse_spf(record: bytes) -> SpfRecord:
    """Return the record read. Raises SpfSyntaxError."""
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, str] = {}
    try:
        text = record.decode("ascii")
    except UnicodeDecodeError as error:
        raise SpfSyntaxError("letters that are not ASCII") from error
    for term in filter(None, text[len(VERSION) :].split(" ")):
        modifier = _MODIFIER.fullmatch(term)
        if modifier is None:
            mechanisms.append(_mechanism(term))
        else:
            _add_modifier(modifiers, modifier[1].lower(), modifier[2])
    return SpfRecord(mechanisms=tuple(mechanisms), redirect=modifiers.get("redirect"))


def _add_modifier(modifiers: dict[str, str], name: str, value: str) -> None:
    if name in {"redirect", "exp"}:
        if name in modifiers:
            raise SpfSyntaxError(f"{name} twice")
        if not _DOMAIN_SPEC.fullmatch(value):
            raise SpfSyntaxError(f"not a domain in {name}")
        modifiers[name] = value
    elif not _EXPLAIN_MACRO_STRING.fullmatch(value):
        raise SpfSyntaxError("not a modifier")


def _mechanism(term: str) -> Mechanism:
    match = _DIRECTIVE.fullmatch(term)
    if match is None:
        raise SpfSyntaxError("not a directive")
    verdict, name, target = _QUALIFIERS[match[1]], match[2].lower(), match[3] or ""
    if name == "all" and not target:
        return Mechanism(name=name, verdict=verdict)
    if name in {"ip4", "ip6"} and target.startswith(":"):
        return Mechanism(name=name, verdict=verdict, network=_network(target[1:], version=int(name[2])))
    if name not in _TAKES_DOMAIN:
        raise SpfSyntaxError(f"no such mechanism: {name}")
    parts = _TARGET.fullmatch(target)
    if parts is None or ((parts[2] or parts[3]) and name not in _TAKES_CIDR):
        raise SpfSyntaxError(f"not a target of {name}")
    if parts[1] is None and _TAKES_DOMAIN[name]:
        raise SpfSyntaxError(f"{name} of nothing")
    if parts[1] is not None and not _DOMAIN_SPEC.fullmatch(parts[1]):
        raise SpfSyntaxError(f"not a domain in {name}")
    prefix_v4, prefix_v6 = int(parts[2] or 32), int(parts[3] or 128)
    if prefix_v4 > 32 or prefix_v6 > 128:  # noqa: PLR2004 - bits of an address
        raise SpfSyntaxError("not a prefix length")
    return Mechanism(name=name, verdict=verdict, domain=parts[1], prefix_v4=prefix_v4, prefix_v6=prefix_v6)


def _network(text: str, *, version: int) -> IPv4Network | IPv6Network:
    address, slash, length = text.partition("/")
    if slash and not re.fullmatch(r"0|[1-9]\d{0,2}", length):
        raise SpfSyntaxError("not a prefix length")
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise SpfSyntaxError(f"not an address: {address[:50]}") from error
    if network.version != version or "%" in address:
        raise SpfSyntaxError(f"not an address of version {version}")
    return network
