"""Is a mail written by a machine, and of which sort? Such mail is kept, and never answered by a machine (RFC 3834)."""

import re
from enum import StrEnum

from connectors.email.parsing.headers import Headers


class AutomaticKind(StrEnum):
    """What sort of automatic mail it is; the value is the mark on its envelope."""

    AUTO_REPLY = "auto_reply"  # a machine's answer to a mail of ours: vacation notes, a ticket system's receipt
    AUTO_GENERATED = "auto_generated"  # a machine's own mail: forms of other systems, alarms, robots' addresses
    MAILING_LIST = "mailing_list"  # to many: lists and newsletters


_REPLY_PRECEDENCE = frozenset({"auto_reply", "auto-reply", "autoreply"})
_BULK_PRECEDENCE = frozenset({"bulk", "junk", "list"})
_REPLY_HEADERS = (  # whatever their value: vacation programs, web mailers, Lotus, Zimbra, cPanel
    "x-autoreply",
    "x-autoreply-from",
    "x-auto-reply",
    "x-auto-reply-from",
    "x-mail-autoreply",
    "x-autorespond",
    "x-autoresponder",
    "x-auto-respond",
    "x-autoresponse",
    "x-auto-response",
    "x-vacation",
    "x-fc-machinegenerated",  # FirstClass
)
_EXCHANGE_RULE = "x-ms-exchange-inbox-rules-loop"  # also on what a rule passes on: a reply only if it suppresses others
_TICKET_HEADERS = (  # their mails to customers; a person's answer written in such a system carries some of them as well
    "x-rt-loop-prevention",
    "x-otrs-loop",
    "x-znuny-loop",
    "x-zammad-is-auto-response",
    "x-zammad-out-of-office",
    "x-freescout-auto-reply",
    "x-loop",
    "x-cron-env",
)
_LIST_HEADERS = ("list-id", "list-unsubscribe", "list-post", "x-mailing-list", "x-mailer-lid", "x-campaign-id")
_ROBOT_SENDER = re.compile(
    r"(?:mailer-daemon|postmaster|(?:no|do-?not|not?)[-_.]?reply(?:[-_.+].*)?|(?:.*[-_.])?(?:noreply|no-reply)|"
    r"bounces?(?:[-_.+=].*)?|auto(?:matic)?[-_.]?(?:reply|responder))",
    re.IGNORECASE,
)
_SUPPRESSING = re.compile(r"\b(?:all|oof|autoreply)\b", re.IGNORECASE)
_FALSE = frozenset({"", "no", "false", "0"})
# Subjects that vacation programs write before the original one. Alone they prove nothing: a person may quote them.
_REPLY_SUBJECT = re.compile(
    r"\s*(?:re:\s*)?\W{0,3}(?:авто(?:матический)?[\s-]?ответ|нет на месте|вне офиса|отсутствие на рабочем месте|"
    r"я в отпуске|в отпуске|out of (?:the )?office|automatic reply|auto(?:matic)?[\s-]?re(?:ply|sponse)|"
    r"autoreply|vacation (?:reply|message|notice)|away from (?:my mail|the office)|abwesenheitsnotiz)\b",
    re.IGNORECASE,
)


def automatic_kind(
    headers: Headers, *, media_type: str, sender: str | None, mail_from: str | None, answers_us: bool = False
) -> AutomaticKind | None:
    """Return what sort of machine wrote the mail; None for a person.

    `sender`: the address in From; `mail_from`: the SMTP envelope's sender, "" for `<>`, None if not known;
    `answers_us`: it refers to a message id of our form.
    Sources: RFC 3834 §2 and §5, RFC 2919 and RFC 2369 (lists), RFC 3464 (reports), and what vendors add. A subject
    alone makes nothing automatic.
    """
    submitted = _submitted(headers)
    if submitted == "auto-replied" or _is_reply(headers):
        return AutomaticKind.AUTO_REPLY
    by_null_sender = has_null_sender(headers, mail_from=mail_from)
    by_robot = any(_ROBOT_SENDER.fullmatch(address.rpartition("@")[0]) for address in (sender, mail_from) if address)
    suppresses = _SUPPRESSING.search(headers.get("x-auto-response-suppress") or "") is not None
    by_ticket_system = any((headers.get(name) or "").lower() not in _FALSE for name in _TICKET_HEADERS)
    is_machine = by_null_sender or by_robot or suppresses or by_ticket_system or submitted is not None
    if suppresses and _EXCHANGE_RULE in headers:
        return AutomaticKind.AUTO_REPLY
    if (is_machine or answers_us) and _REPLY_SUBJECT.match(headers.text("subject")):
        return AutomaticKind.AUTO_REPLY
    if _precedence(headers) in _BULK_PRECEDENCE or any(name in headers for name in _LIST_HEADERS):
        return AutomaticKind.MAILING_LIST
    if media_type == "multipart/report":
        return AutomaticKind.AUTO_GENERATED
    if is_machine:
        # RFC 3834 §3.3: the null sender is what answers go out with; a robot of its own accord has an address.
        return AutomaticKind.AUTO_REPLY if by_null_sender and answers_us else AutomaticKind.AUTO_GENERATED
    return None


def has_null_sender(headers: Headers, *, mail_from: str | None) -> bool:
    """Tell whether the mail came from `<>`, by the SMTP envelope or by what the last hop noted of it."""
    return mail_from == "" or (headers.get("return-path") or "").replace(" ", "") == "<>"


def _submitted(headers: Headers) -> str | None:
    """Return the keyword of Auto-Submitted (RFC 3834 §5.1, RFC 5436), None if it is missing or says `no`."""
    value = headers.get("auto-submitted")
    keyword = (value or "").partition(";")[0].partition("(")[0].strip().lower()
    return None if keyword in {"", "no"} else keyword


def _is_reply(headers: Headers) -> bool:
    if _precedence(headers) in _REPLY_PRECEDENCE:
        return True
    return any(name in headers and (headers.get(name) or "").lower() not in {"no", "false"} for name in _REPLY_HEADERS)


def _precedence(headers: Headers) -> str:
    return (headers.get("precedence") or "").strip().lower()
