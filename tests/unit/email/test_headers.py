"""Header fields: encoded words, addresses, dates, message ids, whole and broken."""

from datetime import UTC, datetime
from email.header import Header, decode_header, make_header

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.email.parsing.double_encoding import undo_double_encoding
from connectors.email.parsing.headers import (
    Headers,
    MailAddress,
    decode_header_text,
    normalise_address,
    parse_addresses,
    parse_date,
    parse_message_ids,
)


def _escaped(content: bytes) -> str:
    return content.decode("ascii", "surrogateescape")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Hello", "Hello"),
        ("=?utf-8?B?0J/RgNC40LLQtdGC?=", "Привет"),
        ("=?UTF-8?q?=D0=9F=D1=80=D0=B8=D0=B2=D0=B5=D1=82?=", "Привет"),
        ("=?windows-1251?Q?=CF=F0=E8=E2=E5=F2?=", "Привет"),
        ("=?koi8-r?B?8NLJ18XU?=", "Привет"),
        ("=?utf-8?B?0J/RgNC40LLQtdGC?= =?utf-8?B?0J/RgNC40LLQtdGC?=", "ПриветПривет"),
        ("=?utf-8?B?0J/R?= =?utf-8?B?gNC40LLQtdGC?=", "Привет"),  # a letter cut in two
        ("Re: =?utf-8?B?0J/RgNC40LLQtdGC?= !", "Re: Привет !"),
        ("=?utf-8?B?0J/RgNC40LLQtdGC", "Привет"),  # its end is missing
        ("=?utf-8?B?0J/RgNC40LLQtdG?=", "Приве\ufffd"),  # base64 cut short
        ("=?utf-8?Q?a b_c?=", "a b c"),  # spaces inside
        ("=?utf-8*ru?Q?=D0=9F?=", "П"),  # RFC 2231 language
        ("=?windows-1251?B?0J/RgNC40LLQtdGC?=", "Привет"),  # a charset that lies
        ("=?x-unknown?Q?abc?=", "abc"),
        ("=?unknown-8bit?B?z/Do4uXy?=", "Привет"),
        ("=??Q?abc?=", "abc"),
        ("=? utf-8 ?Q? abc ?=", "abc"),
        ("=?utf-8?Q?why??= x", "why? x"),
        ("=?utf-8?Q?why?=3D?= x", "why?= x"),
        ("=?utf-8?Q?=D0=9F?=text", "Пtext"),
        ("=?utf-8?Q?a?==?utf-8?Q?b?=", "ab"),
        ("=?utf-8?B?0J/RgN?= =?utf-8?B?C40LLQtdGC?=", "Привет"),  # base64 cut anywhere
        ("=?utf-8?B?0J/RgA==0LjQstC10YI=?=", "Привет"),  # padding inside
        ("=?utf-8?B?0J/RgNC4?=\t=?utf-8?Q?=D0=B2=D0=B5=D1=82?=", "Привет"),  # both encodings
        ("=?utf-8?B?PT91dGYtOD9CPzBKL1JnTkM0MExMUXRkR0M/PQ==?=", "Привет"),  # encoded twice
        ("=?koi8-r?B?8NLJ18XU?= =?utf-8?B?0JzQuNGA?=", "ПриветМир"),
        ('"=?utf-8?Q?q?="', '"q"'),
        ("a=?b", "a=?b"),
        (_escaped("Привет".encode()), "Привет"),
        (_escaped("Привет".encode("cp1251")), "Привет"),
        ("tab\tand\x00nul\x1b[2J", "tab and nul [2J"),
        ("", ""),
    ],
)
def test_encoded_words(raw: str, text: str):
    """Right and broken encoded words and raw 8-bit text are read as they were meant."""
    assert decode_header_text(raw) == text


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=120),
    st.sampled_from(["utf-8", "koi8-r"]),
)
def test_well_formed_words_agree_with_the_standard_library(text: str, charset: str):
    """What the standard library encodes, and reads back the same, we read the same."""
    text = text.encode(charset, "ignore").decode(charset)
    if not text or "=?" in text or text.isascii() or undo_double_encoding(text) != text:
        return
    encoded = Header(text, charset).encode().replace("\n", "")
    assert str(make_header(decode_header(encoded))) == text
    if charset == "utf-8":
        assert decode_header_text(encoded) == text


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_header_text_is_total(content: bytes):
    """Any header gives one line of clean text."""
    for raw in (_escaped(content), "=?utf-8?B?" + _escaped(content) + "?=", "=?koi8-r?q?" + _escaped(content)):
        text = decode_header_text(raw)
        text.encode("utf-8")
        assert not any(char in text for char in "\x00\r\n")


