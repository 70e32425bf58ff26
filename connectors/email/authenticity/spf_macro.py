"""Macros in SPF records (RFC 7208 §7)."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote

MAX_DOMAIN_CHARS = 253  # RFC 7208 §7.3: longer expansions lose labels from the left

_MACRO = re.compile(r"%(?:\{([A-Za-z])(\d*)([rR]?)([-.+,/_=]*)\}|([%_-]))")
_ESCAPES = {"%": "%", "_": " ", "-": "%20"}


@dataclass(frozen=True, kw_only=True, slots=True)
class MacroValues:
    """What the letters stand for."""

    ip: IPv4Address | IPv6Address
    sender: str  # local@domain
    domain: str  # that is checked now
    helo: str
    validated_name: str = "unknown"  # of the client, by PTR: asked for only where `needs_name` says so


def needs_name(text: str) -> bool:
    """Tell whether `text` has the macro %{p}, which costs queries."""
    return any(match[1] and match[1] in "pP" for match in _MACRO.finditer(text))


def expand_domain(text: str, values: MacroValues) -> str:
    """Return the domain that `text` stands for, without a dot at its end."""
    domain = _MACRO.sub(lambda match: _expand(match, values), text).removesuffix(".")
    while len(domain) > MAX_DOMAIN_CHARS:
        _, dot, domain = domain.partition(".")
        if not dot:
            break
    return domain


def _expand(match: re.Match[str], values: MacroValues) -> str:
    if match[5]:
        return _ESCAPES[match[5]]
    letter, digits, reverse, delimiters = match[1], match[2], match[3], match[4]
    parts = re.split(f"[{re.escape(delimiters or '.')}]", _value(letter.lower(), values))
    if reverse:
        parts.reverse()
    if digits:
        parts = parts[-int(digits) :]
    value = ".".join(parts)
    return quote(value, safe="-._~") if letter.isupper() else value


def _value(letter: str, values: MacroValues) -> str:
    local, _, sender_domain = values.sender.rpartition("@")
    return {
        "s": values.sender,
        "l": local,
        "o": sender_domain,
        "d": values.domain,
        "i": _dotted(values.ip),
        "p": values.validated_name,
        "v": "in-addr" if values.ip.version == 4 else "ip6",  # noqa: PLR2004
        "h": values.helo,
    }[letter]


def _dotted(ip: IPv4Address | IPv6Address) -> str:
    return str(ip) if isinstance(ip, IPv4Address) else ".".join(ip.exploded.replace(":", ""))
