"""Why a mail was not delivered, in words: from enhanced status codes (RFC 3463), reply codes and what servers write.

What is kept is `code: words (server's text)`: the code is for the console's translations, the words for everybody else,
the server's text for whoever knows mail.
"""

import re
from enum import StrEnum

MAX_DIAGNOSTIC_CHARS = 300  # of what a server said, as far as it is shown


class FailureReason(StrEnum):
    """Codes of reasons. `WORDS` says each in English."""

    MAILBOX_UNKNOWN = "mailbox_unknown"
    MAILBOX_DISABLED = "mailbox_disabled"
    MAILBOX_FULL = "mailbox_full"
    MAILBOX_MOVED = "mailbox_moved"
    DOMAIN_UNKNOWN = "domain_unknown"
    ADDRESS_MALFORMED = "address_malformed"
    MESSAGE_TOO_BIG = "message_too_big"
    HOST_UNREACHABLE = "host_unreachable"
    MAIL_LOOP = "mail_loop"
    EXPIRED = "expired"
    CONTENT_REFUSED = "content_refused"
    SENDER_REFUSED = "sender_refused"
    NOT_AUTHENTICATED = "not_authenticated"
    TOO_MUCH_MAIL = "too_much_mail"
    REFUSED_AS_SPAM = "refused_as_spam"
    REFUSED_BY_POLICY = "refused_by_policy"
    SERVER_TROUBLE = "server_trouble"
    OTHER = "other"


WORDS = {
    FailureReason.MAILBOX_UNKNOWN: "the recipient's mailbox does not exist",
    FailureReason.MAILBOX_DISABLED: "the recipient's mailbox takes no mail",
    FailureReason.MAILBOX_FULL: "the recipient's mailbox is full",
    FailureReason.MAILBOX_MOVED: "the recipient has moved to another address",
    FailureReason.DOMAIN_UNKNOWN: "the part after the @ is no domain that takes mail",
    FailureReason.ADDRESS_MALFORMED: "the address is misspelt",
    FailureReason.MESSAGE_TOO_BIG: "the mail is too big for the recipient",
    FailureReason.HOST_UNREACHABLE: "the recipient's mail server cannot be reached",
    FailureReason.MAIL_LOOP: "the mail went round in circles at the recipient's provider",
    FailureReason.EXPIRED: "it could not be delivered for days and was given up",
    FailureReason.CONTENT_REFUSED: "the recipient's server refuses this text or attachment",
    FailureReason.SENDER_REFUSED: "the recipient's server refuses our sender address",
    FailureReason.NOT_AUTHENTICATED: "the recipient's server does not trust our mail (SPF, DKIM, DMARC)",
    FailureReason.TOO_MUCH_MAIL: "the recipient's server takes no more mail from us for the moment",
    FailureReason.REFUSED_AS_SPAM: "the recipient's server takes it for spam",
    FailureReason.REFUSED_BY_POLICY: "the recipient's server refuses it by a rule of its own",
    FailureReason.SERVER_TROUBLE: "the recipient's server has trouble",
    FailureReason.OTHER: "the recipient's server gives no clear reason",
}

