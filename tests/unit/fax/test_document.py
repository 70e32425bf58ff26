"""Fax documents: what is read, what is refused, and that nothing else can happen."""

import struct
import time
from io import BytesIO

import pypdfium2
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from PIL import Image

from appeals.errors import DecodeError
from connectors.pages.document import read_document
from okno.outside.fax_document import make_fax_document

TIFF = make_fax_document(["Один", "Два"], "tiff")
PDF = make_fax_document(["Один", "Два"])


def tiff_of(image: Image.Image, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "TIFF", **options)
    return buffer.getvalue()


def test_same_fax_gives_the_same_bytes():
    """A redelivered TIFF renders to the same PDF, so that its blob is the same blob."""
    first = read_document(TIFF, max_pages=5)
    moment = time.time()
    while int(time.time()) == int(moment):  # PDF dates have whole seconds
        time.sleep(0.02)
    assert read_document(TIFF, max_pages=5) == first


def test_counts_pages():
    """Pages of PDF and TIFF."""
    assert (read_document(TIFF, max_pages=2).pages, read_document(PDF, max_pages=2).pages) == (2, 2)


@pytest.mark.parametrize("content", [TIFF, PDF])
def test_refuses_more_pages_than_allowed(content: bytes):
    """The reason names both numbers."""
    with pytest.raises(DecodeError, match="2 pages, at most 1") as caught:
        read_document(content, max_pages=1)
    assert caught.value.data == content


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "CMYK", "P", "LA", "I;16", "F"])
def test_reads_every_pixel_format_a_scanner_writes(mode: str):
    """Grey, colour, transparent and 16-bit scans become a PDF as well."""
    document = read_document(tiff_of(Image.new(mode, (100, 140))), max_pages=1)
    pdf = pypdfium2.PdfDocument(document.viewing_pdf)
    pdf.close()


def test_pixels_of_standard_resolution_are_twice_as_high_as_wide():
    """Without a resolution tag the fax width of 1728 tells; with a mad one as well."""
    for dpi in (None, (1, 1), (72_000, 3)):
        content = tiff_of(Image.new("1", (1728, 2200)), compression="group4", **({"dpi": dpi} if dpi else {}))
        pdf = pypdfium2.PdfDocument(read_document(content, max_pages=1).viewing_pdf)
        width, height = pdf[0].get_size()
        pdf.close()
        assert (round(width), round(height)) == (round(1728 / 204 * 72), round(2200 / 196 * 72))


def _white_bomb(width: int, height: int) -> bytes:
    """Return a small Group 4 TIFF that says it unpacks to width x height pixels."""
    content = bytearray(tiff_of(Image.new("1", (8, 8), 1), compression="group4"))
    count_at = struct.unpack_from("<I", content, 4)[0]
    for index in range(struct.unpack_from("<H", content, count_at)[0]):
        entry = count_at + 2 + 12 * index
        tag = struct.unpack_from("<H", content, entry)[0]
        if tag in {256, 257}:
            struct.pack_into("<HII", content, entry + 2, 4, 1, width if tag == 256 else height)
    return bytes(content)


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (8, 2**31), (60_000, 1_000), (2**32 - 1, 2**32 - 1)])
def test_refuses_a_decompression_bomb_before_unpacking(width: int, height: int):
    """A few hundred bytes that unpack to gigabytes cost nothing but a refusal."""
    with pytest.raises(DecodeError):
        read_document(_white_bomb(width, height), max_pages=5)


def test_refuses_an_encrypted_pdf():
    """Nobody could read it: quarantine."""
    content = PDF.replace(b"/Root", b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O (x) /U (x) >> /Root")
    with pytest.raises(DecodeError, match="cannot be opened"):
        read_document(content, max_pages=5)


@given(content=st.binary(max_size=200), magic=st.sampled_from([b"", b"II*\x00", b"MM\x00*", b"%PDF-1.7\n"]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(content: bytes, magic: bytes):
    """DecodeError is all that can come out."""
    try:
        read_document(magic + content, max_pages=5)
    except DecodeError:
        event("refused")


@given(data=st.data(), original=st.sampled_from([TIFF, PDF]))
@settings(max_examples=60, deadline=None)
def test_damaged_documents_are_read_or_refused(data: st.DataObject, original: bytes):
    """The same for real documents with bytes changed or the end missing."""
    content = bytearray(original[: data.draw(st.integers(100, len(original)))])
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_document(bytes(content), max_pages=5)
    except DecodeError:
        event("refused")
