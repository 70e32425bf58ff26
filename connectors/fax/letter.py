"""The letter: an answer set on A4 pages, as it goes out by fax."""

from datetime import datetime
from io import BytesIO
from pathlib import Path

from fontpkg_pt_sans import ROOT  # type: ignore[import-untyped]
from fpdf import FPDF
from fpdf.enums import XPos, YPos

from connectors.media import clean_text

FONT = "PT Sans"  # OFL; drawn for the languages of Russia, legible at fax resolution
FONT_FILE = Path("files") / "PT_Sans-Web-Regular.ttf"
BOLD_FONT_FILE = Path("files") / "PT_Sans-Web-Bold.ttf"
BODY_PT = 12  # smaller letters blur at 98 lines an inch
HEADING_PT = 14
LINE_MM = 6.0
MARGIN_MM = 20.0

_NUMBER_LABELS = {"ru": "Обращение №", "en": "Appeal No."}
_PAGE_LABELS = {"ru": "стр.", "en": "p."}
_TO_LABELS = {"ru": "Кому: факс", "en": "To: fax"}
_FROM_LABELS = {"ru": "от", "en": "from"}


class _LetterPages(FPDF):
    """A4 pages with the appeal's number and the page's at the foot: fax pages get separated."""

    def __init__(self, *, foot: str, page_label: str) -> None:
        super().__init__(format="A4", unit="mm")
        self._foot = foot
        self._page_label = page_label
        self.set_margins(MARGIN_MM, MARGIN_MM, MARGIN_MM)
        self.set_auto_page_break(auto=True, margin=MARGIN_MM)
        self.add_font(FONT, fname=ROOT / FONT_FILE)
        self.add_font(FONT, style="B", fname=ROOT / BOLD_FONT_FILE)

    def footer(self) -> None:
        """Write the foot of the page; called by fpdf2."""
        self.set_y(-MARGIN_MM + LINE_MM)
        self.set_font(FONT, size=BODY_PT - 2)
        self.cell(0, LINE_MM, f"{self._foot}, {self._page_label} {self.page_no()} / {{nb}}", align="C")


def render_letter(
    text: str,
    *,
    subject: str,
    number: str,
    language: str,
    written_at: datetime,
    recipient: str = "",
    sender: str = "",
) -> bytes:
    """Return a PDF of the answer. `language`: ru, en; any other gets English labels.

    `recipient` and `sender` are fax numbers for the line at the top: machines are shared, and sheets get mislaid.

    A character that the font lacks is shown as a box: the text around it still arrives. Takes some 100 ms: call it
    in a thread. Deterministic for the same arguments.
    """
    spoken = language if language in _NUMBER_LABELS else "en"
    title = f"{_NUMBER_LABELS[spoken]} {number}"
    pages = _LetterPages(foot=title, page_label=_PAGE_LABELS[spoken])
    pages.set_creation_date(written_at)
    pages.set_title(title)
    pages.add_page()
    if recipient:
        whom = f"{_TO_LABELS[spoken]} {recipient}" + (f", {_FROM_LABELS[spoken]} {sender}" if sender else "")
        pages.set_font(FONT, size=BODY_PT)
        pages.multi_cell(0, LINE_MM, f"{whom}, {written_at:%d.%m.%Y}", align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        pages.ln(LINE_MM / 2)
    for heading in filter(None, (title, _printable(subject))):
        pages.set_font(FONT, style="B", size=HEADING_PT)
        pages.multi_cell(0, LINE_MM + 1, heading, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pages.ln(LINE_MM)
    pages.set_font(FONT, size=BODY_PT)
    pages.multi_cell(0, LINE_MM, _printable(text), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    buffer = BytesIO()
    pages.output(buffer)
    return buffer.getvalue()


def _printable(text: str) -> str:
    return clean_text(text).replace("\r\n", "\n").replace("\r", "\n").expandtabs(4)
