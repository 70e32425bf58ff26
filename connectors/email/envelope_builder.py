"""`ParsedMail` and its SMTP envelope to the common appeal envelope and its contents."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from appeals.envelope import (
    AppealEnvelope,
    Attachment,
    BlobRef,
    Channel,
    ContactPoint,
    ContactPointKind,
    ThreadReferences,
)
from appeals.numbering import find_number
from appeals.registration import Contents
from connectors.email.mailboxes import Mailboxes
from connectors.email.parsing.charsets import clean_line
from connectors.email.parsing.headers import MailAddress, normalise_address
from connectors.email.parsing.message_parser import MailFile, ParsedMail

MAIL_MEDIA_TYPE = "message/rfc822"
HTML_MEDIA_TYPE = "text/html"


@dataclass(frozen=True, kw_only=True, slots=True)
class SmtpEnvelope:
    """What the SMTP or LMTP dialogue said about a mail."""

    mail_from: str | None = None  # "" for the null sender `<>`; None: not known
    rcpt_to: tuple[str, ...] = ()
    peer: str = ""  # IP address of the client; "" if not known
    front: str = ""  # … of our front MTA that said who the client is; "": `peer` came by itself
    helo: str = ""
    protocol: str = ""  # smtp, lmtp or imap
    received_at: datetime | None = None  # imap: when the office's server received it; None: now

    def to_context(self) -> dict[str, str]:
        """Return it as the context of a quarantine item."""
        known = {} if self.mail_from is None else {"mail_from": clean_line(self.mail_from)}
        rcpt_to = json.dumps([clean_line(address) for address in self.rcpt_to], ensure_ascii=False)
        rest = {"peer": self.peer, "front": self.front, "helo": clean_line(self.helo)[:255], "protocol": self.protocol}
        rest["received_at"] = self.received_at.isoformat() if self.received_at else ""
        return {**known, "rcpt_to": rcpt_to, **{key: value for key, value in rest.items() if value}}

    @classmethod
    def from_context(cls, context: Mapping[str, str]) -> "SmtpEnvelope":
        """Return what `to_context` wrote; whatever is missing is not known."""
        try:
            rcpt_to = json.loads(context.get("rcpt_to", "[]"))
        except ValueError:
            rcpt_to = []
        return cls(
            mail_from=context.get("mail_from"),
            rcpt_to=tuple(str(address) for address in rcpt_to) if isinstance(rcpt_to, list) else (),
            peer=context.get("peer", ""),
            front=context.get("front", ""),
            helo=context.get("helo", ""),
            protocol=context.get("protocol", ""),
            received_at=_moment(context.get("received_at", "")),
        )


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def build_envelope(
    mail: ParsedMail,
    raw: bytes,
    *,
    smtp: SmtpEnvelope,
    mailboxes: Mailboxes,
    connector: str,
    received_at: datetime,
) -> tuple[AppealEnvelope, Contents]:
    """Return the appeal envelope of `mail` and its contents by SHA-256: the raw mail, each file, the cleaned HTML."""
    raw_ref = BlobRef.of(raw, MAIL_MEDIA_TYPE)
    contents: dict[str, bytes] = {raw_ref.sha256: raw}
    sender = _sender(mail, smtp)
    is_own = sender is not None and mailboxes.is_own(sender.value)
    envelope = AppealEnvelope(
        channel=Channel.EMAIL,
        connector=connector,
        external_id=mail.external_id,
        received_at=received_at,
        sent_at=mail.sent_at,
        sender=sender,
        recipients=_recipients(mail, smtp, mailboxes=mailboxes),
        reply_to=_contact_point(mail.reply_to) if mail.reply_to else None,
        subject=mail.subject,
        text=mail.text,
        clean_text=mail.clean_text,
        language=mail.language,
        html=_html(mail.html, contents) if mail.html else None,
        attachments=tuple([_attachment(item, contents) for item in mail.files]),
        threading=ThreadReferences(
            reply_token=_reply_token(mail, smtp, mailboxes=mailboxes),
            message_id=mail.message_id,
            # Our own mail coming back belongs where it was sent from.
            in_reply_to=(*filter(None, [mail.own_message_id]), *mail.in_reply_to),
            appeal_number=find_number(mail.subject) if mail.subject else None,
        ),
        automatic=mail.automatic or sender is None or is_own,
        marks=("own_mail", *mail.marks) if is_own and not mail.automatic else mail.marks,
        fields=mail.fields,
        raw=raw_ref,
    )
    return envelope, contents


def _html(html: str, contents: dict[str, bytes]) -> BlobRef:
    """Return the reference of the cleaned HTML, and put its bytes to the contents."""
    content = html.encode("utf-8")
    reference = BlobRef.of(content, HTML_MEDIA_TYPE)
    contents[reference.sha256] = content
    return reference


def _attachment(item: MailFile, contents: dict[str, bytes]) -> Attachment:
    """Return the record of a file, and put its bytes to the contents."""
    sha256 = hashlib.sha256(item.content).hexdigest()
    contents[sha256] = item.content
    return Attachment(
        name=item.name,
        declared_media_type=item.declared_media_type,
        detected_media_type=item.detected_media_type,
        sha256=sha256,
        size_bytes=len(item.content),
        inline=item.inline,
        content_id=item.content_id,
    )


def _contact_point(address: MailAddress) -> ContactPoint:
    return ContactPoint(kind=ContactPointKind.EMAIL, value=address.address, name=address.name)


def _sender(mail: ParsedMail, smtp: SmtpEnvelope) -> ContactPoint | None:
    """Return who wrote: From; without a usable one, the SMTP sender."""
    if mail.sender is not None:
        return _contact_point(mail.sender)
    address = normalise_address(smtp.mail_from or "")
    return ContactPoint(kind=ContactPointKind.EMAIL, value=address) if address else None


def _addresses(mail: ParsedMail, smtp: SmtpEnvelope) -> Iterator[MailAddress]:
    """Yield the recipients: of To and Cc, then those that only the SMTP envelope names (Bcc)."""
    yield from mail.recipients
    for rcpt_to in smtp.rcpt_to:
        address = normalise_address(rcpt_to)
        if address:
            yield MailAddress(address=address)


def _recipients(mail: ParsedMail, smtp: SmtpEnvelope, *, mailboxes: Mailboxes) -> tuple[ContactPoint, ...]:
    """Return the recipients, each once; ours without the plus-part, which is a secret of the citizen's."""
    found: dict[str, ContactPoint] = {}
    for address in _addresses(mail, smtp):
        delivery = mailboxes.find(address.address)
        value = delivery.mailbox if delivery else address.address
        if value.lower() not in found:
            found[value.lower()] = ContactPoint(kind=ContactPointKind.EMAIL, value=value, name=address.name)
    return tuple(found.values())


def _reply_token(mail: ParsedMail, smtp: SmtpEnvelope, *, mailboxes: Mailboxes) -> str | None:
    """Return the token of a plus-address of ours: from the SMTP recipients first, which nobody can mistype."""
    headers = (address.address for address in (*mail.delivered_to, *mail.recipients))
    for address in (*smtp.rcpt_to, *headers):
        if "+" in address:
            delivery = mailboxes.find(address)
            if delivery is not None and delivery.token:
                return delivery.token
    return None
