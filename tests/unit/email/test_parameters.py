"""Content-Type and Content-Disposition, whole and broken."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.email.parsing.message_parser import parse_mail
from connectors.email.parsing.parameters import parse_field, percent_decoded


@pytest.mark.parametrize(
    ("raw", "value", "parameters"),
    [
        ("text/plain", "text/plain", {}),
        ('TEXT/Plain; Charset="UTF-8"; format=flowed', "text/plain", {"charset": "UTF-8", "format": "flowed"}),
        ("text/plain;charset=utf-8;", "text/plain", {"charset": "utf-8"}),
        ("text/plain charset=utf-8", "text/plain", {"charset": "utf-8"}),
        ("text/plain;\r\n\tcharset = utf-8", "text/plain", {"charset": "utf-8"}),
        ("boundary=x", "", {"boundary": "x"}),
        ('a/b; boundary="x;y=z"; c=d', "a/b", {"boundary": "x;y=z", "c": "d"}),
        ('a/b; name="with \\"quotes\\" and \\\\"', "a/b", {"name": 'with "quotes" and \\'}),
        ('attachment; filename="C:\\temp\\a.doc"', "attachment", {"filename": "C:\\temp\\a.doc"}),
        ("attachment; filename=my file.pdf", "attachment", {"filename": "my file.pdf"}),
        ('attachment; filename="never closed.pdf', "attachment", {"filename": "never closed.pdf"}),
        ("attachment; filename=a; filename=b", "attachment", {"filename": "a"}),
        ("attachment; filename*=UTF-8''%D1%81%D1%87%D1%91%D1%82.pdf", "attachment", {"filename": "счёт.pdf"}),
        ("attachment; filename*=''plain", "attachment", {"filename": "plain"}),
        ("attachment; filename*=no-quotes%20here", "attachment", {"filename": "no-quotes here"}),
        ("attachment; filename*=nonsense''%D1%81", "attachment", {"filename": "с"}),
        ("attachment; filename*=windows-1251''%F1%F7%B8%F2", "attachment", {"filename": "счёт"}),
        ("attachment; filename*=utf-8''%f1%f7%b8%f2%e0", "attachment", {"filename": "счёта"}),  # the charset lies
        ('attachment; filename*0=long; filename*1=" name"; filename*2=.pdf', "attachment", {"filename": "long name.pdf"}),
        ("attachment; filename*1=b; filename*0=a", "attachment", {"filename": "ab"}),
        ("attachment; filename*0*=utf-8''%D1; filename*1*=%81; filename*2=%41", "attachment", {"filename": "с%41"}),
        ("attachment; filename=fallback; filename*=utf-8''%D1%81", "attachment", {"filename": "с"}),
        ("attachment; filename=fallback; filename*=", "attachment", {"filename": "fallback"}),
        ("", "", {}),
        (";;;=;", "", {}),
    ],
)  # fmt: skip
def test_fields(raw: str, value: str, parameters: dict[str, str]):
    """Values, quotes, continuations and charsets are read as RFC 2045 and RFC 2231 say, broken ones as they were meant."""
    found = parse_field(raw)
    assert (found.value, found.parameters) == (value, parameters)


@pytest.mark.parametrize(
    ("name", "decoded"),
    [
        ("%D1%81%D1%87%D1%91%D1%82.pdf", "счёт.pdf"),
        ("100%25%20done.pdf", "100%25%20done.pdf"),
        ("%ff%fe%fd.pdf", "%ff%fe%fd.pdf"),
        ("plain.pdf", "plain.pdf"),
        ("50%.pdf", "50%.pdf"),
    ],
)
def test_percent_encoded_names(name: str, decoded: str):
    """A name percent-encoded without saying so is decoded if it is UTF-8 then, and left alone else."""
    assert percent_decoded(name) == decoded


@pytest.mark.parametrize(
    "header",
    [
        'Content-Type: application/pdf; name="=?utf-8?B?0YHRh9GR0YIucGRm?="',
        'Content-Disposition: attachment; filename="=?utf-8?B?0YHRh9GR?= =?utf-8?B?0YIucGRm?="',
        "Content-Disposition: attachment; filename==?utf-8?Q?=D1=81=D1=87=D1=91=D1=82.pdf?=",
        'Content-Disposition: attachment; filename*0="=?utf-8?B?0YHR"; filename*1="h9GR0YIucGRm?="',
        "Content-Disposition: attachment; filename*0*=UTF-8''%D1%81%D1%87; filename*1*=%D1%91%D1%82.pdf",
        'Content-Disposition: attachment; filename="%D1%81%D1%87%D1%91%D1%82.pdf"',
        'Content-Disposition: attachment; filename=""\r\nContent-Type: application/pdf; name="=?koi8-r?B?08ejoy5wZGY=?="',
    ],
)
def test_names_in_every_way_mailers_write_them(header: str):
    """Encoded words in parameters, RFC 2231, percent signs, and a name where there is no filename."""
    kind = "" if "application/pdf" in header else "Content-Type: application/pdf\r\n"
    (item,) = parse_mail(f"{kind}{header}\r\n\r\n%PDF-1.7".encode()).files
    assert item.name in {"счёт.pdf", "сгёё.pdf"}


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_field_is_read(raw: str):
    """Any text is a field of some sort, and its value is lower case without spaces."""
    found = parse_field(raw)
    assert not any(char in " ;" for char in found.value)
    assert all(isinstance(text, str) for text in found.parameters.values())


@pytest.mark.parametrize("piece", ["a" * 100 + " ", 'a="', "a=b;", "a*0=b;", "=", ";", '"', "a*=utf-8''%41;"])
def test_hostile_fields_take_no_time(piece: str):
    """Long fields of one thing are read in linear time."""
    parse_field("x/y; " + piece * 5000)
