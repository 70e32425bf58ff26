"""STOP, START and HELP: what a keyword alone in a message means, and who has opted out.

Carriers and providers demand it (https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out); citizens who wrote
STOP get nothing from us until they write START, also if the provider would not have minded.
"""

import re
from collections.abc import Mapping
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict

from connectors.base import Cursors
from connectors.sms.provider import OptOut

MAX_SEEN = 20  # messages remembered a number: a repetition of an old STOP must not undo a newer START

KEYWORDS: Mapping[str, OptOut] = {
    "STOP": OptOut.STOP,
    "СТОП": OptOut.STOP,
    "ОТПИСАТЬСЯ": OptOut.STOP,
    "START": OptOut.START,
    "СТАРТ": OptOut.START,
    "HELP": OptOut.HELP,
    "ПОМОЩЬ": OptOut.HELP,
}
_AROUND = re.compile(r"^[\s\"'«».,!?]+|[\s\"'«».,!?]+$")

_ANSWERS = {
    OptOut.STOP: {
        "ru": "Больше не будем вам писать. Чтобы снова получать ответы, отправьте СТАРТ.",
        "en": "You will get no more messages from us. Send START to receive our answers again.",
    },
    OptOut.START: {
        "ru": "Вы снова получаете наши ответы. Чтобы отказаться, отправьте СТОП.",
        "en": "You will receive our answers again. Send STOP to opt out.",
    },
    OptOut.HELP: {
        "ru": "{office}: напишите сюда обращение, мы пришлём его номер и ответ. СТОП - не получать сообщений.",
        "en": "{office}: write your appeal here, we will send its number and the answer. STOP to opt out.",
    },
}


class OptOutRecord(BaseModel):
    """What one number decided."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    out: bool = False
    since: AwareDatetime | None = None
    seen: tuple[str, ...] = ()  # ids of the messages it was decided by, oldest first


def keyword_of(text: str) -> str:
    """Return the text as a keyword is compared: upper case, without white space and punctuation around it."""
    return _AROUND.sub("", text[:64]).upper().replace("Ё", "Е")


def keyword_answer(keyword: OptOut, text: str, *, office: str) -> str:
    """Return what we answer to a keyword, in the language it was written in."""
    language = "ru" if any("\u0400" <= letter <= "\u04ff" for letter in text) else "en"
    return _ANSWERS[keyword][language].format(office=office)


class OptOuts:
    """Who has opted out; one row of the connector's cursors a number. Methods raise TransientError."""

    def __init__(self, cursors: Cursors, *, connector: str) -> None:
        self._cursors = cursors
        self._connector = connector

    async def of(self, number: str) -> OptOutRecord:
        """Return what a number decided last."""
        stored = await self._cursors.get(self._connector, self._name(number))
        return OptOutRecord.model_validate_json(stored) if stored else OptOutRecord()

    async def apply(self, number: str, keyword: OptOut, *, sid: str, at: datetime) -> None:
        """Keep what a message says. Idempotent by its id, in whatever order repetitions come."""
        if keyword is OptOut.HELP:
            return
        record = await self.of(number)
        if sid in record.seen:
            return
        out = keyword is OptOut.STOP
        await self._put(number, OptOutRecord(out=out, since=at, seen=(*record.seen, sid)[-MAX_SEEN:]))

    async def note(self, number: str, *, at: datetime) -> None:
        """Keep that the provider refuses a number because it wrote STOP."""
        record = await self.of(number)
        if not record.out:
            await self._put(number, record.model_copy(update={"out": True, "since": at}))

    async def _put(self, number: str, record: OptOutRecord) -> None:
        await self._cursors.put(self._connector, self._name(number), record.model_dump_json())

    def _name(self, number: str) -> str:
        return f"opt_out:{number}"
