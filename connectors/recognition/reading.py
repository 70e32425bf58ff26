"""What was read on a page, and how far it can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from connectors.media import clean_text
from connectors.pages.records import PreparedPage
from connectors.recognition.tesseract import Word

FAINT_INK = 12  # of 255: dust and paper
FULL_PAGE_INK = 180_000  # of the ink map: a page full of typed lines; a photograph weighs no more
SURE_WORD = 0.5
ENOUGH_COVERAGE = 0.7  # of the ink lies within sure words: signature, stamp and letterhead are the rest
LEGIBLE = 0.3  # below it a page's text is noise, and left out


@dataclass(frozen=True, kw_only=True, slots=True)
class PageReading:
    """One page. `confidence` is 0 to 1; `weight` is how much there is on the page, 0 for an empty one."""

    text: str
    confidence: float
    weight: float
    trouble: str = ""  # why it could not be read


UNREAD_WEIGHT = float(FULL_PAGE_INK)


def unread_page(trouble: str) -> PageReading:
    """Return the reading of a page that nobody could read: it counts as a full one."""
    return PageReading(text="", confidence=0.0, weight=UNREAD_WEIGHT, trouble=trouble)


def judge_page(words: Sequence[Word], page: PreparedPage) -> PageReading:
    """Return text and confidence of a page.

    The mean confidence of the words, weighted by their letters, lowered where much of what is on the page is in no
    sure word: of a hand-written sheet only the machine's header line is read, and that very surely.
    """
    ink = [level if level >= FAINT_INK else 0 for level in page.ink]
    total = sum(ink)
    letters = sum(len(word.text) for word in words)
    if not letters or not total:
        return PageReading(text="", confidence=0.0, weight=min(total, FULL_PAGE_INK))
    mean = sum(word.confidence * len(word.text) for word in words) / letters
    coverage = _covered_ink(words, page, ink) / total
    confidence = mean * min(1.0, coverage / ENOUGH_COVERAGE)
    text = assemble_text(words) if confidence >= LEGIBLE else ""
    return PageReading(text=text, confidence=confidence, weight=min(total, FULL_PAGE_INK))


def _covered_ink(words: Sequence[Word], page: PreparedPage, ink: Sequence[int]) -> int:
    columns, cell = page.ink_columns, page.ink_cell_px
    rows = len(ink) // columns
    covered: set[int] = set()
    for word in words:
        if word.confidence < SURE_WORD:
            continue
        left, top, width, height = word.box
        for row in range(max(0, top // cell), min(rows, (top + height) // cell + 1)):
            first = row * columns
            covered.update(range(first + max(0, left // cell), first + min(columns, (left + width) // cell + 1)))
    return sum(ink[index] for index in covered)


def assemble_text(words: Sequence[Word]) -> str:
    """Return the words as lines, paragraphs apart by an empty line, cleaned (`media.clean_text`)."""
    paragraphs = []
    for _, of_paragraph in groupby(words, key=lambda word: word.line[:2]):
        lines = [
            " ".join(word.text for word in of_line) for _, of_line in groupby(of_paragraph, key=lambda word: word.line)
        ]
        paragraphs.append("\n".join(lines))
    return clean_text("\n\n".join(paragraphs))


def total_confidence(pages: Sequence[PageReading]) -> float:
    """Return the confidence of a whole document, 0 to 1: its pages' mean, weighted by what is on them."""
    weight = sum(page.weight for page in pages)
    return sum(page.confidence * page.weight for page in pages) / weight if weight else 0.0
