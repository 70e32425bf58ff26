"""The real client behind a front MTA: Postfix's XCLIENT and XFORWARD (XCLIENT_README, XFORWARD_README)."""

import re
from dataclasses import dataclass, replace

from connectors.email.smtp.networks import parse_ip

XCLIENT_ATTRIBUTES = frozenset(
    {"NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT", "REVERSE_NAME"}
)
XFORWARD_ATTRIBUTES = frozenset({"NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"})
MAX_VALUE_CHARS = 255  # of NAME and HELO

_UNKNOWN = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]"})
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")  # RFC 3461 §4
_ESCAPE = re.compile(r"\+([0-9A-F]{2})")


@dataclass(frozen=True, kw_only=True, slots=True)
class RealClient:
    """What a front MTA said about the client it took the mail from."""

    address: str | None = None  # "": it does not know either; None: not said
    helo: str | None = None

    def merged(self, newer: "RealClient") -> "RealClient":
        """Return it with what `newer` says: one client may be described by several commands."""
        address = self.address if newer.address is None else newer.address
        return replace(self, address=address, helo=self.helo if newer.helo is None else newer.helo)


def parse_attributes(text: str, *, allowed: frozenset[str]) -> RealClient:
    """Return what `NAME=value …` says. Raises ValueError for what is not in the protocol."""
    values: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals or name.upper() not in allowed or not _XTEXT.fullmatch(value):
            raise ValueError(f"not an attribute: {name[:20]!r}")
        plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), value)
        if len(plain) > MAX_VALUE_CHARS or not plain.isprintable():
            raise ValueError(f"not a value of {name.upper()}")
        values[name.upper()] = "" if plain.upper() in _UNKNOWN else plain
    if not values:
        raise ValueError("no attributes")
    return RealClient(address=_address(values.get("ADDR")), helo=values.get("HELO"))


def _address(value: str | None) -> str | None:
    if not value:
        return value
    address = value[len("IPV6:") :] if value.upper().startswith("IPV6:") else value
    ip = parse_ip(address)
    if ip is None:
        raise ValueError("ADDR is no IP address")
    return str(ip)
