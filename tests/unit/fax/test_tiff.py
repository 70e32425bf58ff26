"""TIFF as fax servers write it, and as broken lines and broken software leave it."""

import struct
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageChops, TiffImagePlugin

from appeals.errors import DecodeError
from connectors.pages.document import read_document
from connectors.pages.drawing import square_pixels
from connectors.pages.tiff import REVERSED_BITS, TiffDocument
from okno.outside.fax_document import make_fax_document

DATA = Path(__file__).parents[2] / "data" / "fax"
TEXT = "\n".join(f"{number}. Прошу восстановить отопление в доме 12 по Садовой улице." for number in range(1, 25))
CODINGS = {"g3-1d": ("group3", 0), "g3-2d": ("group3", 1), "g3-aligned": ("group3", 4), "g4": ("group4", 0)}


@pytest.fixture(scope="module")
def page() -> Image.Image:
    """One page of text at fine resolution."""
    with Image.open(BytesIO(make_fax_document([TEXT], "tiff"))) as image:
        image.load()
        return image.convert("1")


def tiff_of(*pages: Image.Image, coding: str = "g4", rows_per_strip: int = 5_000, **tags: object) -> bytes:
    compression, t4_options = CODINGS[coding]
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[278] = rows_per_strip
    if compression == "group3":
        directory[292] = t4_options
    for number, value in tags.items():
        directory[int(number.removeprefix("t"))] = value
    buffer = BytesIO()
    pages[0].save(
        buffer,
        "TIFF",
        compression=compression,
        dpi=(204, 196),
        tiffinfo=directory,
        save_all=True,
        append_images=pages[1:],
    )
    return buffer.getvalue()


def entries(content: bytes) -> dict[int, int]:
    """Return where each tag of the first directory lies, by its number."""
    directory = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, directory)[0]
    places = (directory + 2 + 12 * number for number in range(count))
    return {struct.unpack_from("<H", content, place)[0]: place for place in places}


def strip_of(content: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(content)) as image:
        ((offset,), (size,)) = image.tag_v2[273], image.tag_v2[279]
    return offset, size


def differing_pixels(one: Image.Image, other: Image.Image) -> int:
    return ImageChops.difference(one.convert("L"), other.convert("L")).histogram()[255]


def rows_alike(one: Image.Image, other: Image.Image, rows: int) -> bool:
    box = (0, 0, one.width, rows)
    return differing_pixels(one.crop(box), other.crop(box)) == 0


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("rows_per_strip", [5_000, 200])
def test_reads_every_coding(page: Image.Image, coding: str, rows_per_strip: int):
    """Group 3 in one and two dimensions, byte-aligned, and Group 4, in one strip or many, pixel by pixel."""
    content = tiff_of(page, coding=coding, rows_per_strip=rows_per_strip)
    assert differing_pixels(TiffDocument(content).page(0).image, page) == 0


def test_reads_the_lowest_bit_first(page: Image.Image):
    """FillOrder 2, which fax modems write."""
    content = bytearray(tiff_of(page, t266=1))
    offset, size = strip_of(bytes(content))
    content[offset : offset + size] = content[offset : offset + size].translate(REVERSED_BITS)
    struct.pack_into("<H", content, entries(content)[266] + 8, 2)
    assert differing_pixels(TiffDocument(bytes(content)).page(0).image, page) == 0


