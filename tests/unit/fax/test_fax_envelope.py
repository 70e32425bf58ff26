"""Numbers of faxes, in calls and in file names; the words that describe a fax."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.fax.envelope import describe_fax, normalise_number, number_in_name


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+78121234567", "+78121234567"),
        ("78121234567", "+78121234567"),
        ("+7 (812) 123-45-67", "+78121234567"),
        ("anonymous", ""),
        ("", ""),
        ("+1", ""),
        ("+" + "9" * 40, ""),
        ("٣٤٥", ""),
    ],
)
def test_normalises_numbers(written: str, number: str):
    """E.164 with or without the plus sign; what is no number is no sender."""
    assert normalise_number(written) == number


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("+78121234567_20260801-1015.tif", "+78121234567"),
        ("fax-from-+4930123456.pdf", "+4930123456"),
        ("20260801101500.tif", ""),
        ("fax000012345.tif", ""),
        ("+1234567890123456789.tif", ""),
    ],
)
def test_finds_the_senders_number_in_a_file_name(name: str, number: str):
    """Only a number with its plus sign is believed: dates and counters have digits too."""
    assert number_in_name(name) == number


@given(st.text(), st.text())
def test_any_text_is_a_number_or_none(name: str, number: str):
    """Neither reader raises; both give E.164 or nothing."""
    for found in (number_in_name(name), normalise_number(number)):
        assert found == "" or found.startswith("+")


def test_describes_a_fax_in_both_languages():
    """Pages, number and a broken line are said plainly."""
    text = describe_fax(3, "+78121234567", failure="LINE_ERROR")
    assert "Факс, страниц: 3, от +78121234567" in text
    assert "Fax, pages: 3, from +78121234567" in text
    assert "прервалась" in text
    assert "неизвестного номера" in describe_fax(1, "")
