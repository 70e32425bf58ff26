"""Delivery reports: what another server says became of a mail of ours (RFC 3461–3464, RFC 6522, RFC 6533).

Standard ones are read by their fields. Those of qmail, old Exim, old Exchange and others are plain text: they are known
by their sender and by what they say, and only then.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from appeals.reply import DeliveryState
from connectors.email.parsing.body_text import part_text
from connectors.email.parsing.headers import Headers, parse_message_ids
from connectors.email.parsing.mime import MimePart
from connectors.email.reports.automatic import has_null_sender
from connectors.email.reports.failure_reason import FailureReason, describe_failure, failure_reason, find_status
from connectors.email.reports.own_mail import find_own_ids
from connectors.email.reports.report_fields import (
    MAX_REPORT_BYTES,
    Fields,
    field_blocks,
    ids_of_header,
    read_fields,
    returned_ids,
    typed,
)

STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
MAX_TEXT_CHARS = 64 * 1024  # of a plain-text bounce, before the returned mail
MAX_LINES = 300  # of it, in which a reason is looked for


class Action(IntEnum):
    """What happened, the worst last: of several recipients' fates the worst is told (RFC 3464 §2.3.3)."""

    EXPANDED = 1
    RELAYED = 2
    DELIVERED = 3
    DELAYED = 4
    FAILED = 5


