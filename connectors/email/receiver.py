"""The way of a mail into the registry, whichever protocol brought it: decode, register, or keep in quarantine."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from appeals.envelope import AppealEnvelope, Channel
from appeals.errors import DecodeError, PermanentError, TransientError
from appeals.registration import Contents, QuarantineItem, Registration
from connectors.base import ConnectorPorts
from connectors.email.authenticity.authenticity_check import Authenticity
from connectors.email.envelope_builder import SmtpEnvelope, build_envelope
from connectors.email.mailboxes import Mailboxes
from connectors.email.parsing.message_parser import ParsedMail, parse_mail
from connectors.email.reports.mail_reports import MailReport, UnknownReportError, tell_report
from connectors.email.reports.own_mail import read_return_token

logger = structlog.get_logger(__name__)

_STAGES: dict[type[PermanentError], str] = {DecodeError: "decode", UnknownReportError: "report"}
THREAD_FROM_BYTES = 128 * 1024  # larger mails are decoded in a thread, so that the loop keeps answering the others


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """A mail that is safe: registered, or held in quarantine if `registration` is None."""

    registration: Registration | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decoded:
    """A mail in our terms."""

    envelope: AppealEnvelope
    contents: Contents
    report: MailReport | None
    returned_to: tuple[str, ...]  # the ids of our mails whose return path it was sent to


class MailReceiver:
    """Takes mails in. Nothing is acknowledged before `receive` has returned (P1).

    Reports about our own mail (bounces, read receipts) are handled here, whichever protocol brought them: they become
    the delivery state of the reply they are about, and then join its appeal.
    """

    def __init__(
        self,
        ports: ConnectorPorts,
        *,
        connector: str,
        mailboxes: Mailboxes,
        hostname: str = "",
        authenticity: Authenticity | None = None,
        as_fax: Callable[[AppealEnvelope], AppealEnvelope | None] | None = None,
    ) -> None:
        """`hostname`: the domain of our message ids; empty: return paths carry none.

        `as_fax` returns the fax that a mail of a mail-to-fax gateway is, None for any other mail.
        """
        self._ports = ports
        self._connector = connector
        self._mailboxes = mailboxes
        self._hostname = hostname
        self._authenticity = authenticity
        self._as_fax = as_fax
        self.last_message_at: datetime | None = None

    async def receive(self, raw: bytes, smtp: SmtpEnvelope) -> Acceptance:
        """Register a mail, or quarantine it if it can never be registered (P4).

        Idempotent: a redelivery gets the same number. Raises TransientError if nothing was kept.
        """
        try:
            registration = await self.register(raw, smtp)
        except PermanentError as error:
            stage = _STAGES.get(type(error), "register")
            await self._quarantine(raw, smtp, stage=stage, reason=str(error))
            return Acceptance(registration=None)
        return Acceptance(registration=registration)

    async def register(self, raw: bytes, smtp: SmtpEnvelope) -> Registration:
        """Register a mail. Raises DecodeError or PermanentError if it is no good, else TransientError: not kept."""
        if len(raw) >= THREAD_FROM_BYTES:
            decoded = await asyncio.to_thread(self._decode, raw, smtp)
        else:
            decoded = self._decode(raw, smtp)
        envelope = decoded.envelope
        if self._authenticity is not None and self._authenticity.concerns(smtp):
            sender = envelope.sender.value if envelope.sender is not None else ""
            results = await self._authenticity.check(raw, smtp, sender=sender)
            envelope = envelope.model_copy(update={"authenticity": results})
        if decoded.report is not None:
            envelope = await self._told(envelope, decoded.report, returned_to=decoded.returned_to)
        elif self._as_fax is not None:
            envelope = self._as_fax(envelope) or envelope
        registration = await self._ports.intake.register(envelope, decoded.contents)
        self.last_message_at = self._ports.now()
        logger.info(
            "connector.message_registered",
            connector=self._connector,
            number=registration.number,
            duplicate=registration.duplicate,
            size_bytes=len(raw),
        )
        return registration

    async def _told(
        self, envelope: AppealEnvelope, report: MailReport, *, returned_to: tuple[str, ...]
    ) -> AppealEnvelope:
        """Pass on what a report says, and return its envelope as one that answers the mail it is about.

        Both steps are idempotent: after a crash in between, the redelivery does them again. Raises UnknownReportError.
        """
        about = await tell_report(report, self._ports.reports, connector=self._connector, returned_to=returned_to)
        return _answering(envelope, (about,))

    def _returned_to(self, mail: ParsedMail, smtp: SmtpEnvelope) -> tuple[str, ...]:
        """Return the message ids that the recipients' plus-parts name (`email.verp`)."""
        if not mail.automatic:
            return ()
        addresses = (*smtp.rcpt_to, *(item.address for item in (*mail.delivered_to, *mail.recipients)))
        found = (self._mailboxes.find(address) for address in addresses if "+b-" in address.lower())
        ids = (read_return_token(item.token, hostname=self._hostname) for item in found if item is not None)
        return tuple(dict.fromkeys(item for item in ids if item))

    def _decode(self, raw: bytes, smtp: SmtpEnvelope) -> _Decoded:
        try:
            mail = parse_mail(raw, mail_from=smtp.mail_from, own_domain=self._hostname or None)
            envelope, contents = build_envelope(
                mail,
                raw,
                smtp=smtp,
                mailboxes=self._mailboxes,
                connector=self._connector,
                received_at=smtp.received_at or self._ports.now(),
            )
            returned_to = self._returned_to(mail, smtp)
            envelope = _answering(envelope, returned_to)
            return _Decoded(envelope=envelope, contents=contents, report=mail.report, returned_to=returned_to)
        except DecodeError:
            raise
        except Exception as error:  # a mail our decoding cannot cope with is kept for a person, never lost (P4)
            logger.exception("connector.decode_failed", connector=self._connector, size_bytes=len(raw))
            raise DecodeError(f"the mail cannot be decoded ({type(error).__name__})", data=raw) from error

    async def _quarantine(self, raw: bytes, smtp: SmtpEnvelope, *, stage: str, reason: str) -> None:
        item = QuarantineItem(
            connector=self._connector,
            channel=Channel.EMAIL,
            stage=stage,
            reason=reason,
            context=smtp.to_context(),
        )
        try:
            entry = await self._ports.intake.quarantine(item, raw)
        except PermanentError as error:  # not even the quarantine takes it: the sender must keep it
            raise TransientError("the quarantine refused the mail") from error
        logger.warning("connector.message_quarantined", connector=self._connector, entry=str(entry), stage=stage)


def _answering(envelope: AppealEnvelope, message_ids: tuple[str, ...]) -> AppealEnvelope:
    """Return the envelope as one that answers mails of ours: their ids come before those it names itself."""
    if not message_ids:
        return envelope
    references = tuple(dict.fromkeys((*message_ids, *envelope.threading.in_reply_to)))
    threading = envelope.threading.model_copy(update={"in_reply_to": references})
    return envelope.model_copy(update={"threading": threading})
