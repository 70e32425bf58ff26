"""Answers as letters: readable at fax resolution, every sheet telling where it belongs."""

import re
from datetime import UTC, datetime

import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.fax.letter import render_letter

NUMBER = "482-719-3561"
NOW = datetime(2026, 10, 16, 9, 30, tzinfo=UTC)


def pages_of(text: str, *, subject: str = "Ответ", language: str = "ru", **numbers: str) -> list[str]:
    content = render_letter(text, subject=subject, number=NUMBER, language=language, written_at=NOW, **numbers)
    document = pypdfium2.PdfDocument(content)
    try:
        return [page.get_textpage().get_text_range() for page in document]
    finally:
        document.close()


def test_the_top_says_to_whom_and_from_whom():
    """Machines are shared: both numbers and the date, then the appeal's number and the subject."""
    (page,) = pages_of("Тепло дадут.", recipient="+78121234567", sender="+78120000000")
    lines = [line.strip() for line in page.splitlines() if line.strip()]
    assert lines[0] == "Кому: факс +78121234567, от +78120000000, 16.10.2026"
    assert lines[1:3] == [f"Обращение № {NUMBER}", "Ответ"]


@pytest.mark.parametrize(("language", "label"), [("ru", "стр."), ("en", "p."), ("de", "p.")])
def test_every_sheet_of_a_long_answer_has_number_and_count(language: str, label: str):
    """Twelve pages of Cyrillic: nothing is lost, and each foot says which sheet of how many it is."""
    paragraphs = [f"{number}. Отопление в доме восстановлено, температура в норме. " * 4 for number in range(1, 101)]
    pages = pages_of("\n\n".join(paragraphs), language=language)
    assert len(pages) > 8
    for number, page in enumerate(pages, start=1):
        assert re.search(rf"{NUMBER}, {re.escape(label)} {number} / {len(pages)}", page)
    whole = " ".join(" ".join(pages).split())
    assert all(f"{number}. Отопление" in whole for number in range(1, 101))


def test_a_word_wider_than_the_page_is_broken():
    """A long address of a web page stays on the sheet."""
    (page,) = pages_of("https://example.org/" + "a" * 300)
    assert "".join(page.split()).count("a" * 300) == 1


@given(text=st.text(max_size=200), subject=st.text(max_size=80))
@settings(max_examples=8, deadline=None)
def test_any_text_becomes_a_letter(text: str, subject: str):
    """Characters that the font lacks, control characters, directions: a PDF comes out."""
    assert render_letter(text, subject=subject, number=NUMBER, language="ru", written_at=NOW).startswith(b"%PDF")
