"""Slips and letters as PDF: what is on them, whatever was typed."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appeals.envelope import ContactPoint, ContactPointKind
from connectors.paper.envelope import address_of, post_point
from connectors.paper.printed_letter import WINDOW_X_MM, PrintedLetter, print_letter
from connectors.paper.sheet import date_in_words
from connectors.paper.slip import Slip, print_slip

POINTS_PER_MM = 72 / 25.4
SLIP = Slip(
    office="Комитет",
    letterhead=("Исаакиевская пл., 6",),
    language="ru",
    number="482-719-3561",
    secret_code="K7QM-2XRD",
    status_url="https://appeals.example.org/status",
    received_on=date(2026, 11, 20),
    answer_by=date(2026, 12, 18),
    printed_at=datetime(2026, 11, 22, tzinfo=UTC),
)
LETTER = PrintedLetter(
    office="Комитет",
    letterhead=(),
    language="ru",
    window="right",
    recipient=post_point("Иванова Анна", "191186, Санкт-Петербург, Невский пр., 28"),
    number="482-719-3561",
    incoming_number="И-112/26",
    received_on=date(2026, 11, 20),
    subject="Лифт",
    text="Лифт починен.",
    enclosures=("акт.pdf",),
    written_at=datetime(2026, 11, 25, 12, tzinfo=UTC),
)


def read(pdf: bytes) -> tuple[int, str]:
    """Return how many pages a PDF has, and its text without line ends."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        texts = []
        for page in document:
            text_page = page.get_textpage()
            texts.append(text_page.get_text_range())
            text_page.close()
            page.close()
        return len(texts), " ".join(" ".join(texts).split())
    finally:
        document.close()


def where_is(pdf: bytes, text: str) -> tuple[float, float]:
    """Return where `text` begins on the first page: millimetres from the left and from the top."""
    document = pypdfium2.PdfDocument(pdf)
    page = document[0]
    text_page = page.get_textpage()
    searcher = text_page.search(text)
    index, _ = searcher.get_next()
    left, _, _, top = text_page.get_charbox(index)
    height = page.get_height()
    searcher.close()
    text_page.close()
    page.close()
    document.close()
    return left / POINTS_PER_MM, (height - top) / POINTS_PER_MM


@pytest.mark.parametrize(("language", "deadline"), [("ru", "18 декабря 2026 г."), ("en", "18 December 2026")])
def test_a_slip_is_one_page_with_number_code_and_deadline(language: str, deadline: str):
    """In the citizen's language, and the same bytes each time."""
    slip = replace(SLIP, language=language)
    pages, text = read(print_slip(slip))
    assert pages == 1
    for wanted in ("482-719-3561", "K7QM-2XRD", deadline, "https://appeals.example.org/status", "Комитет"):
        assert wanted in text
    assert print_slip(slip) == print_slip(slip)


@pytest.mark.parametrize("window", ["left", "right"])
def test_the_address_is_where_the_envelopes_window_is(window: str):
    """50 to 88 mm from the top, whatever the head's length."""
    letterhead = tuple(f"строка {line}" for line in range(4))
    left, top = where_is(print_letter(replace(LETTER, window=window, letterhead=letterhead)), "191186")
    assert WINDOW_X_MM[window] <= left < WINDOW_X_MM[window] + 5
    assert 50 < top < 88


def test_a_long_answer_goes_on_over_pages_with_its_number_on_each():
    """Sheets get separated on desks."""
    pages, text = read(print_letter(replace(LETTER, text="Уважаемая Анна!\n" + "Лифт починен. " * 1500)))
    assert pages > 1
    assert text.count("Обращение № 482-719-3561, стр.") == pages


def test_an_answer_that_goes_another_way_carries_the_name_alone():
    """No email address in the window."""
    recipient = ContactPoint(kind=ContactPointKind.EMAIL, value="anna@example.org", name="Анна")
    _, text = read(print_letter(replace(LETTER, recipient=recipient)))
    assert "Анна" in text
    assert "example.org" not in text


@settings(max_examples=15, deadline=None)
@given(text=st.text(max_size=300), name=st.text(min_size=1, max_size=200), subject=st.text(max_size=200))
def test_any_text_is_printed(text: str, name: str, subject: str):
    """Characters that the font lacks, bidirectional text, controls: a letter all the same."""
    recipient = ContactPoint(kind=ContactPointKind.POST, value=f"{name}, {text[:200]}", name=name)
    assert print_letter(replace(LETTER, text=text, subject=subject, recipient=recipient)).startswith(b"%PDF")


def test_a_postal_contact_point_tells_its_address():
    """The name is part of its value: a family shares an address, not its appeals."""
    anna, ivan = (post_point(name, "Невский пр., 28") for name in ("Анна", "Иван"))
    assert anna.value != ivan.value
    assert address_of(anna) == address_of(ivan) == "Невский пр., 28"


def test_dates_in_words():
    """Russian months in the genitive."""
    assert date_in_words(date(2026, 5, 7), "ru") == "7 мая 2026 г."
    assert date_in_words(date(2026, 5, 7), "en") == "7 May 2026"
