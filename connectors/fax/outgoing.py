"""An answer as a fax: the letter, and what is attached to it as further pages."""

import asyncio
from datetime import datetime

from appeals.errors import DecodeError, PermanentError
from connectors.base import OutboundMessage
from connectors.fax.envelope import normalise_number
from connectors.fax.gateway import FaxPart, OutgoingFax
from connectors.fax.letter import render_letter
from connectors.pages.records import PAGE_MEDIA_TYPES, PDF
from connectors.pages.renderer import PageRenderer


async def make_fax(message: OutboundMessage, *, pages: PageRenderer, sender: str, now: datetime) -> OutgoingFax:
    """Return the fax of a reply: one PDF of the letter and all PDFs and pictures, then other files as they are.

    `sender`: our number, E.164, or "". Raises PermanentError if the recipient is no fax number or a file that should be
    pages cannot be read, TransientError if a store is out of reach.
    """
    number = normalise_number(message.recipient.value)
    if not number:
        raise PermanentError("the recipient is not an international fax number")
    letter = await asyncio.to_thread(
        render_letter,
        message.text,
        subject=message.subject,
        number=message.appeal_number,
        language=message.language,
        written_at=now.astimezone(),  # the date on the sheet is the office's
        recipient=number,
        sender=sender,
    )
    sheets, others = [letter], []
    for attachment in message.attachments:
        content = await message.read_blob(attachment.sha256)
        if attachment.detected_media_type not in PAGE_MEDIA_TYPES:
            others.append(FaxPart(content=content, media_type=attachment.detected_media_type))
            continue
        await _check(attachment.name, content, pages)
        sheets.append(content)
    document = await pages.join_pages(sheets) if len(sheets) > 1 else letter
    parts = [FaxPart(content=document, media_type=PDF), *others]
    return OutgoingFax(to=number, parts=parts, label=str(message.reply_id), header=message.appeal_number)


async def _check(name: str, content: bytes, pages: PageRenderer) -> None:
    """Raise PermanentError, which the agent sees, if an attached file has no pages to send."""
    try:
        await pages.page_count(content)
    except DecodeError as error:
        raise PermanentError(f"{name} cannot be faxed: {error}") from error
