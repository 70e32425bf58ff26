"""The way of a mail into the registry, whichever protocol brought it: decode, register, or keep in quarantine."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

import structlog

from appeals.envelope import AppealEnvelope, Channel
from appeals.errors import DecodeError, PermanentError, TransientError
from appeals.registration import Contents, QuarantineItem, Registration
from connectors.base import ConnectorPorts
from connectors.email.envelope_builder import SmtpEnvelope, build_envelope
from connectors.email.mailboxes import Mailboxes
from connectors.email.message_parser import parse_mail

logger = structlog.get_logger(__name__)

THREAD_FROM_BYTES = 128 * 1024  # larger mails are decoded in a thread, so that the loop keeps answering the others


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """A mail that is safe: registered, or held in quarantine if `registration` is None."""

    registration: Registration | None


class MailReceiver:
    """Takes mails in. Nothing is acknowledged before `receive` has returned (P1)."""

    def __init__(self, ports: ConnectorPorts, *, connector: str, mailboxes: Mailboxes) -> None:
        self._ports = ports
        self._connector = connector
        self._mailboxes = mailboxes
        self.last_message_at: datetime | None = None

    async def receive(self, raw: bytes, smtp: SmtpEnvelope) -> Acceptance:
        """Register a mail, or quarantine it if it can never be registered (P4).

        Idempotent: a redelivery gets the same number. Raises TransientError if nothing was kept.
        """
        try:
            registration = await self.register(raw, smtp)
        except PermanentError as error:
            stage = "decode" if isinstance(error, DecodeError) else "register"
            await self._quarantine(raw, smtp, stage=stage, reason=str(error))
            return Acceptance(registration=None)
        return Acceptance(registration=registration)

    async def register(self, raw: bytes, smtp: SmtpEnvelope) -> Registration:
        """Register a mail. Raises DecodeError or PermanentError if it is no good, else TransientError: not kept."""
        if len(raw) >= THREAD_FROM_BYTES:
            envelope, contents = await asyncio.to_thread(self._decode, raw, smtp)
        else:
            envelope, contents = self._decode(raw, smtp)
        registration = await self._ports.intake.register(envelope, contents)
        self.last_message_at = self._ports.now()
        logger.info(
            "connector.message_registered",
            connector=self._connector,
            number=registration.number,
            duplicate=registration.duplicate,
            size_bytes=len(raw),
        )
        return registration

    def _decode(self, raw: bytes, smtp: SmtpEnvelope) -> tuple[AppealEnvelope, Contents]:
        try:
            mail = parse_mail(raw, mail_from=smtp.mail_from)
            return build_envelope(
                mail,
                raw,
                smtp=smtp,
                mailboxes=self._mailboxes,
                connector=self._connector,
                received_at=smtp.received_at or self._ports.now(),
            )
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
