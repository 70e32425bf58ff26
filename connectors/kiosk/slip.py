"""The slip: what a kiosk prints for the citizen, as plain text."""

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from appeals.registration import Registration
from config.kiosk_forms import text_in
from config.settings import OfficeSettings

_WORDS: Mapping[str, Mapping[str, str]] = {
    "number": {"ru": "Номер обращения:", "en": "Appeal number:", "kk": "Өтініш нөмірі:"},
    "code": {"ru": "Код:", "en": "Code:", "kk": "Код:"},
    "taken": {"ru": "Принято:", "en": "Received:", "kk": "Қабылданды:"},
    "status": {
        "ru": "Узнать ответ по номеру и коду:",
        "en": "Look up the answer by number and code:",
        "kk": "Жауапты нөмір мен код арқылы біліңіз:",
    },
}


def make_slip(
    registration: Registration, *, office: OfficeSettings, received_at: datetime, language: str | None, public_url: str
) -> str:
    """Return a few short lines: office, number, code, time in the office's zone, where to look the answer up."""

    def say(word: str) -> str:
        return text_in(_WORDS[word], language or office.language, otherwise="en")

    local = received_at.astimezone(ZoneInfo(office.timezone))
    return "\n".join(
        (
            office.name,
            f"{say('number')} {registration.number}",
            f"{say('code')} {registration.secret_code}",
            f"{say('taken')} {local:%d.%m.%Y %H:%M}",
            say("status"),
            f"{public_url}/status",
        )
    )
