"""Words of a page: read from Tesseract's table, put together, and judged."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appeals.envelope import AppealEnvelope, Attachment, BlobRef, Channel
from connectors.pages.records import PreparedPage
from connectors.recognition.reading import assemble_text, judge_page, total_confidence, unread_page
from connectors.recognition.tesseract import Word, parse_tsv
from connectors.recognition.worker import page_attachments

TSV = (
    "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n"
    "1\t1\t0\t0\t0\t0\t0\t0\t100\t100\t-1\t\n"
    "5\t1\t1\t1\t1\t1\t0\t0\t40\t20\t96.5\tПрошу\n"
    "5\t1\t1\t1\t1\t2\t40\t0\t40\t20\t91\tпринять\n"
    "5\t1\t1\t1\t2\t1\t0\t20\t40\t20\t80\tмеры.\n"
    "5\t1\t1\t2\t1\t1\t0\t60\t40\t20\t80\tПодпись\n"
    "5\t1\t1\t2\t1\t2\t0\t60\t40\t20\t80\t \n"
)


def page(ink: bytes, columns: int = 5) -> PreparedPage:
    return PreparedPage(png=b"", dpi=300, ink=ink, ink_columns=columns, ink_cell_px=20)


def word(text: str, confidence: float, left: int = 0, top: int = 0, width: int = 19) -> Word:
    return Word(text=text, confidence=confidence, line=(1, 1, 1), box=(left, top, width, 19))


def test_reads_tesseracts_table():
    """Words with their confidence from 0 to 1; rows that are no words, and empty ones, are passed over."""
    words = parse_tsv(TSV)
    assert [item.text for item in words] == ["Прошу", "принять", "меры.", "Подпись"]
    assert words[0] == Word(text="Прошу", confidence=0.965, line=(1, 1, 1), box=(0, 0, 40, 20))


@given(output=st.text(alphabet=st.sampled_from("5\t\n12.a-"), max_size=200))
def test_any_table_is_read(output: str):
    """Whatever the program prints, words within bounds come out."""
    assert all(0 <= item.confidence <= 1 for item in parse_tsv(output))


def test_lines_and_paragraphs_stay():
    """A line a line, an empty line between paragraphs; control characters go."""
    assert assemble_text(parse_tsv(TSV.replace("меры.", "ме\x00ры."))) == "Прошу принять\nмеры.\n\nПодпись"


def test_confidence_is_weighted_by_letters():
    """Long words count for more."""
    ink = bytes([0] * 5 + [200] * 5)
    words = [word("длинное", 1.0, top=20, width=99), word("я", 0.2, top=20, width=99)]
    assert judge_page(words, page(ink)).confidence == pytest.approx((7 * 1.0 + 0.2) / 8)


def test_ink_outside_sure_words_lowers_it():
    """A header line read surely, and a page of scrawls below: not to be trusted."""
    ink = bytes([200] * 5 + [200] * 45)
    found = judge_page([word("ОТ:+78121234567", 0.97, width=99)], page(ink))
    assert found.confidence < 0.3
    assert found.text == ""
    trusted = judge_page([word("ОТ:+78121234567", 0.97, width=99)], page(bytes([200] * 5 + [3] * 45)))
    assert trusted.confidence == pytest.approx(0.97)


def test_a_page_nobody_could_read_counts_in_full():
    """One unread page beside a good one halves the whole; empty pages count for nothing."""
    good = judge_page([word("Текст", 1.0, width=99)], page(bytes([255] * 5)))
    empty = judge_page([], page(bytes(50)))
    assert total_confidence([good, empty]) == pytest.approx(1.0)
    assert total_confidence([good, unread_page("broken")]) < 0.5
    assert total_confidence([empty]) == total_confidence([]) == 0.0


def attachment(name: str, media_type: str, *, inline: bool = False) -> Attachment:
    return Attachment(
        name=name,
        declared_media_type=media_type,
        detected_media_type=media_type,
        sha256="0" * 64,
        size_bytes=1,
        inline=inline,
    )


def test_our_own_viewing_copy_is_not_read_twice():
    """Of a TIFF and the PDF that we made of it the TIFF is read; a PDF of the sender's by that name is too."""
    tiff, copy = attachment("fax.tif", "image/tiff"), attachment("fax.tif.pdf", "application/pdf", inline=True)
    files = (tiff, copy, attachment("fax.tif.pdf", "application/pdf"), attachment("a.txt", "text/plain"))
    envelope = AppealEnvelope(
        channel=Channel.FAX,
        connector="fax",
        external_id="f",
        received_at=datetime.now(UTC),
        attachments=files,
        raw=BlobRef.of(b""),
    )
    assert page_attachments(envelope) == [files[0], files[2]]
