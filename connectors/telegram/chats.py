"""What is kept of each citizen's chat between messages: language, consent, where their talks begin.

One row of the connector's cursors a citizen, written only when it changes.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from weakref import WeakValueDictionary

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from connectors.base import Cursors

logger = structlog.get_logger(__name__)

MAX_TALKS = 5  # beginnings remembered: a message that comes late still finds the talk it was written in


class Consent(BaseModel):
    """What a citizen decided about the processing of their data, and about which text."""

    model_config = ConfigDict(frozen=True)

    given: bool
    at: AwareDatetime
    text_id: str  # of the office's text; the text itself is kept beside it
    language: str

    def summary(self) -> str:
        """Return it as an agent reads it among the appeal's fields."""
        return f"{'given' if self.given else 'refused'} {self.at.isoformat(timespec='seconds')} (text {self.text_id})"


class ChatRecord(BaseModel):
    """What we know of one citizen's chat."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    language: str = ""  # chosen by the citizen
    consent: Consent | None = None
    asked_at: AwareDatetime | None = None  # when we asked for consent last
    talks: tuple[int, ...] = ()  # message ids of /new, oldest first
    business_connection_id: str = ""  # they wrote to a connected account: answers go through it

    def talk_of(self, message_id: int) -> int | None:
        """Return the id of the /new that the message came after; None: it is of the first talk."""
        return max((begun for begun in self.talks if begun <= message_id), default=None)


class ChatRecords:
    """The records of all chats of one bot. Methods raise TransientError if the store is away."""

    def __init__(self, cursors: Cursors, *, connector: str, bot_id: int, now: Callable[[], datetime]) -> None:
        self._cursors = cursors
        self._connector = connector
        self._bot_id = bot_id
        self._now = now
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def of(self, person: int) -> ChatRecord:
        """Return what is known of a person's chat."""
        stored = await self._cursors.get(self._connector, self._name(person))
        if not stored:
            return ChatRecord()
        try:
            return ChatRecord.model_validate_json(stored)
        except ValidationError:  # written by a version after ours: begin anew rather than stop the chat
            logger.warning("connector.chat_record_unreadable", connector=self._connector)
            return ChatRecord()

    async def change(self, person: int, change: Callable[[ChatRecord], ChatRecord]) -> ChatRecord:
        """Apply `change` and keep the result; one change of a chat at a time in this process."""
        lock = self._locks.setdefault(person, asyncio.Lock())
        async with lock:
            before = await self.of(person)
            after = change(before)
            if after != before:
                await self._cursors.put(self._connector, self._name(person), after.model_dump_json())
            return after

    async def set_language(self, person: int, language: str) -> None:
        """Keep the language that a citizen chose."""
        await self.change(person, lambda record: record.model_copy(update={"language": language}))

    async def begin_talk(self, person: int, message_id: int) -> None:
        """Let messages from `message_id` on open a new appeal. Idempotent."""
        await self.change(
            person,
            lambda record: record.model_copy(
                update={"talks": tuple(sorted({*record.talks, message_id}))[-MAX_TALKS:]},
            ),
        )

    async def decide_consent(self, person: int, consent: Consent, *, text: str) -> None:
        """Keep what a citizen decided, and the text they decided about."""
        name = f"consent_text:{consent.text_id}"
        if not await self._cursors.get(self._connector, name):
            await self._cursors.put(self._connector, name, text)
        await self.change(person, lambda record: record.model_copy(update={"consent": consent}))

    async def note_asked(self, person: int) -> None:
        """Note that we asked for consent just now."""
        await self.change(person, lambda record: record.model_copy(update={"asked_at": self._now()}))

    async def note_business(self, person: int, connection_id: str) -> ChatRecord:
        """Note by which connected account the citizen wrote ("" for the bot itself); return the record."""
        return await self.change(
            person, lambda record: record.model_copy(update={"business_connection_id": connection_id})
        )

    def _name(self, person: int) -> str:
        return f"chat:{self._bot_id}:{person}"
