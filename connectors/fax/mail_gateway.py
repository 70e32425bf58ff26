"""Mail-to-fax gateways: a mail of theirs with a PDF or TIFF is a fax of the number it names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import structlog

from appeals.envelope import (
    AppealEnvelope,
    Channel,
    ContactPoint,
    ContactPointKind,
    ThreadReferences,
)
from config.channel_settings import FaxMailGateway
from connectors.fax.envelope import describe_fax, normalise_number
from connectors.pages.records import PDF, TIFF

logger = structlog.get_logger(__name__)

PAGE_TYPES = frozenset({PDF, TIFF})
MAX_SEARCHED_CHARS = 20_000  # of the text: gateways name the number at its head
DOUBTED = frozenset({"fail", "softfail", "permerror"})  # results of DMARC that make the sender a stranger
WHOSE = "number"  # the group of the pattern


@dataclass(frozen=True, slots=True)
class _Pattern:
    sender: str
    number: re.Pattern[str]
    region: str


class MailFaxGateways:
    """The gateways that `email.fax_gateways` names."""

    def __init__(self, patterns: Sequence[FaxMailGateway]) -> None:
        self._patterns = tuple(
            _Pattern(sender=item.sender.lower(), number=re.compile(item.number), region=item.default_region)
            for item in patterns
        )

    def convert(self, envelope: AppealEnvelope) -> AppealEnvelope | None:
        """Return the fax that a mail is, or None if it is a mail like any other.

        It is a fax if its sender is one of the gateways (and DMARC, where it was checked, does not deny that) and it
        has a PDF or TIFF. Connector and external id stay: a redelivered mail is the same message. The sender is the
        number, or nobody if the mail names none; answers to a number go out by fax.
        """
        pattern = self._match(envelope)
        pages = [item for item in envelope.attachments if item.detected_media_type in PAGE_TYPES]
        if pattern is None or not pages:
            return None
        number = _find_number(envelope, pattern)
        text = describe_fax(None, number)
        logger.info("connector.fax_by_mail", connector=envelope.connector, number_found=bool(number))
        return envelope.model_copy(
            update={
                "channel": Channel.FAX,
                "sender": ContactPoint(kind=ContactPointKind.FAX, value=number) if number else None,
                "reply_to": None,
                "text": f"{text}\n\n{envelope.text}".rstrip(),
                "clean_text": text,
                "subject": f"Факс от {number}" if number else "Факс от неизвестного номера",
                "threading": ThreadReferences(),  # the gateway's mails are no conversation
                "automatic": False,  # the mail is a machine's, the fax a citizen's
                "language": None,
                "recognise": True,
                "fields": {**envelope.fields, "fax_mail_sender": envelope.sender.value if envelope.sender else ""},
            }
        )

    def _match(self, envelope: AppealEnvelope) -> _Pattern | None:
        sender = envelope.sender
        if sender is None or sender.kind is not ContactPointKind.EMAIL or envelope.channel is not Channel.EMAIL:
            return None
        if any(check.method == "dmarc" and check.result in DOUBTED for check in envelope.authenticity):
            return None
        address = sender.value.lower()
        return next((pattern for pattern in self._patterns if fnmatchcase(address, pattern.sender)), None)


def _find_number(envelope: AppealEnvelope, pattern: _Pattern) -> str:
    for text in (envelope.subject, envelope.text[:MAX_SEARCHED_CHARS], *(item.name for item in envelope.attachments)):
        found = pattern.number.search(text)
        number = normalise_number(found[WHOSE] or "", region=pattern.region) if found else ""
        if number:
            return number
    return ""
