"""A Telegram message in words: what an agent reads of it, whatever kind it is."""

from collections.abc import Iterator

import phonenumbers

from connectors.telegram.files import files_of
from connectors.telegram.message import Message
from connectors.telegram.updates import ChatMessage

MAX_QUOTE_CHARS = 300  # of an answered message; the whole one is in the conversation
MAX_UNKNOWN_FIELDS = 3  # named in a note


def own_words(incoming: ChatMessage) -> str:
    """Return what the citizen wrote, and in brackets what they sent instead of words."""
    message = incoming.message
    parts = [*_forwarded(message), message.text, message.caption, *_kinds(message)]
    if not any(parts) and not files_of(message):
        kinds = ", ".join(incoming.unknown[:MAX_UNKNOWN_FIELDS]) or "—"
        parts.append(f"[сообщение другого вида / a message of another kind: {kinds}]")
    return "\n".join(part for part in parts if part)


def quotation(message: Message) -> str:
    """Return what of an earlier message this one answers, as lines that begin with `>`; "" if nothing."""
    answered = message.reply_to_message
    quoted = message.quote.text if message.quote else (answered.text or answered.caption) if answered else ""
    if len(quoted) > MAX_QUOTE_CHARS:
        quoted = quoted[:MAX_QUOTE_CHARS].rstrip() + "…"
    return "\n".join(f"> {line}" for line in quoted.splitlines())


def own_phone(message: Message) -> str | None:
    """Return the sender's own telephone number in E.164, if they shared it."""
    contact, sender = message.contact, message.sender
    if contact is None or sender is None or contact.user_id != sender.id:
        return None
    digits = contact.phone_number.strip().removeprefix("+")
    try:
        number = phonenumbers.parse(f"+{digits}")  # Telegram's own numbers always have the country code
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _forwarded(message: Message) -> Iterator[str]:
    origin = message.forward_origin
    user = (origin.sender_user if origin else None) or message.forward_from
    chat = (origin.sender_chat or origin.chat if origin else None) or message.forward_from_chat
    name = (origin.sender_user_name if origin else "") or message.forward_sender_name
    if user is not None:
        name = f"{user.first_name} {user.last_name}".strip() or str(user.id)
    elif chat is not None:
        name = chat.title or str(chat.id)
    if name or origin:
        yield f"[переслано от / forwarded from: {name or '—'}]"


def _kinds(message: Message) -> Iterator[str]:
    if contact := message.contact:
        name = f"{contact.first_name} {contact.last_name}".strip()
        yield f"[контакт / contact: {name} {contact.phone_number}]"
    if venue := message.venue:
        yield f"[место / place: {venue.title}, {venue.address}]"
    elif place := message.location:
        yield f"[место / place: {place.latitude}, {place.longitude}]"
    if message.sticker:
        yield f"[стикер / sticker {message.sticker.emoji}]"
    if poll := message.poll:
        options = "; ".join(option.text for option in poll.options)
        yield f"[опрос / poll: {poll.question} — {options}]"
    if checklist := message.checklist:
        tasks = "; ".join(task.text for task in checklist.tasks)
        yield f"[список дел / checklist: {checklist.title} — {tasks}]"
    if message.game:
        yield f"[игра / game: {message.game.title}]"
    if message.invoice:
        yield f"[счёт / invoice: {message.invoice.title}]"
    if message.dice:
        yield f"[{message.dice.emoji} {message.dice.value}]"