_ACTIONS = {action.name.lower(): action for action in Action}
_ACTION_OF_CLASS = {"2": Action.DELIVERED, "4": Action.DELAYED, "5": Action.FAILED}
_SUBJECTS = re.compile(
    r"undeliver|not delivered|delivery (?:status|failure|has failed|problem|delayed|incomplete)|failure notice|"
    r"returned mail|mail (?:delivery|system) (?:failed|error|failure)|delivery (?:to|of) .{0,80}failed|"
    r"returned to sender|could not (?:be )?(?:delivered|send)|message (?:delayed|not sent)|"
    r"warning: (?:message|could not)|mail failure|"
    r"не ?доставлен|не может быть доставлен|ошибка доставки|сообщение о доставке|задержка доставки",
    re.IGNORECASE,
)
_PHRASES = re.compile(
    r"this is the qmail-send program|wasn't able to deliver your message|"
    r"created automatically by mail delivery software|"
    r"could not be delivered to (?:one or more|the following)|did not reach the following recipient|"
    r"(?:had|have) permanent fatal errors|delivery to the following recipients? (?:has )?failed|"
    r"this is the mail system at host|i'm sorry to have to inform you that your message|"
    r"the following address(?:es)? (?:had|failed)|address(?:es)? .{0,20}had delivery (?:errors|problems)|"
    r"не удалось доставить|не может быть (?:доставлено|отправлено)|не было доставлено",
    re.IGNORECASE,
)
_DELAYING = re.compile(
    r"delayed|warning|still (?:being )?(?:undelivered|trying)|will keep trying|not yet been delivered|"
    r"задерж|попытки (?:доставки )?(?:будут )?продолж",
    re.IGNORECASE,
)
_COPY_FOLLOWS = re.compile(
    r"^(?:-{2,} ?(?:below (?:this|the next) line is|this is a copy of|the body of the message|included is a copy|"
    r"original message|undelivered message).*|-+ (?:copy of|original) message -+|--- ?текст письма.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_SAID = re.compile(
    r"(?:\b[245]\d\d[ -]#?[245]\.\d{1,3}\.\d{1,3}\b|\b[45]\d\d[ -][^\n]|\(#[245]\.\d{1,3}\.\d{1,3}\))", re.IGNORECASE
)
_DAEMON = re.compile(r"(?:mailer-?daemon|mail-?daemon|mdaemon)", re.IGNORECASE)
_OPERATOR = re.compile(r"(?:postmaster|mail-?admin(?:istrator)?|administrator)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryReport:
    """What one report says of one mail."""

    message_ids: tuple[str, ...]  # the ids the mail may have gone out under, the surest first
    action: Action
    status: str  # RFC 3463, such as 5.1.1; empty if there is none
    diagnostic: str  # the other server's words, on one line

    @property
    def mark(self) -> str:
        """What the report's envelope is marked with."""
        return "bounce" if self.action >= Action.DELAYED else "delivery_report"

    @property
    def state(self) -> DeliveryState:
        """The delivery state it stands for: a delayed or relayed mail is still on its way."""
        if self.action is Action.FAILED:
            return DeliveryState.FAILED
        return DeliveryState.DELIVERED if self.action is Action.DELIVERED else DeliveryState.SENT

    @property
    def detail(self) -> str:
        """Return `code: words` for the agent."""
        if self.action is Action.FAILED:
            return describe_failure(self.status, self.diagnostic)
        if self.action is Action.DELAYED:
            return f"delayed: the other server keeps trying; {describe_failure(self.status, self.diagnostic)}"
        return {
            Action.DELIVERED: "delivered: the recipient's server put it into the mailbox",
            Action.RELAYED: "relayed: passed on to a server that reports no delivery",
            Action.EXPANDED: "expanded: delivered to a list of recipients",
        }[self.action]


def read_status_report(parts: Sequence[MimePart], *, headers: Headers) -> DeliveryReport | None:
    """Return the report of a message with a delivery-status part; None if it has none that says anything."""
    blocks = [block for part in parts if part.media_type in STATUS_TYPES for block in field_blocks(part.content)]
    recipients = [block for block in blocks if _action(block) is not None]
    if not recipients:
        return None
    worst = max(recipients, key=lambda block: _action(block) or Action.EXPANDED)
    diagnostic = typed(worst.get("diagnostic-code", ""))
    sure = (
        *(item for block in blocks for item in parse_message_ids(typed(block.get("original-envelope-id", "")))),
        *(item for block in blocks for item in parse_message_ids(block.get("x-original-message-id"))),
        *returned_ids(parts),
    )
    return DeliveryReport(
        message_ids=_ids(sure, "" if sure else _words(parts), headers=headers),
        action=_action(worst) or Action.FAILED,
        status=find_status(worst.get("status", "")) or find_status(diagnostic),
        diagnostic=diagnostic,
    )


def _action(block: Fields) -> Action | None:
    """Return what a recipient's block reports; by its status where Action is missing, None if it is no such block."""
    action = _ACTIONS.get(block.get("action", "").partition(" ")[0].partition("(")[0].strip().lower())
    if action is None and ("final-recipient" in block or "original-recipient" in block):
        return _ACTION_OF_CLASS.get(find_status(block.get("status", ""))[:1])
    return action


def read_plain_bounce(
    parts: Sequence[MimePart], *, headers: Headers, sender: str, mail_from: str | None
) -> DeliveryReport | None:
    """Return the report of a bounce in a server's own words; None unless a mail system sent it, and says so."""
    says_failed = "x-failed-recipients" in headers
    by_nobody = (
        has_null_sender(headers, mail_from=mail_from) or _DAEMON.fullmatch(sender.rpartition("@")[0]) is not None
    )
    if not (says_failed or by_nobody or _OPERATOR.fullmatch(sender.rpartition("@")[0])):
        return None
    text = _words(parts)
    copy = _COPY_FOLLOWS.search(text)
    told = text[: copy.start() if copy else MAX_TEXT_CHARS]
    # A postmaster is a person, too: there the subject alone proves nothing.
    says_failed = says_failed or (by_nobody and _SUBJECTS.search(headers.text("subject")) is not None)
    if not says_failed and _PHRASES.search(told[:MAX_TEXT_CHARS]) is None:
        return None
    returned = ids_of_header(read_fields(text[copy.end() :].encode("utf-8")[:MAX_REPORT_BYTES])) if copy else ()
    sure = (*returned_ids(parts), *returned)
    ids = _ids(sure, text, headers=headers)
    if not (ids or by_nobody or "x-failed-recipients" in headers):
        return None
    is_delayed = _DELAYING.search(headers.text("subject")) is not None or "will keep trying" in told
    diagnostic = _diagnostic(told)
    return DeliveryReport(
        message_ids=ids,
        action=Action.DELAYED if is_delayed else Action.FAILED,
        status=find_status(diagnostic) or find_status(told),
        diagnostic=diagnostic,
    )


def _diagnostic(told: str) -> str:
    """Return the line on which the server's refusal stands, else the first that says a known reason."""
    lines = [" ".join(line.split()) for line in told.splitlines()[:MAX_LINES]]
    refusals = (line for line in lines if _SAID.search(line))
    reasons = (line for line in lines if failure_reason("", line) is not FailureReason.OTHER)
    return next(refusals, None) or next(reasons, "")


def _words(parts: Sequence[MimePart]) -> str:
    """Return what the parts say in words, as far as a report goes."""
    readable = [part for part in parts if part.media_type in {"text/plain", "text/html", "message/delivery-status"}]
    texts = (part_text(replace(part, content=part.content[:MAX_REPORT_BYTES])) for part in readable)
    return "\n".join(texts)[: 4 * MAX_TEXT_CHARS]


def _ids(sure: Sequence[str], text: str, *, headers: Headers) -> tuple[str, ...]:
    """Return the ids to look for: what the report says outright, or else what it refers to or has in its text.

    References are asked only where there is nothing better: a bounce of somebody else's mail in our thread names our
    ids there too.
    """
    if sure:
        return tuple(dict.fromkeys(sure))
    referred = (*parse_message_ids(headers.get("in-reply-to")), *reversed(parse_message_ids(headers.get("references"))))
    return tuple(dict.fromkeys((*referred, *find_own_ids(text))))
