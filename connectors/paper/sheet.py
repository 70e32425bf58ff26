"""An A4 sheet of the office: its fonts, its head, dates in words."""

from collections.abc import Sequence
from datetime import date

from fontpkg_pt_sans import ROOT  # type: ignore[import-untyped]
from fpdf import FPDF
from fpdf.enums import XPos, YPos

from connectors.fax.letter import BOLD_FONT_FILE, FONT, FONT_FILE
from connectors.media import clean_text

MARGIN_MM = 20.0
LINE_MM = 5.5
BODY_PT = 11
SMALL_PT = 9
HEAD_PT = 14

_MONTHS = (
    *("января", "февраля", "марта", "апреля", "мая", "июня"),
    *("июля", "августа", "сентября", "октября", "ноября", "декабря"),
)


class Sheet(FPDF):
    """A4 with the office's head on the first page; `foot` and the page's number below where there are several."""

    def __init__(self, *, title: str, language: str, foot: str = "") -> None:
        super().__init__(format="A4", unit="mm")
        self._foot = foot
        self.set_title(title)
        self.set_lang(language)
        self.set_margins(MARGIN_MM, MARGIN_MM, MARGIN_MM)
        self.set_auto_page_break(auto=True, margin=MARGIN_MM)
        self.add_font(FONT, fname=ROOT / FONT_FILE)
        self.add_font(FONT, style="B", fname=ROOT / BOLD_FONT_FILE)
        self.add_page()

    def footer(self) -> None:
        """Write the foot of the page; called by fpdf2."""
        if not self._foot:
            return
        self.set_y(-MARGIN_MM + LINE_MM)
        self.set_font(FONT, size=SMALL_PT)
        self.cell(0, LINE_MM, f"{self._foot} {self.page_no()} / {{nb}}", align="C")

    def head(self, office: str, lines: Sequence[str]) -> None:
        """Write who we are."""
        self.say(office, style="B", size_pt=HEAD_PT)
        for line in lines:
            self.say(line, size_pt=SMALL_PT, line_mm=LINE_MM - 1)

    def say(self, text: str, *, style: str = "", size_pt: float = BODY_PT, line_mm: float = LINE_MM) -> None:
        """Write a paragraph over the whole width and go on below it."""
        self.set_font(FONT, style=style, size=size_pt)
        self.multi_cell(0, line_mm, printable(text), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def printable(text: str) -> str:
    """Return text as a page can show it: no control characters, tabs as blanks."""
    return clean_text(text).replace("\r\n", "\n").replace("\r", "\n").expandtabs(4)


def date_in_words(day: date, language: str) -> str:
    """Return `7 ноября 2026 г.` or `7 November 2026`."""
    if language == "ru":
        return f"{day.day} {_MONTHS[day.month - 1]} {day.year} г."
    return f"{day.day} {day:%B %Y}"
