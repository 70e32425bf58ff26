"""Raw updates: cut out of the server's answer byte for byte, and read as far as they are citizens' messages."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from appeals.errors import DecodeError, TransientError
from connectors.telegram.message import CallbackQuery, Deletion, Message, Update, cleaned

_DECODER = json.JSONDecoder()
_SPACE = " \t\n\r"  # RFC 8259 §2

SERVICE_FIELDS = frozenset(  # Telegram's own notes in a chat; nobody wrote them
    """boost_added channel_chat_created chat_background_set chat_shared connected_website delete_chat_photo
    forum_topic_closed forum_topic_created forum_topic_edited forum_topic_reopened general_forum_topic_hidden
    general_forum_topic_unhidden giveaway_completed giveaway_created group_chat_created left_chat_member
    message_auto_delete_timer_changed migrate_from_chat_id migrate_to_chat_id new_chat_members new_chat_photo
    new_chat_title pinned_message proximity_alert_triggered refunded_payment successful_payment
    supergroup_chat_created users_shared video_chat_ended video_chat_participants_invited video_chat_scheduled
    video_chat_started write_access_allowed""".split()  # noqa: SIM905 - one name a line would fill a page
)
KNOWN_FIELDS = frozenset(field.alias or name for name, field in Message.model_fields.items()) | frozenset(
    """author_signature caption_entities effect_id entities external_reply forward_date forward_from_message_id
    forward_signature has_media_spoiler has_protected_content is_automatic_forward is_from_offline is_topic_message
    link_preview_options message_thread_id paid_star_count reply_markup reply_to_checklist_task_id reply_to_story
    sender_boost_count sender_business_bot sender_chat show_caption_above_media via_bot""".split()  # noqa: SIM905
)
MESSAGE_KINDS = ("message", "edited_message", "business_message", "edited_business_message")
UPDATE_KINDS = (*MESSAGE_KINDS, "deleted_business_messages", "callback_query")  # what we ask to be sent


@dataclass(frozen=True, kw_only=True, slots=True)
class RawUpdate:
    """One update as it came."""

    content: bytes
    update_id: int | None  # None: the bytes name none
    chat: str  # updates of one chat are taken in order; "" if the bytes name none


def raw_update(content: bytes) -> RawUpdate:
    """Return an update that came alone; bytes that are no JSON name neither id nor chat."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    return _raw(value, content)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatMessage:
    """A message that an update brings."""

    update_id: int
    message: Message
    edited: bool
    unknown: tuple[str, ...]  # fields that we do not know: perhaps content of a kind that came after us


@dataclass(frozen=True, kw_only=True, slots=True)
class ButtonPress:
    """A button that somebody pressed under a message of ours."""

    query: CallbackQuery


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawal:
    """Messages that their sender deleted."""

    update_id: int
    deletion: Deletion


@dataclass(frozen=True, kw_only=True, slots=True)
class Ignored:
    """An update that is no citizen's doing."""

    reason: str


Incoming = ChatMessage | ButtonPress | Withdrawal | Ignored


def split_updates(body: bytes) -> list[RawUpdate]:
    """Cut the answer of getUpdates into its updates, unknown fields and all.

    Raises TransientError if the answer is not what the Bot API promises: it names no update that could be skipped.
    """
    text = body.decode("utf-8", "surrogateescape")
    try:
        spans = _array_spans(text)
    except (ValueError, IndexError, RecursionError) as error:
        raise TransientError("the answer of getUpdates cannot be read") from error
    return [_raw(value, text[start:end].encode("utf-8", "surrogateescape")) for start, end, value in spans]


def split_array(content: bytes) -> list[bytes]:
    """Cut a JSON array of updates into its elements, byte for byte. Raises DecodeError."""
    text = content.decode("utf-8", "surrogateescape")
    try:
        return [text[start:end].encode("utf-8", "surrogateescape") for start, end, _ in _elements(text, 0)]
    except (ValueError, IndexError, RecursionError) as error:
        raise DecodeError("not an array of updates", data=content) from error


def read_update(content: bytes) -> Incoming:
    """Read one update. Raises DecodeError if it is not what the Bot API describes."""
    try:
        value = cleaned(json.loads(content))
        update = Update.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DecodeError(f"malformed update: {where or 'update'}: {first['msg']}", data=content) from error
    except (ValueError, RecursionError) as error:
        raise DecodeError("the update is not JSON", data=content) from error
    for kind in MESSAGE_KINDS:
        if message := getattr(update, kind):
            return _read_message(update.update_id, message, kind=kind, fields=frozenset(value[kind]))
    if update.deleted_business_messages:
        return Withdrawal(update_id=update.update_id, deletion=update.deleted_business_messages)
    if update.callback_query:
        return ButtonPress(query=update.callback_query)
    return Ignored(reason=f"nothing of a citizen: {', '.join(sorted(set(value) - {'update_id'})[:3])}")


def _read_message(update_id: int, message: Message, *, kind: str, fields: frozenset[str]) -> ChatMessage | Ignored:
    edited = kind.startswith("edited")
    if (service := fields & SERVICE_FIELDS) and not (message.text or message.caption):
        return Ignored(reason=f"a service message: {min(service)}")
    if message.sender is None and not message.chat.is_private:
        return Ignored(reason="written in the name of a channel or group")
    if message.business_connection_id and message.person != message.chat.id:
        return Ignored(reason="written by the owner of the connected account")
    if edited and message.location and message.location.live_period:
        return Ignored(reason="a live location that moved")
    return ChatMessage(
        update_id=update_id, message=message, edited=edited, unknown=tuple(sorted(fields - KNOWN_FIELDS))
    )


def _array_spans(text: str) -> list[tuple[int, int, Any]]:
    """Return (start, end, value) of each element of the top object's "result" array."""
    at = _after(text, 0, "{")
    while True:
        key, at = _DECODER.raw_decode(text, _skip(text, at))
        at = _skip(text, _after(text, at, ":"))
        if key == "result":
            return _elements(text, at)
        _, at = _DECODER.raw_decode(text, at)
        at = _after(text, at, ",")


def _elements(text: str, at: int) -> list[tuple[int, int, Any]]:
    spans: list[tuple[int, int, Any]] = []
    at = _skip(text, _after(text, at, "["))
    while text[at] != "]":
        value, end = _DECODER.raw_decode(text, at)
        spans.append((at, end, value))
        at = _skip(text, end)
        if text[at] != "]":
            at = _skip(text, _after(text, at, ","))
    return spans


def _after(text: str, at: int, token: str) -> int:
    at = _skip(text, at)
    if text[at] != token:
        raise ValueError(f"expected {token} at {at}")
    return at + 1


def _skip(text: str, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at


def _raw(value: Any, content: bytes) -> RawUpdate:
    update_id = value.get("update_id") if isinstance(value, dict) else None
    return RawUpdate(content=content, update_id=update_id if type(update_id) is int else None, chat=_chat_of(value))


def _chat_of(value: Any) -> str:
    for kind in (*MESSAGE_KINDS, "deleted_business_messages", "callback_query"):
        try:
            part = value[kind]
            return str((part["message"] if kind == "callback_query" else part)["chat"]["id"])
        except (KeyError, TypeError, IndexError):
            continue
    return ""
