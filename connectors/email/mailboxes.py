"""Our mailboxes: which recipients are ours, and the reply token a plus-address carries (RFC 5233)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from appeals.errors import ConfigurationError
from connectors.email.parsing.headers import normalise_address

POSTMASTER = "postmaster"
_TOKEN = re.compile(r"[A-Za-z0-9._=-]{1,128}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A recipient that is ours."""

    mailbox: str  # as configured, without a plus-part
    token: str | None = None  # of `mailbox+TOKEN@…`; its signature is not checked here


class Mailboxes:
    """The recipients we take mail for. Local parts are compared without case, as everybody expects of an office."""

    def __init__(self, mailboxes: Iterable[str], *, sender: str, postmaster: str = "") -> None:
        """`postmaster`: the mailbox that gets postmaster@; empty: the first. Raises ConfigurationError."""
        self._mailboxes = {_key(mailbox): mailbox for mailbox in mailboxes}
        self._own = {*self._mailboxes, _key(sender)}
        self._postmasters = self._postmaster_addresses(postmaster)

    def _postmaster_addresses(self, postmaster: str) -> dict[str, str]:
        """Return where mail to each postmaster goes: RFC 5321 §4.5.1 wants one at every domain, and one at none."""
        if postmaster and _key(postmaster) not in self._mailboxes:
            raise ConfigurationError(f"email.postmaster: {postmaster!r} is none of email.mailboxes")
        mailbox = self._mailboxes[_key(postmaster)] if postmaster else next(iter(self._mailboxes.values()), None)
        if mailbox is None:
            return {}
        return {POSTMASTER: mailbox} | {f"{POSTMASTER}@{key.rpartition('@')[2]}": mailbox for key in self._mailboxes}

    def find(self, address: str) -> Delivery | None:
        """Return the mailbox that `address` is delivered to, or None if it is not ours."""
        key = _key(address)
        if key in self._mailboxes:
            return Delivery(mailbox=self._mailboxes[key])
        if key in self._postmasters:
            return Delivery(mailbox=self._postmasters[key])
        local, _, domain = key.rpartition("@")
        base, plus, _ = local.partition("+")
        mailbox = self._mailboxes.get(f"{base}@{domain}") if plus else None
        if mailbox is None:
            return None
        token = address.strip().rpartition("@")[0].partition("+")[2]
        return Delivery(mailbox=mailbox, token=token if _TOKEN.fullmatch(token) else None)

    def is_own(self, address: str) -> bool:
        """Tell whether mail from `address` is our own coming back."""
        key = _key(address)
        return key in self._own or (key not in self._postmasters and self.find(address) is not None)


def _key(address: str) -> str:
    """Return an address for comparison: lower case, an international domain in its ASCII form (RFC 5890)."""
    normal = (normalise_address(address) or address.strip()).lower()
    if normal.isascii():
        return normal
    local, _, domain = normal.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError:
        return normal
