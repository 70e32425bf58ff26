"""Bytes to text: labels that lie, and strings that the registry can hold."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from connectors.email.parsing.charsets import clean_block, clean_line, codec_name, decode_text, html_charset
from connectors.email.parsing.double_encoding import undo_double_encoding

RUSSIAN = "Здравствуйте! В нашем доме № 5 по улице Ленина третий день нет отопления. Прошу принять меры."
LABELS = (
    None,
    "utf-8",
    "us-ascii",
    "windows-1251",
    "koi8-r",
    "iso-8859-1",
    "unknown-8bit",
    "x-mac-cyrillic",
    "base64",
    "",
    "iso-8859-5",
    "cp866",
    "gb2312",
    "big5",
    "utf-16",
    "default_charset",
)
CHARSETS = (
    "utf-8",
    "cp1251",
    "koi8_r",
    "cp866",
    "mac_cyrillic",
    "iso8859_5",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("charset", CHARSETS)
def test_russian_is_read_whatever_the_label_says(charset: str, label: str | None):
    """Russian text in any of its charsets comes out right under a right, wrong, unknown or missing label."""
    content = RUSSIAN.replace("№", "N").encode(charset)
    assert decode_text(content, label) == RUSSIAN.replace("№", "N")


@pytest.mark.parametrize("word", ["Привет", "СРОЧНО", "Отопление", "жалоба"])
@pytest.mark.parametrize("charset", ["cp1251", "koi8_r"])
def test_one_word_is_enough(charset: str, word: str):
    """A subject of one word without a label is read right."""
    assert decode_text(word.encode(charset)) == word


@pytest.mark.parametrize(
    "text", ["Здравствуйте", "Ремонт дороги", "Срок", "нет воды и света третий день", "НЕТ ВОДЫ И СВЕТА ТРЕТИЙ ДЕНЬ"]
)
@pytest.mark.parametrize("charset", ["cp1251", "koi8_r", "mac_cyrillic"])
def test_case_does_not_mislead(charset: str, text: str):
    """Capitals that are dashes in a sister charset, and texts all in one case, are read right without a label."""
    assert decode_text(text.encode(charset)) == text


@pytest.mark.parametrize("label", ["iso-8859-1", "cp1252", None])
@pytest.mark.parametrize(
    "text", ["Le café est fermé à Besançon, où êtes-vous ?", "Größe für Äpfel über Straße", "naïve"]
)
def test_western_text_is_not_taken_for_russian(text: str, label: str | None):
    """French and German keep their letters."""
    assert decode_text(text.encode("cp1252"), label) == text


@pytest.mark.parametrize(
    ("text", "charset", "label"),
    [
        ("日本語のメール", "iso-2022-jp", "iso-2022-jp"),
        ("日本語", "shift_jis", "shift_jis"),
        ("①②髙", "cp932", "shift_jis"),  # letters that the label does not have
        ("简体中文的邮件", "gb2312", "gb2312"),
        ("联通", "gbk", "gb2312"),
        ("简体", "gb18030", "gb18030"),
        ("简体中文", "utf-8", "gb2312"),  # a label that lies
        ("繁體中文", "big5", "big5"),
        ("한국어 메일", "euc-kr", "ks_c_5601-1987"),
        ("똠방각하", "cp949", "euc-kr"),
        ("日本", "euc-jp", "euc-jp"),
        ("Łódź, żółw", "iso-8859-2", "iso-8859-2"),
        ("Ελληνικά", "iso-8859-7", "iso-8859-7"),
        ("שלום", "iso-8859-8", "iso-8859-8-i"),
        ("“quoted”", "cp1252", "iso-8859-1"),
        ("Rendez-vous à Paris", "iso-8859-1", "iso-8859-1"),
        ("Tür-äöü.txt", "cp1252", "windows-1252"),
        ("Привіт, Київ", "koi8-u", "koi8-u"),
        ("héllo", "utf-7", "utf-7"),
        ("日本語のメールです。", "utf-16-le", "utf-16le"),
        ("Привет", "utf-8", "x-user-defined"),
    ],
)
def test_charsets_of_the_world(text: str, charset: str, label: str):
    """Charsets of other languages keep their letters, also those that their label leaves out."""
    assert decode_text(text.encode(charset), label) == text


@pytest.mark.parametrize("text", ["Прошу включить отопление!", "Größe, café, naïve", "Сумма: 100 € — «срочно»"])
@pytest.mark.parametrize("between", ["cp1251", "cp1252", "latin-1"])
def test_text_encoded_twice_is_decoded_twice(text: str, between: str):
    """UTF-8 that a gateway read as something else and wrote as UTF-8 again is put right, if nothing was lost."""
    try:
        twice = text.encode().decode(between).encode()
    except UnicodeDecodeError:
        return  # this charset has no letter for one of the bytes: it was lost
    is_cyrillic_way = between == "cp1251"
    if is_cyrillic_way and "Г¶" in twice.decode():
        return  # German in Cyrillic disguise: not looked for
    assert decode_text(twice, "utf-8") == text


@pytest.mark.parametrize("text", ["РСФСР и СССР", "Р. С. Иванов", "Ã — a letter", "À la carte", "РЖД, РФ", "10 €"])
def test_what_only_looks_encoded_twice_stays(text: str):
    """Words that begin like such text are left alone."""
    assert decode_text(text.encode(), "utf-8") == text


def test_seven_bit_charsets_keep_their_codec():
    """ISO-2022-JP is ASCII bytes and must not be read as ASCII."""
    assert decode_text("日本".encode("iso2022_jp"), "iso-2022-jp") == "日本"


def test_codecs_that_are_no_charsets_are_refused():
    """Names of Python's other codecs (base64, zip, idna, unicode_escape) are not used as charsets."""
    assert [codec_name(name) for name in ("base64", "zip", "idna", "unicode_escape", "rot13", "x" * 99, "")] == [
        None
    ] * 7
    assert codec_name('"UTF-8"') == "utf-8"


@settings(deadline=None)
@given(
    st.binary(),
    st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["utf-16", "utf-7", "gb18030", "hz", "koi8-r"])),
)
def test_decoding_is_total(content: bytes, label: str | None):
    """Any bytes under any label give a text that UTF-8 can hold once it is cleaned."""
    text = decode_text(content, label)
    for clean in (clean_block(text), clean_line(text)):
        assert "\x00" not in clean
        clean.encode("utf-8")
    assert "\n" not in clean_line(text)
    assert "\r" not in clean_block(text)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\x04")))
def test_utf8_survives(text: str):
    """Valid UTF-8 is never changed, with or without its label, but where it was plainly encoded twice."""
    assume(undo_double_encoding(text) == text)
    content = text.removeprefix("\ufeff").encode("utf-8")
    assert decode_text(content, "utf-8") == decode_text(content) == content.decode()


def test_html_names_its_charset():
    """Both forms of `<meta>` are understood; without one there is None."""
    assert html_charset(b'<meta charset="koi8-r">') == "koi8-r"
    assert html_charset(b'<META http-equiv=Content-Type content="text/html; charset=windows-1251">') == "windows-1251"
    assert html_charset(b"<p>charset</p>") is None
