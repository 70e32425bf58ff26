"""An outbound reply as a mail's bytes (RFC 5322, RFC 2045). Nothing from outside can add a header field."""

import re
from dataclasses import dataclass
from datetime import datetime
from email import encoders
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from email.policy import compat32
from email.utils import format_datetime, parseaddr

from appeals.envelope import Attachment, ContactPointKind
from appeals.errors import ConfigurationError, PermanentError
from appeals.reply import ReplyKind
from config.channel_settings import EmailSettings
from connectors.base import OutboundMessage
from connectors.email.parsing.charsets import clean_line
from connectors.email.parsing.headers import normalise_address
from connectors.email.reports.own_mail import MARKER_HEADER, return_token
from connectors.email.sending.outbound_text import encoded_text, header_address, text_part, wire_address

MAX_REFERENCES = 30  # RFC 5322 sets no limit; mail clients thread by the first and the newest
MAX_REFERENCES_CHARS = 4000  # relays refuse headers of 8 KiB and more
MAX_SUBJECT_CHARS = 250  # what mail clients show; longer ones are cut, the text is not

# RFC 3834 §5: an acknowledgement answers a mail, a notice is sent of our own accord, an answer is a person's. None of
# them is bulk or a list's: no Precedence and no List-* fields, which would only make providers sort them away.
_AUTO_SUBMITTED = {ReplyKind.ACKNOWLEDGEMENT: "auto-replied", ReplyKind.NOTICE: "auto-generated"}
_BAD_IN_ID = re.compile(r"[\s<>\x00-\x1f\x7f]|[^\x00-\x7f]")
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")
_WHOLE_TYPES = ("message/", "multipart/")  # may not be base64 (RFC 2046 §5.2.1), so they go as plain bytes
_POLICY = compat32.clone(linesep="\r\n", max_line_length=76)
_POLICY_8BIT = _POLICY.clone(cte_type="8bit")  # RFC 6532: header fields in UTF-8


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboundMail:
    """A mail ready for a relay."""

    mail_from: str
    rcpt_to: str
    content: bytes
    needs_smtputf8: bool  # a local part is not ASCII (RFC 6531)
    message_id: str = ""  # without angle brackets: the envelope id of delivery reports (RFC 3461)


