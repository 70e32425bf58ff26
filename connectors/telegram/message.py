"""The parts of a Bot API message that we read; https://core.telegram.org/bots/api#message.

Our own small models, not the library's: those demand every field that today's Bot API sends, so that a message from
an older server (or one that drops a field we never look at) would end in quarantine. All else is in the raw bytes.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from connectors.media import clean_text

LAST_MOMENT = 253_402_300_799  # the end of year 9999, as far as datetime goes

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


class MessageReference(_Part):
    """The message that this one answers."""

    message_id: Id


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
    reply_to_message: MessageReference | None = None

    @property
    def sent_at(self) -> datetime:
        """When it was written or last changed, by Telegram's clock."""
        return datetime.fromtimestamp(self.edit_date or self.date, UTC)

    @property
    def command(self) -> str:
        """The bot command it begins with, without the bot's name ("/start"); empty if none."""
        word = self.text.split(maxsplit=1)[0] if self.text.startswith("/") else ""
        return word.partition("@")[0].lower()


class Update(_Part):
    """One update, as far as it is a citizen's message."""

    update_id: Id
    message: Message | None = None
    edited_message: Message | None = None


def cleaned(value: Any) -> Any:
    """Return parsed JSON with every string fit for an envelope: no NUL, no lone surrogates."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(key): cleaned(item) for key, item in value.items()}
    return value
