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
    spoken = language or office.language
    local = received_at.astimezone(ZoneInfo(office.timezone))
    return "\n".join(
        (
            office.name,
            f"{text_in(_WORDS['number'], spoken)} {registration.number}",
            f"{text_in(_WORDS['code'], spoken)} {registration.secret_code}",
            f"{text_in(_WORDS['taken'], spoken)} {local:%d.%m.%Y %H:%M}",
            text_in(_WORDS["status"], spoken),
            f"{public_url}/status",
        )
    )
