"""Names and types of strangers' files: header values and base names that can do no harm."""

from email.message import Message
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_console.file_api import content_disposition
from agent_console.uploads import clean_name, detect_media_type

ANY_NAME = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300)


@given(ANY_NAME, st.booleans())
def test_a_content_disposition_is_one_harmless_header_line(name: str, inline: bool) -> None:  # noqa: FBT001 - hypothesis passes it
    """Property: ASCII without line breaks, exactly two parameters, and the very name in the second (RFC 6266)."""
    value = content_disposition(name, inline=inline)
    assert value.isascii()
    assert value.isprintable()
    message = Message()
    message["Content-Disposition"] = value
    assert message.get_content_disposition() == ("inline" if inline else "attachment")
    assert value.count('"') == 2
    assert unquote(value.rpartition("filename*=UTF-8''")[2]) == name


@given(ANY_NAME)
def test_a_clean_name_is_a_base_name_that_fits(name: str) -> None:
    """Property: never empty, no folders, no control characters, bounded, and cleaning twice changes nothing."""
    clean = clean_name(name)
    assert clean
    assert not set(clean) & set('/\\<>:"|?*\x00\r\n')
    assert len(clean.encode()) <= 300
    assert clean.isprintable()
    assert clean not in (".", "..")
    assert clean_name(clean) == clean


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("план.pdf", "план.pdf"),
        ("C:\\Users\\a\\план.pdf", "план.pdf"),
        ("../../etc/passwd", "passwd"),
        ("a\r\nSet-Cookie: x.txt", "aSet-Cookie x.txt"),
        ("", "attachment"),
        ("...", "attachment"),
        ("photo\u202egnp.exe", "photognp.exe"),
    ],
)
def test_names_are_cleaned_as_people_expect(name: str, clean: str) -> None:
    """Folders, control and direction-changing characters go; the rest stays."""
    assert clean_name(name) == clean


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"%PDF-1.7\n", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 16, "image/png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "image/jpeg"),
        ("Привет".encode(), "text/plain"),
        (b"BM is how this text begins", "text/plain"),
        (b"\x00\x01\x02", "application/octet-stream"),
        ("Привет".encode("cp1251"), "application/octet-stream"),
        (b"", "text/plain"),
    ],
)
def test_the_media_type_comes_from_the_content(content: bytes, media_type: str) -> None:
    """A name or a browser's word is never asked."""
    assert detect_media_type(content) == media_type