class Composer:
    """Composes mails from one sender: an address, or a name with one, as in `Office <office@example.org>`.

    The return path of everything is an address of ours, not the null sender: RFC 3834 §3.3 allows both, we want to know
    when a citizen's number does not arrive, and our own intake answers no automatic mail, so that it makes no loop.
    """

    def __init__(
        self,
        sender: str,
        *,
        mailboxes: tuple[str, ...],
        return_path: str = "",
        verp: bool = False,
        read_receipts: bool = False,
    ) -> None:
        name, address = parseaddr(sender)
        normal = normalise_address(address)
        if normal is None:
            raise ConfigurationError("email.sender is not an address", faults=(f"email.sender: {sender!r}",))
        self._name = clean_line(name)
        self.address = normal
        # Answers must come back to a mailbox that we take mail for.
        own = [mailbox.lower() for mailbox in mailboxes]
        self._answers_to = normal if normal.lower() in own or not mailboxes else mailboxes[0]
        self.return_path = return_path or normal
        self._verp = verp
        self._read_receipts = read_receipts
        if (return_path or verp) and self.return_path.lower() not in own:
            key = "email.return_path" if return_path else "email.verp: the return path"
            raise ConfigurationError(f"{key} {self.return_path!r} is none of email.mailboxes: bounces would be lost")

    @classmethod
    def of(cls, settings: EmailSettings) -> "Composer":
        """Return a composer as the settings say. Raises ConfigurationError."""
        return cls(
            settings.sender,
            mailboxes=settings.mailboxes,
            return_path=settings.return_path,
            verp=settings.verp,
            read_receipts=settings.read_receipts,
        )

    def compose(
        self, message: OutboundMessage, files: tuple[tuple[Attachment, bytes], ...], *, now: datetime
    ) -> OutboundMail:
        """Return the mail. Raises PermanentError if the recipient is no usable mail address.

        Headers are the same for every attempt but Date: the Message-ID tells a second copy.
        """
        rcpt_to = _recipient(message)
        mail: MIMENonMultipart | MIMEMultipart = text_part(message.text, _POLICY)
        if files:
            body, mail = mail, MIMEMultipart("mixed", policy=_POLICY)
            mail.attach(body)
            for attachment, content in files:
                mail.attach(_file_part(attachment, content))
        for name, value in self._headers(message, rcpt_to=rcpt_to, now=now):
            mail[name] = value
        needs_smtputf8 = not (rcpt_to.isascii() and wire_address(self.address).isascii())
        return OutboundMail(
            mail_from=self._mail_from(message),
            rcpt_to=rcpt_to,
            content=mail.as_bytes(policy=_POLICY_8BIT if needs_smtputf8 else _POLICY),
            needs_smtputf8=needs_smtputf8,
            message_id=message.message_id,
        )

    def _mail_from(self, message: OutboundMessage) -> str:
        """Return the return path; with VERP its plus-part names the mail, so that any bounce does."""
        address = wire_address(self.return_path)
        token = return_token(message.message_id) if self._verp else ""
        local, _, domain = address.rpartition("@")
        return f"{local}+{token}@{domain}" if token else address

    def _headers(self, message: OutboundMessage, *, rcpt_to: str, now: datetime) -> list[tuple[str, str]]:
        sender = wire_address(self.address)
        message_id = _message_id(message.message_id)
        headers: list[tuple[str, str]] = [
            ("From", header_address(sender, self._name)),
            ("To", header_address(rcpt_to)),
            ("Subject", encoded_text(clean_line(message.subject)[:MAX_SUBJECT_CHARS])),
            ("Date", format_datetime(now)),
            ("Message-ID", f"<{message_id}>"),
            (MARKER_HEADER, f"<{message_id}>"),
        ]
        if message.reply_token:
            headers.append(("Reply-To", self.reply_address(message.reply_token)))
        if references := _references(message.in_reply_to):
            headers.append(("In-Reply-To", f"<{references[-1]}>"))
            headers.append(("References", " ".join(f"<{item}>" for item in references)))
        submitted = _AUTO_SUBMITTED.get(message.kind)
        if submitted:
            headers += [("Auto-Submitted", submitted), ("X-Auto-Response-Suppress", "All")]
        elif self._read_receipts:
            headers.append(("Disposition-Notification-To", wire_address(self._answers_to)))
        if _LANGUAGE_TAG.fullmatch(message.language) and message.language != "und":
            headers.append(("Content-Language", message.language))
        return headers

    def reply_address(self, token: str) -> str:
        """Return the plus-address (RFC 5233) that carries the signed token back to us."""
        local, _, domain = wire_address(self._answers_to).rpartition("@")
        return f"{local}+{re.sub(r'[^A-Za-z0-9._=-]', '', token)}@{domain}"


def _references(ids: tuple[str, ...]) -> list[str]:
    """Return the ids to refer to, oldest first: the thread's first and the newest, as many as a header may hold."""
    usable = [item for item in ids if item and not _BAD_IN_ID.search(item)]
    if not usable:
        return []
    first, rest = usable[0], usable[1:][1 - MAX_REFERENCES :]
    while rest and len(first) + sum(len(item) + 3 for item in rest) > MAX_REFERENCES_CHARS:
        rest.pop(0)
    return [first, *rest]


def _recipient(message: OutboundMessage) -> str:
    address = normalise_address(message.recipient.value)
    if message.recipient.kind is not ContactPointKind.EMAIL or address is None or '"' in address:
        raise PermanentError("address_malformed: the recipient is not a mail address")
    return wire_address(address)


def _message_id(message_id: str) -> str:
    if not message_id or _BAD_IN_ID.search(message_id):
        raise PermanentError("the reply's message id is not usable in a mail")
    return message_id


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