@pytest.mark.parametrize(
    ("raw", "addresses"),
    [
        ("ivan@example.org", [("ivan@example.org", "")]),
        ("Ivan <ivan@EXAMPLE.org>", [("ivan@example.org", "Ivan")]),
        ('"Petrov, Ivan" <ivan@example.org>', [("ivan@example.org", "Petrov, Ivan")]),
        ("=?utf-8?B?0J/RgNC40LLQtdGC?= <a@b.ru>", [("a@b.ru", "Привет")]),
        ('"=?utf-8?B?0J/RgNC40LLQtdGC?=" <a@b.ru>', [("a@b.ru", "Привет")]),
        ("a@b.ru, Ivan <c@d.ru>, a@b.ru", [("a@b.ru", ""), ("c@d.ru", "Ivan")]),
        ("undisclosed-recipients:;", []),
        ("Office: a@b.ru, c@d.ru;", [("a@b.ru", ""), ("c@d.ru", "")]),
        ("no address", []),
        ("", []),
        ("a@b@c.ru", []),
        ("<a\x00@b.ru>", []),
        (_escaped("Иван <иван@почта.рф>".encode()), [("иван@почта.рф", "Иван")]),
        ("=?utf-8?Q?Petrov,_Ivan?= <a@b.ru>, =?utf-8?Q?X?= <c@d.ru>", [("a@b.ru", "Petrov, Ivan"), ("c@d.ru", "X")]),
        ("=?utf-8?Q?Ivan_<ivan@x.org>?=", [("ivan@x.org", "Ivan")]),
        ("=?utf-8?Q?a@b.ru?= <a@b.ru>", [("a@b.ru", "a@b.ru")]),
        ("Petrov, Ivan <a@b.ru>", [("a@b.ru", "Petrov, Ivan")]),
        ("Ivan@home <a@b.ru>", [("a@b.ru", "Ivan@home")]),
        ("Ivan <a@b.ru", [("a@b.ru", "Ivan")]),
        ("Ivan a@b.ru", [("a@b.ru", "Ivan")]),
        ("a@b.ru c@d.ru", [("a@b.ru", ""), ("c@d.ru", "")]),
        ("a@b.ru (Ivan)", [("a@b.ru", "Ivan")]),
        ('"Ivan \\"Vanya\\" P" <a@b.ru>', [("a@b.ru", 'Ivan "Vanya" P')]),
        ("<@a,@b:c@d.ru>", [("c@d.ru", "")]),
    ],
)
def test_addresses(raw: str, addresses: list[tuple[str, str]]):
    """Names are decoded, groups flattened, what is no address left out."""
    assert parse_addresses([raw]) == tuple(MailAddress(address=address, name=name) for address, name in addresses)


@settings(deadline=None)
@given(st.text(max_size=200), st.binary(max_size=200))
def test_addresses_are_total_and_clean(text: str, content: bytes):
    """Any field gives only addresses that are one word with an "@" and a domain in lower case."""
    for found in parse_addresses([text, _escaped(content), f"x <{text}>", _escaped(content) + "@b.ru"]):
        assert normalise_address(found.address) == found.address
        assert not any(char.isspace() or char in "\x00<>,;" for char in found.address)
        (found.address + found.name).encode("utf-8")


def test_dates():
    """Dates become aware UTC; without a zone they are UTC; nonsense is None."""
    assert parse_date("Mon, 3 Mar 2025 10:00:00 +0300") == datetime(2025, 3, 3, 7, tzinfo=UTC)
    assert parse_date("3 Mar 2025 10:00:00") == datetime(2025, 3, 3, 10, tzinfo=UTC)
    for bad in (
        None,
        "",
        "yesterday",
        "Mon, 31 Feb 2025 10:00:00 +0000",
        "1 Jan 1900 00:00:00 +2359",
        "1 Jan 9999 23:00:00 -2300",
    ):
        assert parse_date(bad) is None


@settings(deadline=None)
@given(st.text())
def test_dates_and_ids_are_total(text: str):
    """Any text gives a date or None, and ids that UTF-8 can hold."""
    parse_date(text)
    for item in parse_message_ids(text):
        item.encode("utf-8")
        assert item
        assert " " not in item


def test_message_ids():
    """Ids lose their brackets and folding, keep their order, and are each there once."""
    assert parse_message_ids("<a@b>\t<c@d> <a@b>") == ("a@b", "c@d")
    assert parse_message_ids("a@b c@d") == ("a@b", "c@d")
    assert parse_message_ids("<a@ b>") == ("a@b",)
    assert parse_message_ids(None) == parse_message_ids("<>")[:0]
    assert len(parse_message_ids(" ".join(f"<{index}@x>" for index in range(500)))) == 100


def test_values_are_unfolded():
    """A folded value is one line; the first of several is taken, all can be had."""
    headers = Headers({"to": ["a,\r\n b", "c"]})
    assert headers.get("to") == "a, b"
    assert headers.get_all("to") == ["a, b", "c"]
    assert headers.get("cc") is None
    assert "cc" not in headers
