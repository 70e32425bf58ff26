"""From an incoming SMS to the appeal envelope."""

from datetime import datetime

from appeals.envelope import (
    AppealEnvelope,
    AuthenticityResult,
    BlobRef,
    Channel,
    ContactPoint,
    ContactPointKind,
    ThreadReferences,
)
from appeals.numbering import find_number
from connectors.sms.provider import FetchedFiles, IncomingSms, OptOut


def build_envelope(
    message: IncomingSms,
    files: FetchedFiles,
    *,
    connector: str,
    provider: str,
    opt_out: OptOut | None,
    raw: BlobRef,
    received_at: datetime,
) -> AppealEnvelope:
    """Return the message's envelope. `opt_out`: it is a keyword alone, which somebody has answered already."""
    part = f"[часть / part {message.part[0]} из / of {message.part[1]}]" if message.part else ""
    text = "\n".join(line for line in (part, message.text, *files.notes) if line)
    marks = {"file_missing": bool(files.notes), "opt_out": opt_out is not None, "partial": message.part is not None}
    return AppealEnvelope(
        channel=Channel.SMS,
        connector=connector,
        external_id=message.sid,
        received_at=received_at,
        sent_at=message.sent_at,
        sender=ContactPoint(kind=ContactPointKind.PHONE, value=message.sender),
        recipients=(ContactPoint(kind=ContactPointKind.PHONE, value=message.recipient),) if message.recipient else (),
        text=text,
        clean_text=text,
        attachments=files.attachments,
        threading=ThreadReferences(
            message_id=message.sid,
            appeal_number=find_number(message.text),
            conversation=f"sms:{message.recipient}:{message.sender}",
        ),
        authenticity=(AuthenticityResult(method="webhook_signature", result="pass", detail=provider),),
        # A keyword needs no acknowledgement; a name of letters is a bank or a shop.
        automatic=opt_out is not None or not message.sender_is_phone,
        marks=tuple(mark for mark, holds in marks.items() if holds),
        fields={**message.fields, **({"opt_out": opt_out.value} if opt_out else {})},
        raw=raw,
    )
