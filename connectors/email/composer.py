"""An outbound reply as a mail's bytes (RFC 5322, RFC 2045). Nothing from outside can add a header field."""

import re
from dataclasses import dataclass
from datetime import datetime
from email import encoders
from email.header import Header
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import compat32
from email.utils import format_datetime, formataddr, parseaddr

from appeals.envelope import Attachment, ContactPointKind
from appeals.errors import ConfigurationError, PermanentError
from appeals.reply import ReplyKind
from connectors.base import OutboundMessage
from connectors.email.charsets import clean_block, clean_line
from connectors.email.headers import normalise_address

MAX_REFERENCES = 30  # RFC 5322 sets no limit; mail clients thread by the first and the newest
ENCODED_WORD_CHARS = 64  # RFC 2047 §2 allows 75; the first one shares its line with "Subject: "
MAX_SUBJECT_CHARS = 250  # what mail clients show; longer ones are cut, the text is not

# RFC 3834 §5: an acknowledgement answers a mail, a notice is sent of our own accord, an answer is a person's.
_AUTO_SUBMITTED = {ReplyKind.ACKNOWLEDGEMENT: "auto-replied", ReplyKind.NOTICE: "auto-generated"}
_BAD_IN_ID = re.compile(r"[\s<>\x00-\x1f\x7f]")
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")
_WHOLE_TYPES = ("message/", "multipart/")  # may not be base64 (RFC 2046 §5.2.1), so they go as plain bytes
_POLICY = compat32.clone(linesep="\r\n", max_line_length=76)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboundMail:
    """A mail ready for a relay."""

    mail_from: str
    rcpt_to: str
    content: bytes
    needs_smtputf8: bool  # the recipient's local part is not ASCII (RFC 6531)


class Composer:
    """Composes mails from one sender: an address, or a name with one, as in `Office <office@example.org>`."""

    def __init__(self, sender: str, *, mailboxes: tuple[str, ...]) -> None:
        name, address = parseaddr(sender)
        normal = normalise_address(address)
        if normal is None:
            raise ConfigurationError("email.sender is not an address", faults=(f"email.sender: {sender!r}",))
        self._name = clean_line(name)
        self.address = normal
        # Answers must come back to a mailbox that we take mail for.
        own = [mailbox.lower() for mailbox in mailboxes]
        self._answers_to = normal if normal.lower() in own or not mailboxes else mailboxes[0]

    def compose(
        self, message: OutboundMessage, files: tuple[tuple[Attachment, bytes], ...], *, now: datetime
    ) -> OutboundMail:
        """Return the mail. Raises PermanentError if the recipient is no usable mail address.

        Headers are the same for every attempt but Date: the Message-ID tells a second copy.
        """
        rcpt_to = _recipient(message)
        mail: MIMEText | MIMEMultipart = MIMEText(_wire_text(message.text), "plain", "utf-8", policy=_POLICY)
        if files:
            body, mail = mail, MIMEMultipart("mixed", policy=_POLICY)
            mail.attach(body)
            for attachment, content in files:
                mail.attach(_file_part(attachment, content))
        for name, value in self._headers(message, rcpt_to=rcpt_to, now=now):
            mail[name] = value
        return OutboundMail(
            mail_from=self.address,
            rcpt_to=rcpt_to,
            content=mail.as_bytes(policy=_POLICY),
            needs_smtputf8=not (rcpt_to.isascii() and self.address.isascii()),
        )

    def _headers(self, message: OutboundMessage, *, rcpt_to: str, now: datetime) -> list[tuple[str, str]]:
        subject = clean_line(message.subject)[:MAX_SUBJECT_CHARS]
        headers: list[tuple[str, str]] = [
            ("From", formataddr((self._name, self.address), "utf-8") if self._name else self.address),
            ("To", rcpt_to),
            ("Subject", _encoded(subject)),
            ("Date", format_datetime(now)),
            ("Message-ID", f"<{_message_id(message.message_id)}>"),
        ]
        if message.reply_token:
            headers.append(("Reply-To", self.reply_address(message.reply_token)))
        references = [item for item in message.in_reply_to if item and not _BAD_IN_ID.search(item)]
        if references:
            if len(references) > MAX_REFERENCES:
                references = [references[0], *references[1 - MAX_REFERENCES :]]
            headers.append(("In-Reply-To", f"<{references[-1]}>"))
            headers.append(("References", " ".join(f"<{item}>" for item in references)))
        submitted = _AUTO_SUBMITTED.get(message.kind)
        if submitted:
            headers += [("Auto-Submitted", submitted), ("X-Auto-Response-Suppress", "All")]
        if _LANGUAGE_TAG.fullmatch(message.language) and message.language != "und":
            headers.append(("Content-Language", message.language))
        return headers

    def reply_address(self, token: str) -> str:
        """Return the plus-address (RFC 5233) that carries the signed token back to us."""
        local, _, domain = self._answers_to.rpartition("@")
        return f"{local}+{re.sub(r'[^A-Za-z0-9._=-]', '', token)}@{domain}"


def _encoded(text: str) -> str:
    """Return text as header words (RFC 2047), on one line; the generator folds between them."""
    if text.isascii() and "=?" not in text:
        return text
    return Header(text, "utf-8").encode(maxlinelen=ENCODED_WORD_CHARS).replace("\n ", " ").strip()


def _recipient(message: OutboundMessage) -> str:
    address = normalise_address(message.recipient.value)
    if message.recipient.kind is not ContactPointKind.EMAIL or address is None or '"' in address:
        raise PermanentError("the recipient is not a mail address")
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode('ascii')}"  # RFC 5890: understood by every relay
    except UnicodeError as error:
        raise PermanentError("the recipient's domain is not a domain name") from error


def _message_id(message_id: str) -> str:
    if not message_id or _BAD_IN_ID.search(message_id):
        raise PermanentError("the reply's message id is not usable in a mail")
    return message_id


def _wire_text(text: str) -> str:
    return clean_block(text).rstrip("\n").replace("\n", "\r\n") + "\r\n"


def _file_part(attachment: Attachment, content: bytes) -> MIMEBase:
    media_type = attachment.detected_media_type
    if media_type.startswith(_WHOLE_TYPES) or media_type.count("/") != 1 or not media_type.isascii():
        media_type = "application/octet-stream"
    main, _, sub = clean_line(media_type).partition("/")
    part = MIMEBase(main, sub, policy=_POLICY)
    part.set_payload(content)
    encoders.encode_base64(part)
    name = clean_line(attachment.name) or "attachment"
    filename: str | tuple[str, str, str] = name if name.isascii() else ("utf-8", "", name)  # RFC 2231
    part.add_header("Content-Disposition", "inline" if attachment.inline else "attachment", filename=filename)
    return part
