"""The look into one file: what is found, what is not, and that nothing bursts it."""

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable

import pytest
from fpdf import FPDF
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from appeals import findings
from connectors.screening import kinds
from connectors.screening.inspection import Limits, inspect, is_quick
from tests.unit.screening import hostile_files as hostile

KIB, MIB = 1024, 1024 * 1024
LIMITS = Limits(
    max_file_bytes=10 * MIB,
    max_pages=1000,
    max_pixels=120_000_000,
    max_unpacked_bytes=50 * MIB,
    max_entries=1000,
    max_nesting=3,
    budget_s=20,
)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def _ole(*entries: str, text: str = "") -> bytes:
    """Return a compound file with these names in its directory (MS-CFB §2.6.1) and some text."""
    directory = b"".join(name.encode("utf-16-le").ljust(128, b"\0") for name in entries)
    return OLE + bytes(504) + directory + b"\0" + text.encode("utf-16-le")


def _picture(form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10)).save(buffer, form, **options)
    return buffer.getvalue()


def _letter(pages: int = 2) -> bytes:
    document = FPDF()
    for _ in range(pages):
        document.add_page()
        document.set_font("helvetica")
        document.cell(text="Dear Sir or Madam")
    return bytes(document.output())


def _tar(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def _multi_page_tiff(pages: int) -> bytes:
    buffer = io.BytesIO()
    sheets = [Image.new("1", (1728, 1145)) for _ in range(pages)]
    sheets[0].save(buffer, "TIFF", save_all=True, append_images=sheets[1:], compression="group4")
    return buffer.getvalue()


DOCX = {"[Content_Types].xml": b"<Types/>", "word/document.xml": b"<w:document/>"}
ODT = {"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": b"<a/>"}


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("photo.jpg", lambda: _picture("JPEG")),
        ("photo.jpg", lambda: _picture("PNG")),  # renamed by a telephone: shown all the same
        ("scan.png", lambda: _picture("PNG")),
        ("a.gif", lambda: _picture("GIF")),
        ("a.bmp", lambda: _picture("BMP")),
        ("a.webp", lambda: _picture("WEBP", lossless=True)),
        ("a.webp", lambda: _picture("WEBP")),
        ("fax.tif", lambda: _multi_page_tiff(3)),
        ("letter.pdf", _letter),
        ("letter.docx", lambda: hostile.zip_of(DOCX)),
        ("letter.odt", lambda: hostile.zip_of(ODT)),
        ("old.doc", lambda: _ole("WordDocument", text="Macros in Word\0")),
        ("papers.zip", lambda: hostile.zip_of({"a/letter.docx": hostile.zip_of(DOCX), "b.pdf": _letter()})),
        ("papers.tar.gz", lambda: gzip.compress(_tar("a.pdf", "b.txt"))),
        ("note.txt", "Добрый день, <b>соседи</b>!".encode),
        ("table.csv", lambda: b"a;b\r\n1;2\r\n"),
        ("note.rtf", lambda: rb"{\rtf1 Hello}"),
        ("no name", lambda: b"\x00\x01\x02"),
        ("empty", lambda: b""),
        ("", lambda: b"text"),
    ],
)
def test_ordinary_files_have_no_findings(name: str, make: Callable[[], bytes]):
    """What citizens send is not suspected of anything."""
    assert inspect(make(), name, LIMITS) == ()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("invoice.pdf", b"MZ" + bytes(200), {"executable", "extension_mismatch"}),
        ("invoice.pdf.exe", b"MZ" + bytes(200), {"executable"}),
        ("invoice.exe. ", b"", {"executable"}),
        ("photo.jpg", b"\x7fELF" + bytes(60), {"executable", "extension_mismatch"}),
        ("setup.msi", OLE + bytes(80) + bytes.fromhex("84100c0000000000c000000000000046"), {"executable"}),
        ("run.js", b"WScript.Echo(1)", {"script"}),
        ("readme.txt", b"#!/bin/sh\nrm -rf /\n", {"script"}),
        ("page.html", b"hello", {"html"}),
        ("picture.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", {"html"}),
        (
            "picture.png",
            b"\xef\xbb\xbf <?xml version='1.0'?><!-- a --><!-- b --><svg/>",
            {"html", "extension_mismatch"},
        ),
        ("letter", "<!DOCTYPE html><html>".encode("utf-16"), {"html"}),
        ("report.doc", _ole("WordDocument", "_VBA_PROJECT"), {"macro"}),
        ("report.docx", hostile.zip_of(DOCX | {"word/vbaProject.bin": b"x"}), {"macro"}),
        ("report.xlsx", hostile.zip_of({"xl/workbook.xml": b"", "xl/macrosheets/sheet1.xml": b""}), {"macro"}),
        ("report.odt", hostile.zip_of(ODT | {"Basic/Standard/Module1.xml": b"x"}), {"macro"}),
        ("report.docm", hostile.zip_of(DOCX), {"macro"}),
        ("report.rtf", rb"{\rtf1 {\object\objdata 0105}}", {"macro"}),
        ("report.docx", _ole("EncryptedPackage"), {"encrypted"}),
        ("secret.zip", hostile.encrypted_zip(), {"encrypted"}),
        ("papers.zip", hostile.zip_of({"a/b/bill.scr": b"MZ"}), {"executable"}),
        ("papers.zip", hostile.zip_of({"inner.zip": hostile.zip_of({"bill.js": b"x"})}), {"script"}),
        ("a.jar", hostile.zip_of({"META-INF/MANIFEST.MF": b"", "A.class": b""}), {"executable"}),
        ("app.bin", hostile.zip_of({"AndroidManifest.xml": b"", "classes.dex": b""}), {"executable"}),
        ("link.lnk", b"L\x00\x00\x00\x01\x14\x02\x00" + bytes(50), {"shortcut"}),
        ("disk.iso", bytes(0x8001) + b"CD001", {"disk_image"}),
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(50), {"unchecked"}),
        ("a.rar", b"Rar!\x1a\x07\x00", {"unchecked"}),
        ("broken.zip", b"PK\x03\x04 and nothing more", {"unchecked"}),
        ("letter.pdf", hostile.zip_of({"a.txt": b"x"}), {"extension_mismatch"}),
        ("a.tar", _tar("a.exe"), {"executable"}),
        ("a.txt.gz", gzip.compress(b"hello"), set()),
        ("a.exe.gz", gzip.compress(b"MZ" + bytes(100), mtime=0), {"executable"}),
        ("large.bin", bytes(11 * MIB), {"oversized"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # archives hold times: not the same in every process
)
def test_dangerous_files(name: str, content: bytes, expected: set[str]):
    """Each danger has its code, by content, by name, and within archives."""
    assert set(inspect(content, name, LIMITS)) == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: hostile.nested_zip_bomb(depth=2, width=16, leaf_bytes=4 * MIB),
        lambda: hostile.nested_zip_bomb(depth=6, width=2, leaf_bytes=10),
        lambda: hostile.lying_zip(2**32 - 2),
        lambda: hostile.zip_of({str(number): b"" for number in range(1001)}),
        lambda: hostile.gzip_bomb(60 * MIB),
        lambda: bz2.compress(bytes(60 * MIB)),
        lambda: lzma.compress(bytes(60 * MIB)),
        lambda: gzip.compress(hostile.gzip_bomb(60 * MIB)),
    ],
    ids=["42", "deep", "lying", "entries", "gzip", "bzip2", "xz", "gzip twice"],
)
def test_archive_bombs(make: Callable[[], bytes]):
    """What unpacks to too much, to too many files or too deep is said so, without unpacking it to the end."""
    content = make()
    assert len(content) < 200 * KIB
    assert "archive_bomb" in inspect(content, "papers.zip", LIMITS)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (lambda: hostile.pdf_of_many_pages(100_000), {"too_many_pages"}),
        (hostile.pdf_of_nested_pages(depth=30, width=10), {"too_many_pages"}),
        (hostile.pdf_of_nested_pages(depth=1000, width=1), {"too_many_pages"}),  # deeper than any real tree
        (hostile.pdf(b"<</Type/Pages/Count 5000/Kids [2 0 R]>>"), {"too_many_pages"}),
        (hostile.pdf_with_packed_objects(b"<</Type/Pages/Count 5000/Kids [2 0 R]>>"), {"too_many_pages"}),
        (hostile.pdf(b"<</Type/Pages/Kids [1 0 R 1 0 R]>>"), set()),  # its own child
        (hostile.pdf(b"<</S/JavaScript/JS (app.alert(1))>>"), {"script"}),
        (hostile.pdf(b"<</S/J#61vaScr#69pt>>"), {"script"}),
        (hostile.pdf(b"<</Names<</EmbeddedFiles 5 0 R>>>>"), {"unchecked"}),
        (hostile.pdf_with_packed_objects(b"<</S/Launch/F(cmd.exe)>>"), {"script"}),
        (hostile.pdf(b"<</Type/Catalog>>", trailer=b"/Root 1 0 R/Encrypt 2 0 R"), {"encrypted"}),
        (hostile.pdf(hostile.stream(b"/Subtype/Image/Width 60000/Height 60000", b"x")), {"picture_bomb"}),
        (lambda: hostile.pdf(hostile.stream(b"/Filter/FlateDecode", zlib.compress(bytes(60 * MIB)))), {"archive_bomb"}),
        (
            lambda: hostile.pdf(
                hostile.stream(b"/Filter[/FlateDecode/FlateDecode]", zlib.compress(zlib.compress(bytes(60 * MIB))))
            ),
            {"archive_bomb"},
        ),
        (hostile.pdf(hostile.stream(b"/Filter/FlateDecode", b"no such thing")), set()),
        (hostile.pdf(hostile.stream(b"/Type/ObjStm/N 1/First 4", b"9 0 <</JS(x)>>")), {"script"}),
        (hostile.pdf(b"<</Length 7>>\nstream\n/JS (1)"), {"script"}),  # never ends
    ],
)
def test_pdf(content: bytes | Callable[[], bytes], expected: set[str]):
    """Pages, pictures, scripts and compression of a PDF, wherever they are written."""
    assert set(inspect(content() if callable(content) else content, "letter.pdf", LIMITS)) == expected


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff(order: str, *, big: bool):
    """Pages and pixels of a TIFF, from its directories alone, also where they lead back to themselves."""

    def found(*sizes: tuple[int, int], loops: bool = False) -> set[str]:
        return set(inspect(hostile.tiff(*sizes, loops=loops, big=big, order=order), "fax.tif", LIMITS))

    assert found((1728, 1145), (1728, 2290)) == set()
    assert found((60_000, 60_000)) == {"picture_bomb"}
    assert found(*[(100, 100)] * 1001) == {"too_many_pages"}
    assert found((100, 100), (100, 100), loops=True) == set()
    assert set(inspect(hostile.tiff((9, 9), big=big, order=order)[:-3], "fax.tif", LIMITS)) == {"unchecked"}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_pictures_of_many_pixels(form: str):
    """The header says how many pixels a browser would unpack."""
    few = Limits(**{field: getattr(LIMITS, field) for field in Limits.__slots__} | {"max_pixels": 199})
    assert inspect(_picture(form), "", few) == ("picture_bomb",)
    assert inspect(_picture(form), "", LIMITS) == ()
    assert is_quick(_picture(form))


