"""How many SMS a text takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sms.segments import (
    GSM7_CONCATENATED,
    GSM7_SINGLE,
    UCS2_CONCATENATED,
    UCS2_SINGLE,
    measure,
    plainer,
)


@pytest.mark.parametrize(
    ("text", "encoding", "units", "parts"),
    [
        ("", "gsm7", 0, 1),
        ("a" * 160, "gsm7", 160, 1),
        ("a" * 161, "gsm7", 161, 2),
        ("a" * 306, "gsm7", 306, 2),
        ("a" * 307, "gsm7", 307, 3),
        ("€" * 80, "gsm7", 160, 1),
        ("€" * 81, "gsm7", 162, 2),
        ("a" * 152 + "€" + "a" * 8, "gsm7", 162, 2),
        ("€" * 153, "gsm7", 306, 3),  # an escape pair is not cut: 76 a part, not 76.5
        ("я" * 70, "ucs2", 70, 1),
        ("я" * 71, "ucs2", 71, 2),
        ("я" * 134, "ucs2", 134, 2),
        ("я" * 135, "ucs2", 135, 3),
        ("🥶" * 35, "ucs2", 70, 1),
        ("🥶" * 36, "ucs2", 72, 2),
        ("🥶" * 67, "ucs2", 134, 3),  # a surrogate pair is not cut: 33 a part
        ("a" * 70 + "я", "ucs2", 71, 2),
    ],
)
def test_limits(text: str, encoding: str, units: int, parts: int):
    """160/153 septets, 70/67 UTF-16 units; escapes and surrogates count two and stay whole."""
    segments = measure(text)
    assert (segments.encoding, segments.units, segments.parts) == (encoding, units, parts)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
def test_parts_hold_the_text(text: str):
    """There are enough parts for the units, and never more than one unit is wasted in each."""
    segments = measure(text)
    single, many = (GSM7_SINGLE, GSM7_CONCATENATED) if segments.encoding == "gsm7" else (UCS2_SINGLE, UCS2_CONCATENATED)
    if segments.parts == 1:
        assert segments.units <= single
    else:
        assert segments.units > single
        assert (segments.parts - 1) * (many - 1) < segments.units <= segments.parts * many
    assert bool(segments.costly) == (segments.encoding == "ucs2")
    assert all(letter in text for letter in segments.costly)


def test_costly_letters_are_named_once():
    """The agent sees which letters double the price."""
    assert measure("“Water” – off – “now”").costly == ("“", "”", "–")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("“Water” – off… №\u00a05", '"Water" - off... No. 5'),
        ("Don’t «wait»", 'Don\'t "wait"'),
        ("«Вода» – нет…", "«Вода» – нет…"),
        ("plain", "plain"),
        ("“日本”", "“日本”"),
    ],
)
def test_signs_are_written_plainly_only_where_that_helps(text: str, plain: str):
    """A text that needs UCS-2 anyway keeps its signs."""
    assert plainer(text) == plain


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_plainer_is_never_dearer(text: str):
    """Writing plainly never takes more parts."""
    assert measure(plainer(text)).parts <= measure(text).parts