def test_reads_both_photometrics(page: Image.Image):
    """White is 0 in nearly all faxes, black is 0 in some."""
    content = bytearray(tiff_of(page))
    before = TiffDocument(bytes(content)).page(0).image
    place = entries(content)[262] + 8
    struct.pack_into("<H", content, place, 1 - struct.unpack_from("<H", content, place)[0])
    after = TiffDocument(bytes(content)).page(0).image
    assert differing_pixels(before, ImageChops.invert(after.convert("L")).convert("1")) == 0


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("reversed_bits", [False, True])
def test_a_page_cut_off_is_kept_as_far_as_it_came(page: Image.Image, coding: str, *, reversed_bits: bool):
    """The last page's data end in the middle: its first lines are there as sent, the rest is white, and it is marked."""
    content = bytearray(tiff_of(page, coding=coding, t266=1))
    offset, size = strip_of(bytes(content))
    strip = bytes(content[offset : offset + size])
    if reversed_bits:
        strip = strip.translate(REVERSED_BITS)
        struct.pack_into("<H", content, entries(content)[266] + 8, 2)
    struct.pack_into(
        "<I", content, entries(content)[273] + 8, len(content)
    )  # the strip comes last, as in a file cut off
    document = TiffDocument(bytes(content) + strip[: size // 2])
    found = document.page(0)
    assert (found.whole, document.truncated) == (False, True)
    kept_rows = page.height // 3
    assert rows_alike(found.image, page, kept_rows)
    bottom = found.image.crop((0, page.height - 60, page.width, page.height)).convert("L")
    assert bottom.getextrema() == (255, 255)


def test_pages_whose_directory_is_lost_do_not_take_the_others_along(page: Image.Image):
    """A file that ends within its last page yields the pages before it, marked truncated."""
    content = tiff_of(page, page, page)
    document = read_document(content[: len(content) * 2 // 3], max_pages=10)
    assert (document.pages, document.marks) == (2, ("truncated",))
    whole = read_document(content, max_pages=10)
    assert (whole.pages, whole.marks) == (3, ())


@pytest.mark.parametrize("coding", ["g3-1d", "g3-2d"])
def test_bad_lines_cost_those_lines_alone(page: Image.Image, coding: str):
    """Bytes garbled on the line: Group 3 finds its way again at the next end-of-line code."""
    content = bytearray(tiff_of(page, coding=coding))
    offset, size = strip_of(bytes(content))
    for place in range(offset + size // 3, offset + size // 3 + 4):
        content[place] ^= 0x5A
    read = TiffDocument(bytes(content)).page(0).image
    bad_rows = sum(
        differing_pixels(read.crop((0, row, page.width, row + 1)), page.crop((0, row, page.width, row + 1))) > 0
        for row in range(page.height)
    )
    assert 0 < bad_rows < 30


@pytest.mark.parametrize("tag", [262, 266, 282, 283, 296])
def test_tags_may_be_missing(page: Image.Image, tag: int):
    """Photometric interpretation, fill order, resolutions and their unit are guessed as the fax standards have it."""
    white_is_0 = ImageChops.invert(page.convert("L")).convert("1")
    content = bytearray(tiff_of(white_is_0, t266=1))
    struct.pack_into("<H", content, entries(content)[262] + 8, 0)
    struct.pack_into("<H", content, entries(content)[tag], 60_000)  # a number nobody knows
    found = TiffDocument(bytes(content)).page(0)
    assert differing_pixels(found.image, page) == 0
    assert found.dpi == (204, 196)


@pytest.mark.parametrize(
    ("dpi", "size", "shape"),
    [
        ((204, 98), (1728, 1145), 297 / 215),
        ((204, 196), (1728, 2290), 297 / 215),
        ((408, 391), (3456, 4580), 297 / 215),
        ((80.3, 38.5), (1728, 1145), 297 / 215),  # lines a centimetre, without saying so
        ((80.3, 77), (1728, 2290), 297 / 215),
        (None, (1728, 1145), 297 / 215),
        (None, (1728, 2290), 297 / 215),
        ((1, 1), (1728, 2290), 297 / 215),
        ((300, 300), (2480, 3508), 297 / 210),
    ],
)
def test_pixels_are_made_square(dpi: tuple[float, float] | None, size: tuple[int, int], shape: float):
    """Standard, fine and superfine resolution show an A4 page in its true shape, with tags or without."""
    buffer = BytesIO()
    Image.new("1", size, 1).save(buffer, "TIFF", compression="group4", **({"dpi": dpi} if dpi else {}))
    drawn = square_pixels(TiffDocument(buffer.getvalue()).page(0))
    assert drawn.height / drawn.width == pytest.approx(shape, rel=0.02)


def test_real_group_4_file_is_read():
    """Libtiff's own test page."""
    document = read_document((DATA / "testfax4.tiff").read_bytes(), max_pages=5)
    assert (document.pages, document.marks) == (1, ())


def test_description_is_handed_on(page: Image.Image):
    """Fax servers write the caller's number there."""
    assert read_document(tiff_of(page, t270="+7 812 1234567\n88121234567"), max_pages=1).description.startswith(
        "+7 812"
    )


def test_a_file_without_one_readable_page_is_refused():
    """Nothing to show: quarantine."""
    content = tiff_of(Image.new("1", (1728, 2000), 1))
    with pytest.raises(DecodeError):
        read_document(content[:60], max_pages=5)


def test_a_chain_of_directories_that_never_ends_is_refused_or_ends():
    """The last directory points to the first: every page once."""
    content = bytearray(tiff_of(Image.new("1", (64, 64), 1), Image.new("1", (64, 64), 1)))
    first = struct.unpack_from("<I", content, 4)[0]
    second_link = first + 2 + 12 * struct.unpack_from("<H", content, first)[0]
    second = struct.unpack_from("<I", content, second_link)[0]
    third_link = second + 2 + 12 * struct.unpack_from("<H", content, second)[0]
    struct.pack_into("<I", content, third_link, first)
    assert read_document(bytes(content), max_pages=5).pages == 2