# RFC 3463 §3, RFC 7372, RFC 7505 and the codes Exchange adds; the class (2, 4, 5) is left off.
_BY_SUBJECT_DETAIL = {
    "1.1": FailureReason.MAILBOX_UNKNOWN,
    "1.2": FailureReason.DOMAIN_UNKNOWN,
    "1.3": FailureReason.ADDRESS_MALFORMED,
    "1.6": FailureReason.MAILBOX_MOVED,
    "1.7": FailureReason.SENDER_REFUSED,
    "1.8": FailureReason.SENDER_REFUSED,
    "1.10": FailureReason.MAILBOX_UNKNOWN,  # Exchange; RFC 7505 (null MX) is told by its text
    "2.1": FailureReason.MAILBOX_DISABLED,
    "2.2": FailureReason.MAILBOX_FULL,
    "2.3": FailureReason.MESSAGE_TOO_BIG,
    "3.4": FailureReason.MESSAGE_TOO_BIG,
    "4.1": FailureReason.HOST_UNREACHABLE,
    "4.2": FailureReason.HOST_UNREACHABLE,
    "4.3": FailureReason.HOST_UNREACHABLE,
    "4.4": FailureReason.HOST_UNREACHABLE,
    "4.6": FailureReason.MAIL_LOOP,
    "4.14": FailureReason.MAIL_LOOP,  # Exchange
    "4.7": FailureReason.EXPIRED,
    "4.300": FailureReason.EXPIRED,  # Exchange Online: message expired
    "4.310": FailureReason.DOMAIN_UNKNOWN,  # Exchange Online: domain not found
    "4.316": FailureReason.EXPIRED,  # Exchange Online: message expired, connection refused
    "7.1": FailureReason.REFUSED_BY_POLICY,
    "7.20": FailureReason.NOT_AUTHENTICATED,
    "7.21": FailureReason.NOT_AUTHENTICATED,
    "7.22": FailureReason.NOT_AUTHENTICATED,
    "7.23": FailureReason.NOT_AUTHENTICATED,
    "7.24": FailureReason.NOT_AUTHENTICATED,
    "7.25": FailureReason.NOT_AUTHENTICATED,
    "7.26": FailureReason.NOT_AUTHENTICATED,
    "7.27": FailureReason.SENDER_REFUSED,
    "7.28": FailureReason.TOO_MUCH_MAIL,  # Gmail
}
_BY_SUBJECT = {
    "1": FailureReason.MAILBOX_UNKNOWN,
    "2": FailureReason.MAILBOX_DISABLED,
    "3": FailureReason.SERVER_TROUBLE,
    "4": FailureReason.HOST_UNREACHABLE,
    "6": FailureReason.CONTENT_REFUSED,
    "7": FailureReason.REFUSED_BY_POLICY,
}
# What servers write where their code says little or lies (550 5.7.1 for an unknown user is common). First match wins.
_TEXTS = {
    FailureReason.DOMAIN_UNKNOWN: (
        r"null mx|domain.{0,40}(?:does not|doesn'?t) accept mail|host or domain name not found|domain not found|"
        r"nxdomain|(?:unknown|unrouteable|no such) (?:domain|host|address)|name or service not known|"
        r"домен[^.;\n]{0,20}не найден"
    ),
    FailureReason.MAILBOX_FULL: (
        r"over ?quota|quota.{0,20}exceed|mailbox (?:is )?full|переполнен|insufficient storage|out of storage"
    ),
    FailureReason.MAILBOX_UNKNOWN: (
        r"user unknown|unknown (?:user|recipient|mailbox)|no such (?:user|mailbox|recipient)|recipientnotfound|"
        r"(?:user|mailbox|recipient|account|address|person)[^.;\n]{0,60}"
        r"(?:not found|(?:does ?n[o']t|not) exist|unavailable)|"
        r"invalid (?:recipient|mailbox)|recipient name is not recognized|user is terminated|"
        r"нет такого (?:пользователя|ящика)|не существует|ящик не найден|пользователь не найден"
    ),
    FailureReason.MAILBOX_DISABLED: (
        r"(?:mailbox|account|user)[^.;\n]{0,30}(?:disabled|blocked|inactive|suspended)|заблокирован"
    ),
    FailureReason.NOT_AUTHENTICATED: r"dmarc|\bspf\b|\bdkim\b|unauthenticated",
    FailureReason.REFUSED_AS_SPAM: r"\bspam\b|spamhaus|black ?list|block ?list|\brbl\b|спам",
    FailureReason.MESSAGE_TOO_BIG: r"too (?:large|big)|size (?:limit|exceed)|exceeds .{0,20}size|слишком большо",
    FailureReason.TOO_MUCH_MAIL: r"gr[ea]y-?list|too many (?!hops)|rate limit",
    FailureReason.MAIL_LOOP: r"too many hops|mail loop|loops? back|hop count",
    FailureReason.EXPIRED: r"delivery time expired|retry time|in the queue too long|message expired",
    FailureReason.HOST_UNREACHABLE: (
        r"connection (?:timed out|refused)|no route to host|network is unreachable|connect to|no smtp connection|"
        r"couldn't establish"
    ),
}
_BY_TEXT = tuple((re.compile(pattern, re.IGNORECASE), reason) for reason, pattern in _TEXTS.items())
_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")
# A code says what it means unless servers use it for everything: then their text is asked first.
_VAGUE = frozenset(
    {"", "0.0", "1.0", "2.0", "3.0", "4.0", "5.0", "6.0", "7.0", "7.1", "4.1", "1.10", "2.1", "3.2", "5.2"}
)


def find_status(text: str) -> str:
    """Return the first enhanced status code in `text`, such as 5.1.1; empty if there is none."""
    match = _STATUS.search(text)
    return match.group(0) if match else ""


def failure_reason(status: str, diagnostic: str) -> FailureReason:
    """Return the reason that a status code and the server's own words give. Any text may come in."""
    status = find_status(status)
    if not status or status.endswith(".0.0"):
        status = find_status(diagnostic) or status
    detail = status.partition(".")[2]
    if detail in _BY_SUBJECT_DETAIL and detail not in _VAGUE:
        return _BY_SUBJECT_DETAIL[detail]
    for pattern, reason in _BY_TEXT:
        if pattern.search(diagnostic):
            return reason
    known = _BY_SUBJECT_DETAIL.get(detail) or _BY_SUBJECT.get(detail.partition(".")[0])
    return known or FailureReason.OTHER


def describe_failure(status: str, diagnostic: str) -> str:
    """Return `code: words (what the server said)`: what an agent is shown."""
    reason = failure_reason(status, diagnostic)
    said = diagnostic[:MAX_DIAGNOSTIC_CHARS] or find_status(status)
    if diagnostic and status and status not in diagnostic:
        said = f"{status} {said}"
    return f"{reason.value}: {WORDS[reason]}" + (f" ({said})" if said else "")
