"""Names, texts and media types of strangers' files."""

import io
import json
import unicodedata
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.media import (
    MAX_NAME_BYTES,
    clean_file_name,
    clean_media_type,
    clean_text,
    describe_attachment,
    detect_media_type,
)


@given(st.text(st.characters()))
def test_clean_text_fits_json_and_postgresql(text: str):
    """Any string becomes UTF-8 without NUL and without controls but tab and line ends; twice is the same."""
    cleaned = clean_text(text)
    cleaned.encode("utf-8")
    assert not [char for char in cleaned if unicodedata.category(char) == "Cc" and char not in "\t\n\r"]
    assert json.loads(json.dumps(cleaned)) == cleaned
    assert clean_text(cleaned) == cleaned


def test_clean_text_shows_where_something_was():
    """Lone surrogates leave a mark, split pairs are joined, letters stay."""
    assert clean_text("а\x00б\ud800в\ud83d\ude00\r\n\tг") == "аб\ufffdв😀\r\n\tг"


@given(st.text(st.characters(), max_size=400))
def test_clean_file_name_is_a_safe_base_name(name: str):
    """No folder, nothing hidden, short enough for any file system, never empty; twice is the same."""
    cleaned = clean_file_name(name)
    assert cleaned
    assert not set(cleaned) & set('/\\:*?"<>|\x00\u202e')
    assert len(cleaned.encode()) <= MAX_NAME_BYTES
    assert not cleaned.startswith(".")
    assert clean_file_name(cleaned) == cleaned


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\скан.pdf", "скан.pdf"),
        ("a\u202egpj.exe", "agpj.exe"),
        ("", "attachment"),
        ("..", "attachment"),
        (".htaccess", "htaccess"),
        ("  много   пробелов .txt ", "много пробелов .txt"),
        ("я" * 300 + ".pdf", "я" * 98 + ".pdf"),
    ],
)
def test_clean_file_name(name: str, cleaned: str):
    """Known tricks."""
    assert clean_file_name(name) == cleaned


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"", "application/octet-stream"),
        (b"\x93\x11\xff\xfe\x00", "application/octet-stream"),
        ("Здравствуйте".encode(), "text/plain"),
        ("я".encode() * 40_000, "text/plain"),
        (b"BM is how this letter begins", "text/plain"),
        (b"MZ too", "text/plain"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "image/jpeg"),
        (b"<html><script>", "text/html"),
        (_zip("a.txt"), "application/zip"),
        (
            _zip("[Content_Types].xml", "word/document.xml"),
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ),
        (_zip("xl/workbook.xml"), "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        (
            b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/vnd.oasis.opendocument.textPK",
            "application/vnd.oasis.opendocument.text",
        ),
    ],
)
def test_detects_media_types_by_content(content: bytes, media_type: str):
    """The bytes decide."""
    assert detect_media_type(content) == media_type


@given(st.binary(max_size=300), st.text(st.characters()), st.text(st.characters()))
def test_any_file_can_be_described(content: bytes, name: str, media_type: str):
    """Whatever a stranger sends, there is a record of it that can be stored."""
    attachment = describe_attachment(name, media_type, content)
    attachment.model_dump_json()
    assert attachment.size_bytes == len(content)


@pytest.mark.parametrize(
    ("declared", "cleaned"),
    [
        ("Text/HTML; charset=x", "text/html"),
        ("image", "application/octet-stream"),
        ("a/b\r\nX: y", "application/octet-stream"),
    ],
)
def test_cleans_declared_media_types(declared: str, cleaned: str):
    """Parameters go, what is none becomes octets."""
    assert clean_media_type(declared) == cleaned
