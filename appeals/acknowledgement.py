"""The words the daemon itself writes to a citizen, in Russian and English."""

from datetime import datetime
from zoneinfo import ZoneInfo

LANGUAGES = ("ru", "en")
MIN_CYRILLIC_SHARE = 0.3  # of the letters; a Russian letter often quotes Latin names

_SUBJECT = {"ru": "Обращение № {number} зарегистрировано", "en": "Appeal No. {number} is registered"}
_TEXT = {
    "ru": (
        "Ваше обращение зарегистрировано под номером {number}.\n"
        "Ответ будет дан не позднее {deadline}.\n"
        "Узнать, где обращение сейчас: {url}\n"
        "Номер: {number}, секретный код: {code}\n"
        "Чтобы дополнить обращение, просто ответьте на это сообщение.\n\n{office}"
    ),
    "en": (
        "Your appeal is registered under the number {number}.\n"
        "You will have an answer by {deadline}.\n"
        "See where it is now: {url}\n"
        "Number: {number}, secret code: {code}\n"
        "To add something, just reply to this message.\n\n{office}"
    ),
}
_SHORT_TEXT = {  # for channels where every character costs
    "ru": "Обращение {number} принято, ответ до {deadline}. Код {code}. {url}",
    "en": "Appeal {number} registered, answer by {deadline}. Code {code}. {url}",
}


def guess_language(text: str, *, default: str) -> str:
    """Return "ru" or "en" by the letters of `text`, `default` where it has none. Good enough for a form letter."""
    letters = [char for char in text[:2000] if char.isalpha()]
    if not letters:
        return default
    cyrillic = sum("\u0400" <= char <= "\u04ff" for char in letters)
    return "ru" if cyrillic / len(letters) >= MIN_CYRILLIC_SHARE else "en"


def acknowledgement(
    *, language: str, number: str, code: str, deadline_at: datetime, timezone: str, url: str, office: str, short: bool
) -> tuple[str, str]:
    """Return subject and text of the acknowledgement. `short` for SMS."""
    chosen = language if language in LANGUAGES else "en"
    day = deadline_at.astimezone(ZoneInfo(timezone)).date()
    words = {
        "number": number,
        "code": code,
        "deadline": day.strftime("%d.%m.%Y") if chosen == "ru" else day.isoformat(),
        "url": f"{url}/status#n={number}" if short else f"{url}/status#n={number}&c={code}",
        "office": office,
    }
    text = (_SHORT_TEXT if short else _TEXT)[chosen]
    return _SUBJECT[chosen].format(**words), text.format(**words)
