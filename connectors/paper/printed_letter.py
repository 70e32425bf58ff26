"""An answer as a letter on the office's paper, folded twice into a DL or E65 envelope with a window."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from io import BytesIO
from typing import Literal

from fpdf.enums import XPos, YPos

from appeals.envelope import ContactPoint, ContactPointKind
from connectors.fax.letter import FONT
from connectors.paper.envelope import address_of
from connectors.paper.sheet import BODY_PT, LINE_MM, MARGIN_MM, SMALL_PT, Sheet, date_in_words, printable

WINDOW_TOP_MM = 50.0  # what shows through a 90 x 45 mm window once the sheet is folded in three
WINDOW_BOTTOM_MM = 88.0
WINDOW_WIDTH_MM = 82.0
WINDOW_X_MM: Mapping[str, float] = {"left": MARGIN_MM, "right": 210.0 - MARGIN_MM - WINDOW_WIDTH_MM}
BODY_TOP_MM = 98.0
FOLDS_MM = (99.0, 198.0)
FOLD_MARK_MM = (4.0, 8.0)  # from the left edge

_WORDS: Mapping[str, Mapping[str, str]] = {
    "ru": {
        "title": "Ответ на обращение № {number}",
        "received": "На обращение от {day}",
        "incoming": "вх. № {number}",
        "enclosures": "Приложения:",
        "foot": "Обращение № {number}, стр.",
    },
    "en": {
        "title": "Answer to appeal No. {number}",
        "received": "To your appeal of {day}",
        "incoming": "our No. {number}",
        "enclosures": "Enclosures:",
        "foot": "Appeal No. {number}, p.",
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PrintedLetter:
    """What is on it."""

    office: str
    letterhead: Sequence[str]
    language: str  # ru, en
    window: Literal["left", "right"]
    recipient: ContactPoint
    number: str
    incoming_number: str
    received_on: date
    subject: str
    text: str
    enclosures: Sequence[str]
    written_at: datetime  # office's local time


def print_letter(letter: PrintedLetter) -> bytes:
    """Return the letter as PDF. Takes some 100 ms: call it in a thread. Deterministic.

    A character that the font lacks is shown as a box: the text around it still arrives.
    """
    words = _WORDS[letter.language]
    title = words["title"].format(number=letter.number)
    sheet = Sheet(title=title, language=letter.language, foot=words["foot"].format(number=letter.number))
    sheet.set_creation_date(letter.written_at)
    _mark_folds(sheet)
    sheet.head(letter.office, letter.letterhead)
    _write_address(sheet, letter.recipient, x=WINDOW_X_MM[letter.window])
    sheet.set_y(max(BODY_TOP_MM, sheet.get_y()))
    sheet.say(date_in_words(letter.written_at.date(), letter.language))
    received = words["received"].format(day=date_in_words(letter.received_on, letter.language))
    incoming = f", {words['incoming'].format(number=letter.incoming_number)}" if letter.incoming_number else ""
    sheet.say(received + incoming, size_pt=SMALL_PT)
    sheet.ln(LINE_MM)
    sheet.say(title, style="B")
    if letter.subject:
        sheet.say(letter.subject, style="B")
    sheet.ln(LINE_MM)
    sheet.say(letter.text)
    if letter.enclosures:
        sheet.ln(LINE_MM)
        sheet.say("\n".join((words["enclosures"], *(f"– {name}" for name in letter.enclosures))), size_pt=SMALL_PT)
    buffer = BytesIO()
    sheet.output(buffer)
    return buffer.getvalue()


def _mark_folds(sheet: Sheet) -> None:
    sheet.set_draw_color(150)
    for fold_mm in FOLDS_MM:
        sheet.line(FOLD_MARK_MM[0], fold_mm, FOLD_MARK_MM[1], fold_mm)


def _write_address(sheet: Sheet, recipient: ContactPoint, *, x: float) -> None:
    """Write name and address into the window; an answer that goes another way carries the name alone."""
    lines = [recipient.name] if recipient.name else []
    if recipient.kind is ContactPointKind.POST:
        lines.append(address_of(recipient))
    sheet.set_xy(x, WINDOW_TOP_MM)
    sheet.set_font(FONT, size=BODY_PT)
    text = "\n".join(printable(line) for line in lines)
    height_mm = WINDOW_BOTTOM_MM - WINDOW_TOP_MM
    if _lines_of(sheet, text) * LINE_MM > height_mm:
        sheet.set_font(FONT, size=SMALL_PT)
    line_mm = min(LINE_MM, height_mm / max(_lines_of(sheet, text), 1))
    sheet.multi_cell(WINDOW_WIDTH_MM, line_mm, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _lines_of(sheet: Sheet, text: str) -> int:
    lines = sheet.multi_cell(WINDOW_WIDTH_MM, LINE_MM, text, dry_run=True, output="LINES")
    return len(lines) if isinstance(lines, list) else 1
