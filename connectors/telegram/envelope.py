"""From a Telegram message to the appeal envelope."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from appeals.envelope import (
    AppealEnvelope,
    Attachment,
    AuthenticityResult,
    BlobRef,
    Channel,
    ContactPoint,
    ContactPointKind,
    Location,
    ThreadReferences,
)
from appeals.numbering import find_number
from connectors.telegram.message import FileReference, Message
from connectors.telegram.updates import ChatMessage

EDITED_MARK = "[изменено / edited]"
MAX_UNKNOWN_FIELDS = 3  # named in a note
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")  # the shape of a BCP 47 tag


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageFile:
    """One file of a message: where it is, and what it is called."""

    reference: FileReference
    name: str
    media_type: str  # as declared
    inline: bool = False


def files_of(message: Message) -> tuple[MessageFile, ...]:
    """Return the message's files; of a picture the largest size alone, of a GIF one of its two entries."""
    number = message.message_id
    files: dict[str, MessageFile] = {}
    if message.photo:
        largest = max(message.photo, key=lambda size: (size.width * size.height, size.file_size or 0))
        files[largest.file_id] = MessageFile(
            reference=largest, name=f"photo-{number}.jpg", media_type="image/jpeg", inline=True
        )
    for reference, name, media_type in (
        (message.animation, f"animation-{number}.mp4", "video/mp4"),
        (message.document, f"document-{number}", ""),
        (message.audio, f"audio-{number}.mp3", "audio/mpeg"),
        (message.video, f"video-{number}.mp4", "video/mp4"),
        (message.voice, f"voice-{number}.ogg", "audio/ogg"),
        (message.video_note, f"video-{number}.mp4", "video/mp4"),
    ):
        if reference is not None and reference.file_id not in files:
            files[reference.file_id] = MessageFile(
                reference=reference, name=reference.file_name or name, media_type=reference.mime_type or media_type
            )
    return tuple(files.values())


def build_envelope(
    incoming: ChatMessage,
    attachments: Sequence[Attachment],
    *,
    notes: Sequence[str],
    connector: str,
    bot_id: int,
    method: str,
    raw: BlobRef,
    received_at: datetime,
) -> AppealEnvelope:
    """Return the envelope of one message.

    `notes` says what of it could not be taken in; `method` how we know that Telegram sent it. In a group the answer
    goes to the writer alone, so the talk is the writer's, not the group's: nobody writes into another's appeal.
    """
    message = incoming.message
    citizen = _citizen(message)
    text = "\n".join(part for part in (_text(incoming), *notes) if part)
    answered = message.reply_to_message
    return AppealEnvelope(
        channel=Channel.TELEGRAM,
        connector=connector,
        # Update ids start anywhere after a week without updates: the message's id keeps a chance hit apart.
        external_id=f"{bot_id}:{incoming.update_id}:{message.message_id}",
        received_at=received_at,
        sent_at=message.sent_at,
        sender=citizen,
        recipients=(ContactPoint(kind=ContactPointKind.TELEGRAM, value=str(bot_id)),),
        text=text,
        clean_text=text,
        language=_language(message),
        attachments=tuple(attachments),
        threading=ThreadReferences(
            message_id=f"{message.chat.id}:{message.message_id}",
            in_reply_to=(f"{message.chat.id}:{answered.message_id}",) if answered else (),
            appeal_number=find_number(text),
            conversation=f"telegram:{citizen.value}",
        ),
        authenticity=(AuthenticityResult(method=method, result="pass"),),
        automatic=bool(message.sender and message.sender.is_bot),
        location=_location(message),
        raw=raw,
    )


def _citizen(message: Message) -> ContactPoint:
    """Return the writer: in a private chat the chat's id is the user's."""
    sender = message.sender
    if sender is None:
        return ContactPoint(kind=ContactPointKind.TELEGRAM, value=str(message.chat.id))
    name = f"{sender.first_name} {sender.last_name}".strip()
    return ContactPoint(kind=ContactPointKind.TELEGRAM, value=str(sender.id), name=name)


def _text(incoming: ChatMessage) -> str:
    message = incoming.message
    parts = [message.text, message.caption]
    if message.contact:
        name = f"{message.contact.first_name} {message.contact.last_name}".strip()
        parts.append(f"[контакт / contact: {name} {message.contact.phone_number}]")
    if message.venue:
        parts.append(f"[место / place: {message.venue.title}, {message.venue.address}]")
    elif message.location:
        parts.append(f"[место / place: {message.location.latitude}, {message.location.longitude}]")
    if message.sticker:
        parts.append(f"[стикер / sticker {message.sticker.emoji}]")
    if not any(parts) and not files_of(message):
        kinds = ", ".join(incoming.unknown[:MAX_UNKNOWN_FIELDS])
        parts.append(f"[сообщение другого вида / a message of another kind: {kinds}]")
    if incoming.edited:
        parts.insert(0, EDITED_MARK)
    return "\n".join(part for part in parts if part)


def _location(message: Message) -> Location | None:
    place = message.venue.location if message.venue else message.location
    if place is None:
        return None
    address = message.venue.address if message.venue else None
    return Location(latitude=place.latitude, longitude=place.longitude, address=address)


def _language(message: Message) -> str | None:
    code = message.sender.language_code if message.sender else ""
    return code if _LANGUAGE.fullmatch(code) else None
