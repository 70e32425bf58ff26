"""The parts of a Bot API message that we read; https://core.telegram.org/bots/api#message.

Our own small models, not the library's: those demand every field that today's Bot API sends, so that a message from
an older server (or one that drops a field we never look at) would end in quarantine. All else is in the raw bytes.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from connectors.media import clean_text

LAST_MOMENT = 253_402_300_799  # the end of year 9999, as far as datetime goes

_COMMAND = re.compile(r"(?P<command>/[A-Za-z0-9_]{1,32})(?:@(?P<bot>[A-Za-z0-9_]{1,32}))?(?=\s|$)")

Id = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Moment = Annotated[int, Field(strict=True, ge=0, le=LAST_MOMENT)]  # Unix time


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class User(_Part):
    """Who wrote."""

    id: Id
    is_bot: bool = False
    first_name: str = ""
    last_name: str = ""
    language_code: str = ""


class Chat(_Part):
    """Where it was written."""

    id: Id
    type: str = "private"
    title: str = ""  # of groups and channels

    @property
    def is_private(self) -> bool:
        """A citizen and the bot alone."""
        return self.type == "private"


class FileReference(_Part):
    """A file that getFile can fetch: photo size, document, voice, audio, video, animation, video note."""

    file_id: str = Field(min_length=1)
    file_size: int | None = None
    file_name: str = ""
    mime_type: str = ""
    width: int = 0
    height: int = 0


class Sticker(_Part):
    """Only what can be said in text."""

    emoji: str = ""


class Place(_Part):
    """A point, WGS 84 degrees."""

    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    live_period: int | None = None  # seconds: it moves, and every move is an edit


class Venue(_Part):
    """A point with an address."""

    location: Place
    title: str = ""
    address: str = ""


class Contact(_Part):
    """A telephone number out of the citizen's address book."""

    phone_number: str
    first_name: str = ""
    last_name: str = ""
    user_id: Id | None = None  # whose number it is, where Telegram knows


class AnsweredMessage(_Part):
    """The message that this one answers."""

    message_id: Id
    sender: User | None = Field(default=None, alias="from")
    text: str = ""
    caption: str = ""


class Quote(_Part):
    """The part of the answered message that the citizen marked."""

    text: str = ""


class ForwardOrigin(_Part):
    """Whose message was forwarded; fields by `type`: user, hidden_user, chat, channel."""

    sender_user: User | None = None
    sender_user_name: str = ""
    sender_chat: Chat | None = None
    chat: Chat | None = None


class PollOption(_Part):
    """One answer of a poll."""

    text: str = ""


class Poll(_Part):
    """A poll or quiz that the citizen sent."""

    question: str = ""
    options: tuple[PollOption, ...] = ()


class Titled(_Part):
    """A game, an invoice or a checklist: only its title can be said in text."""

    title: str = ""


class Task(_Part):
    """One line of a checklist."""

    text: str = ""


class Checklist(Titled):
    """A list of tasks."""

    tasks: tuple[Task, ...] = ()


class Dice(_Part):
    """An animated emoji with a random value."""

    emoji: str = ""
    value: int = 0


class Message(_Part):
    """One message."""

    message_id: Id
    chat: Chat
    date: Moment
    edit_date: Moment | None = None
    sender: User | None = Field(default=None, alias="from")
    text: str = ""
    caption: str = ""
    photo: tuple[FileReference, ...] = ()  # one picture in several sizes
    document: FileReference | None = None
    audio: FileReference | None = None
    video: FileReference | None = None
    voice: FileReference | None = None
    video_note: FileReference | None = None
    animation: FileReference | None = None  # comes as `document` too
    sticker: Sticker | None = None
    location: Place | None = None
    venue: Venue | None = None
    contact: Contact | None = None
    poll: Poll | None = None
    game: Titled | None = None
    invoice: Titled | None = None
    checklist: Checklist | None = None
    dice: Dice | None = None
    reply_to_message: AnsweredMessage | None = None
    quote: Quote | None = None
    forward_origin: ForwardOrigin | None = None
    forward_from: User | None = None  # the three of servers before Bot API 7.0
    forward_from_chat: Chat | None = None
    forward_sender_name: str = ""
    media_group_id: str = ""  # the album it is a part of
    business_connection_id: str = ""  # written to an account whose owner has connected the bot

    @property
    def sent_at(self) -> datetime:
        """When it was written or last changed, by Telegram's clock."""
        return datetime.fromtimestamp(self.edit_date or self.date, UTC)

    @property
    def person(self) -> int:
        """The writer's id: in a private chat the chat's own."""
        return self.sender.id if self.sender else self.chat.id

    @property
    def command(self) -> str:
        """The bot command it begins with, without the bot's name ("/start"); empty if none."""
        found = _COMMAND.match(self.text)
        return found["command"].lower() if found else ""

    @property
    def command_words(self) -> str:
        """What follows the command."""
        found = _COMMAND.match(self.text)
        return self.text[found.end() :].strip() if found else ""


class ButtonMessage(_Part):
    """The message a pressed button is under; an old one has nothing but ids."""

    message_id: Id
    chat: Chat


class CallbackQuery(_Part):
    """A pressed button."""

    id: str = Field(min_length=1, max_length=64)
    sender: User = Field(alias="from")
    message: ButtonMessage | None = None
    data: str = ""


class Deletion(_Part):
    """Messages deleted in a chat of a connected business account."""

    business_connection_id: str = ""
    chat: Chat
    message_ids: tuple[Id, ...] = Field(min_length=1, max_length=1_000)


class Update(_Part):
    """One update, as far as it is a citizen's doing."""

    update_id: Id
    message: Message | None = None
    edited_message: Message | None = None
    business_message: Message | None = None
    edited_business_message: Message | None = None
    deleted_business_messages: Deletion | None = None
    callback_query: CallbackQuery | None = None


def cleaned(value: Any) -> Any:
    """Return parsed JSON with every string fit for an envelope: no NUL, no lone surrogates."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(key): cleaned(item) for key, item in value.items()}
    return value
