"""The email connector: SMTP and LMTP in, a relay out."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from appeals.envelope import AppealEnvelope, Channel
from appeals.errors import TransientError
from appeals.registration import Registration
from config.channel_settings import EmailSettings
from connectors.base import Connector, ConnectorHealth, ConnectorPorts, HealthState, OutboundMessage, Receipt
from connectors.email.authenticity.authenticity_check import Authenticity
from connectors.email.envelope_builder import SmtpEnvelope
from connectors.email.imap.imap_mailboxes import ImapMailboxes
from connectors.email.mailboxes import Mailboxes
from connectors.email.receiver import MailReceiver
from connectors.email.sending.composer import Composer
from connectors.email.sending.dkim_signing import DkimSigner
from connectors.email.sending.relay import Relay
from connectors.email.smtp import smtp_replies
from connectors.email.smtp.smtp_server import build_listeners
from connectors.email.smtp.smtp_tls import TlsCertificate

logger = structlog.get_logger(__name__)


class EmailConnector(Connector):
    """Speaks SMTP (RFC 5321), LMTP (RFC 2033) and, as a client, IMAP (RFC 3501)."""

    name = "email"
    channel = Channel.EMAIL

    def __init__(self, settings: EmailSettings, ports: ConnectorPorts) -> None:
        self._ports = ports
        self._composer = Composer.of(settings)
        self._signer = DkimSigner(settings.dkim, sender_domain=self._composer.address.rpartition("@")[2])
        mailboxes = Mailboxes(settings.mailboxes, sender=self._composer.address, postmaster=settings.postmaster)
        self._receiver = MailReceiver(
            ports,
            connector=self.name,
            mailboxes=mailboxes,
            hostname=settings.hostname,
            authenticity=Authenticity(settings),
            as_fax=_fax_converter(settings),
        )
        self._relay = Relay(settings)
        self._certificate = TlsCertificate.of(settings)
        self._listeners = build_listeners(
            settings, mailboxes=mailboxes, deliver=self._deliver, certificate=self._certificate
        )
        self._imap = ImapMailboxes(settings, ports, receiver=self._receiver, connector=self.name)
        self._state = HealthState.STARTING

    async def start(self) -> None:
        """Listen on every port, or on none: raises ConfigurationError if one cannot be had. Begin to read mailboxes."""
        try:
            for listener in self._listeners:
                await listener.start()
        except BaseException:
            await self.stop()
            raise
        self._imap.start()
        self._state = HealthState.UP

    async def work(self) -> None:
        """Watch the TLS certificate, if there is one."""
        if self._certificate is not None:
            await self._certificate.watch()

    async def stop(self) -> None:
        """Accept nothing more, let mails in DATA and from mailboxes finish, hang up on the relay. Idempotent."""
        self._state = HealthState.STOPPED
        await self._imap.stop()
        for listener in self._listeners:
            await listener.stop()
        await self._relay.close()

    async def send(self, message: OutboundMessage) -> Receipt:
        """Hand one reply to the relay; the receipt's external id is the Message-ID, which bounces quote."""
        files = tuple([(item, await message.read_blob(item.sha256)) for item in message.attachments])
        mail = self._composer.compose(message, files, now=self._ports.now())
        reply = await self._relay.deliver(replace(mail, content=await self._signer.sign(mail.content)))
        logger.info(
            "connector.message_sent", connector=self.name, reply_id=str(message.reply_id), kind=message.kind.value
        )
        return Receipt(external_id=message.message_id, detail=reply)

    async def retry(self, content: bytes, context: Mapping[str, str]) -> Registration:
        """Register quarantined bytes as if they had come in now, with the SMTP envelope they came with.

        What was too large to be fetched from a mailbox is fetched now.
        """
        if self._imap.is_place(context):
            content = await self._imap.fetch(context)
        return await self._receiver.register(content, SmtpEnvelope.from_context(context))

    def health(self) -> ConnectorHealth:
        """Report: degraded while mail still comes in, but a mailbox, the relay or the certificate is in trouble."""
        state, detail = self._state, "; ".join(self._imap.progress)
        if state is HealthState.UP and not all(listener.is_listening for listener in self._listeners):
            state, detail = HealthState.DOWN, "not listening"
        elif state is HealthState.UP and (troubles := self._troubles()):
            state, detail = HealthState.DEGRADED, "; ".join(troubles)
        return ConnectorHealth(
            state=state,
            detail=detail,
            addresses=(*(listener.address for listener in self._listeners), *self._imap.addresses),
            last_message_at=self._receiver.last_message_at,
        )

    def _troubles(self) -> list[str]:
        """Return what people should know although mail comes in."""
        certificate = self._certificate.health(self._ports.now()) if self._certificate is not None else ""
        return [trouble for trouble in (*self._imap.troubles, self._relay.trouble, certificate) if trouble]

    async def _deliver(self, content: bytes, smtp: SmtpEnvelope) -> str:
        """Take one mail in and return the SMTP reply; 250 only for what is committed (P1)."""
        try:
            acceptance = await self._receiver.receive(content, smtp)
        except TransientError as error:
            logger.warning("connector.message_deferred", connector=self.name, error=str(error))
            return smtp_replies.TRY_LATER
        except Exception:  # whatever it is, the sender keeps the mail and tries again; the text stays inside
            logger.exception("connector.receive_failed", connector=self.name, size_bytes=len(content))
            return smtp_replies.TRY_LATER
        if acceptance.registration is None:
            return smtp_replies.KEPT
        return smtp_replies.registered(acceptance.registration.number)


def _fax_converter(settings: EmailSettings) -> Callable[[AppealEnvelope], AppealEnvelope | None] | None:
    """Return what makes faxes of the mails of mail-to-fax gateways, None if there are none."""
    if not settings.fax_gateways:
        return None
    from connectors.fax.mail_gateway import MailFaxGateways  # noqa: PLC0415 - the fax room is loaded by its users alone

    return MailFaxGateways(settings.fax_gateways).convert
