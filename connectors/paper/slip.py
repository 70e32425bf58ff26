"""The slip that a visitor takes home: number, secret code, deadline, and the way to the citizen's page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from io import BytesIO

import segno

from connectors.paper.sheet import LINE_MM, MARGIN_MM, SMALL_PT, Sheet, date_in_words

NUMBER_PT = 24
QR_MM = 42.0
QR_SCALE = 8  # pixels a module: sharp at 600 dpi

_WORDS: Mapping[str, Mapping[str, str]] = {
    "ru": {
        "title": "Ваше обращение зарегистрировано",
        "number": "Номер обращения",
        "code": "Секретный код",
        "received": "Получено: {day}",
        "deadline": "Ответ будет дан не позднее: {day}",
        "follow": "Где обращение сейчас и что вам ответили, видно по номеру и коду на странице {url}. "
        "Наведите на квадрат камеру телефона: страница откроется с номером и кодом.",
        "secret": "Никому не сообщайте код: по нему видно всё обращение.",
    },
    "en": {
        "title": "Your appeal is registered",
        "number": "Number of the appeal",
        "code": "Secret code",
        "received": "Received: {day}",
        "deadline": "You will have an answer by: {day}",
        "follow": "Number and code show you where the appeal is, and the answer, at {url}. "
        "Point your telephone's camera at the square: the page opens with both filled in.",
        "secret": "Tell nobody the code: it opens all of the appeal.",
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Slip:
    """What is on it."""

    office: str
    letterhead: Sequence[str]
    language: str  # ru, en
    number: str
    secret_code: str
    status_url: str
    received_on: date
    answer_by: date
    printed_at: datetime


def print_slip(slip: Slip) -> bytes:
    """Return the slip as PDF, one A4 page. Takes some 100 ms: call it in a thread. Deterministic."""
    words = _WORDS[slip.language]
    sheet = Sheet(title=f"{words['title']}: {slip.number}", language=slip.language)
    sheet.set_creation_date(slip.printed_at)
    sheet.head(slip.office, slip.letterhead)
    sheet.ln(LINE_MM)
    sheet.say(words["title"], style="B", size_pt=16, line_mm=9)
    sheet.ln(2)
    top = sheet.get_y()
    for label, value in ((words["number"], slip.number), (words["code"], slip.secret_code)):
        sheet.say(label, size_pt=SMALL_PT, line_mm=5)
        sheet.say(value, style="B", size_pt=NUMBER_PT, line_mm=11)
        sheet.ln(1)
    _draw_link(sheet, slip, top=top)
    sheet.set_y(max(sheet.get_y(), top + QR_MM + 2))
    sheet.say(words["received"].format(day=date_in_words(slip.received_on, slip.language)))
    sheet.say(words["deadline"].format(day=date_in_words(slip.answer_by, slip.language)), style="B")
    sheet.ln(LINE_MM / 2)
    sheet.say(words["follow"].format(url=slip.status_url))
    sheet.say(words["secret"])
    buffer = BytesIO()
    sheet.output(buffer)
    return buffer.getvalue()


def _draw_link(sheet: Sheet, slip: Slip, *, top: float) -> None:
    """Draw the link to the page as a QR code (ISO/IEC 18004), level M: a crease does not spoil it."""
    link = f"{slip.status_url}#n={slip.number.replace('-', '')}&c={slip.secret_code}"
    picture = BytesIO()
    segno.make(link, error="m", micro=False).save(picture, kind="png", scale=QR_SCALE, border=2)
    picture.seek(0)
    sheet.image(picture, x=sheet.w - MARGIN_MM - QR_MM, y=top, w=QR_MM, link=link)
