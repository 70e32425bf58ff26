"""From Telegram messages to the appeal envelope, and the ids by which repeats are known."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from appeals.envelope import (
    AppealEnvelope,
    AuthenticityResult,
    BlobRef,
    Channel,
    ContactPoint,
    ContactPointKind,
    Location,
    ThreadReferences,
)
from appeals.numbering import find_number
from connectors.telegram.description import own_phone, own_words, quotation
from connectors.telegram.files import FetchedFiles
from connectors.telegram.message import Deletion, Message, User
from connectors.telegram.updates import ChatMessage

WITHDRAWN_TEXT = "[отправитель удалил сообщение / the sender deleted the message]"
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")  # the shape of a BCP 47 tag


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceivedMessage:
    """One message with its files."""

    incoming: ChatMessage
    files: FetchedFiles = field(default_factory=FetchedFiles)


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """What the connector knows beside the update itself."""

    connector: str
    bot_id: int
    method: str  # how we know that Telegram sent it
    received_at: datetime
    conversation: str | None = None  # the citizen's running talk
    language: str = ""  # which the citizen chose; "" if they never did
    revises: str | None = None  # external id of the message that this one edits
    fields: Mapping[str, str] = field(default_factory=dict)


def message_external_id(bot_id: int, message: Message) -> str:
    """Return the external id of a message, which an edit of it can name, too.

    Ids of messages are unique in a chat; the date, which edits keep, tells chance hits apart. In a connected account
    it is left out, for a deletion does not tell it.
    """
    if message.business_connection_id:
        return business_external_id(bot_id, message.chat.id, message.message_id)
    return f"{bot_id}:{message.chat.id}:{message.message_id}:{message.date}"


def business_external_id(bot_id: int, chat: int, message_id: int) -> str:
    """Return the external id of a message in a connected account."""
    return f"{bot_id}:business:{chat}:{message_id}"


def album_external_id(bot_id: int, chat: int, group: str, message_ids: Sequence[int]) -> str:
    """Return the external id of an album: of exactly these parts, so that another set is never taken for it."""
    digest = hashlib.sha256(" ".join(str(number) for number in sorted(message_ids)).encode()).hexdigest()
    return f"{bot_id}:{chat}:album:{group[:64]}:{digest[:16]}"


def message_key(chat: int, message_id: int) -> str:
    """Return the id by which answers refer to a message of a chat."""
    return f"{chat}:{message_id}"


def build_envelope(
    parts: Sequence[ReceivedMessage], circumstances: Circumstances, *, external_id: str, raw: BlobRef
) -> AppealEnvelope:
    """Return the envelope of one message, or of an album's `parts` (at least one, in their order).

    In a group the answer goes to the writer alone, so the talk is the writer's, not the group's: nobody writes into
    another's appeal.
    """
    first = parts[0].incoming
    message = first.message
    clean = "\n".join(text for part in parts for text in (own_words(part.incoming), *part.files.notes) if text)
    text = "\n".join(piece for piece in (quotation(message), clean) if piece)
    phone = next((number for part in parts if (number := own_phone(part.incoming.message))), None)
    return AppealEnvelope(
        channel=Channel.TELEGRAM,
        connector=circumstances.connector,
        external_id=external_id,
        received_at=circumstances.received_at,
        sent_at=message.sent_at,
        sender=writer_of(message),
        recipients=(ContactPoint(kind=ContactPointKind.TELEGRAM, value=str(circumstances.bot_id)),),
        text=text,
        clean_text=clean,
        language=circumstances.language or _language(message),
        attachments=tuple(attachment for part in parts for attachment in part.files.attachments),
        threading=_threading(message, circumstances, clean=clean),
        authenticity=(AuthenticityResult(method=circumstances.method, result="pass"),),
        automatic=bool(message.sender and message.sender.is_bot),
        marks=_marks(parts),
        revises=circumstances.revises,
        location=_location(message),
        fields={**circumstances.fields, **({"phone": phone} if phone else {})},
        raw=raw,
    )


def build_withdrawal(
    deletion: Deletion, message_id: int, circumstances: Circumstances, *, raw: BlobRef
) -> AppealEnvelope:
    """Return the envelope that says that one message was deleted; `circumstances.revises` names it."""
    return AppealEnvelope(
        channel=Channel.TELEGRAM,
        connector=circumstances.connector,
        external_id=f"{business_external_id(circumstances.bot_id, deletion.chat.id, message_id)}:deleted",
        received_at=circumstances.received_at,
        sender=ContactPoint(kind=ContactPointKind.TELEGRAM, value=str(deletion.chat.id)),
        text=WITHDRAWN_TEXT,
        threading=ThreadReferences(
            in_reply_to=(message_key(deletion.chat.id, message_id),), conversation=circumstances.conversation
        ),
        authenticity=(AuthenticityResult(method=circumstances.method, result="pass"),),
        automatic=True,  # nobody asks for anything by it: it reopens nothing and is not acknowledged
        marks=("withdrawn",),
        revises=circumstances.revises,
        withdrawn=True,
        raw=raw,
    )


def build_note(
    person: User,
    text: str,
    circumstances: Circumstances,
    *,
    external_id: str,
    appeal_number: str,
    raw: BlobRef,
) -> AppealEnvelope:
    """Return the envelope of a pressed button: automatic, joined to the appeal it is about, its say in `fields`."""
    return AppealEnvelope(
        channel=Channel.TELEGRAM,
        connector=circumstances.connector,
        external_id=external_id,
        received_at=circumstances.received_at,
        sender=contact_point(person),
        text=text,
        clean_text=text,
        threading=ThreadReferences(appeal_number=appeal_number),
        authenticity=(AuthenticityResult(method=circumstances.method, result="pass"),),
        automatic=True,
        fields=dict(circumstances.fields),
        raw=raw,
    )


def contact_point(person: User) -> ContactPoint:
    """Return where a person is reached: the id of their private chat with the bot is their own."""
    name = f"{person.first_name} {person.last_name}".strip()
    return ContactPoint(kind=ContactPointKind.TELEGRAM, value=str(person.id), name=name)


def writer_of(message: Message) -> ContactPoint:
    """Return the writer of a message."""
    if message.sender is None:
        return ContactPoint(kind=ContactPointKind.TELEGRAM, value=str(message.chat.id))
    return contact_point(message.sender)


def _threading(message: Message, circumstances: Circumstances, *, clean: str) -> ThreadReferences:
    answered = message.reply_to_message
    number = find_number(clean)
    if number is None and answered and answered.sender and answered.sender.id == circumstances.bot_id:
        number = find_number(f"{answered.text} {answered.caption}")  # ours begin with the number they are about
    answers: tuple[str, ...] = (message_key(message.chat.id, answered.message_id),) if answered else ()
    if circumstances.revises:  # an edit belongs where its first version is
        answers = (message_key(message.chat.id, message.message_id),)
    return ThreadReferences(
        message_id=message_key(message.chat.id, message.message_id),
        in_reply_to=answers,
        appeal_number=number,
        conversation=circumstances.conversation,
    )


def _marks(parts: Sequence[ReceivedMessage]) -> tuple[str, ...]:
    messages = [part.incoming.message for part in parts]
    marks = {
        "edited": parts[0].incoming.edited,
        "forwarded": any(item.forward_origin or item.forward_from or item.forward_from_chat for item in messages),
        "file_missing": any(part.files.notes for part in parts),
    }
    return tuple(mark for mark, holds in marks.items() if holds)


def _location(message: Message) -> Location | None:
    place = message.venue.location if message.venue else message.location
    if place is None:
        return None
    address = message.venue.address if message.venue else None
    return Location(latitude=place.latitude, longitude=place.longitude, address=address)


def _language(message: Message) -> str | None:
    code = message.sender.language_code if message.sender else ""
    return code if _LANGUAGE.fullmatch(code) else None