def test_the_time_is_up():
    """A file that takes longer than the budget stays unchecked."""
    none = Limits(**{field: getattr(LIMITS, field) for field in Limits.__slots__} | {"budget_s": -1.0})
    for content in (hostile.zip_of({"a": b""}), hostile.pdf_of_many_pages(10), hostile.tiff((1, 1))):
        assert inspect(content, "", none) == ("unchecked",)


_SEEDS = [
    hostile.zip_of(DOCX | {"inner.zip": hostile.zip_of({"a.exe": b"MZ"})}),
    hostile.pdf_with_packed_objects(b"<</Type/Pages/Count 5/Kids [2 0 R]>>"),
    hostile.tiff((10, 10), (20, 20)),
    hostile.gzip_bomb(1000),
    lzma.compress(b"x" * 1000),
    _tar("a", "b"),
    _picture("JPEG"),
    _picture("PNG"),
    OLE + bytes(100),
]


@given(st.sampled_from(_SEEDS), st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=8)), max_size=6))
def test_any_bytes(seed: bytes, changes: list[tuple[int, bytes]]):
    """Whatever the bytes are, the answer is a sorted tuple of known codes, and nothing is raised."""
    content = bytearray(seed)
    for place, piece in changes:
        at = place % (len(content) + 1)
        content[at : at + len(piece)] = piece
    found = inspect(bytes(content), "a.zip", LIMITS)
    assert list(found) == sorted(set(found))
    assert set(found) <= set(findings.WORDS)


@given(st.binary(max_size=200), st.text(max_size=30))
def test_any_file_and_name(content: bytes, name: str):
    """The same for files and names of any sort."""
    assert set(inspect(content, name, LIMITS)) <= set(findings.WORDS)
    assert isinstance(kinds.kind_of(content), str)


def test_every_code_has_words():
    """People read words, in both languages, never a bare code; risky codes are known ones."""
    assert findings.WORDS.keys() >= findings.RISKY
    for code, words in findings.WORDS.items():
        assert words.keys() == {"ru", "en"}
        assert findings.describe(code, "ru") != findings.describe(code, "en")
    assert findings.describe("infected:Win.Test", "en") == "malicious: Win.Test"
    assert findings.describe("a_later_code", "ru") == "a_later_code"
    assert findings.infected("Eicar: a b\n<x>") == "infected:Eicarabx"


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((), False),
        (("unchecked",), False),
        (("encrypted", "oversized"), False),
        (("html",), True),
        (("unchecked", "infected:Eicar-Test"), True),
        (("extension_mismatch",), True),
    ],
)
def test_what_is_risky(codes: tuple[str, ...], *, expected: bool):
    """A scanner that is down makes nothing risky; what may run does."""
    assert findings.is_risky(codes) is expected
