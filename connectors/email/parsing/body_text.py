"""The text of a mail's parts: decoded, from plain text or HTML, with what stood in it taken out as files."""

from dataclasses import dataclass

import structlog

from connectors.email.parsing.charsets import clean_block, decode_text, html_charset
from connectors.email.parsing.flowed import unflow
from connectors.email.parsing.html_text import read_html_text
from connectors.email.parsing.html_view import DataImage, clean_html, take_out_images
from connectors.email.parsing.mime import MimePart
from connectors.email.parsing.uuencode import UuFile, take_out_files

logger = structlog.get_logger(__name__)

MAX_TEXT_BYTES = 1024 * 1024  # of one text part that is read: a long book; the rest is in the original, which is kept


@dataclass(frozen=True, kw_only=True, slots=True)
class BodyText:
    """What one text part says."""

    text: str  # all of it
    typed: str  # without what its mailer marks as a signature; quotes are still in it
    html: str | None = None  # cleaned, of an HTML part
    images: tuple[DataImage, ...] = ()  # that stood in the HTML
    files: tuple[UuFile, ...] = ()  # that stood in the text
    truncated: bool = False  # longer than MAX_TEXT_BYTES


def part_text(part: MimePart) -> str:
    r"""Return the text of a text part: decoded, `\n` line ends, HTML laid out as plain text."""
    return read_text(part, with_view=False).text


def read_text(part: MimePart, *, with_view: bool = True) -> BodyText:
    r"""Read a text part: decoded, `\n` line ends, HTML laid out as plain text. `with_view`: clean the HTML too."""
    return _read_html(part, with_view=with_view) if part.media_type == "text/html" else _read_plain(part)


def html_view(part: MimePart) -> tuple[str | None, tuple[DataImage, ...]]:
    """Return the cleaned HTML of a part whose text is read elsewhere, and the images that stood in it."""
    html, images, _ = _decode_html(part)
    return clean_html(html), images


def _read_plain(part: MimePart) -> BodyText:
    content, truncated = _cut(part.content)
    text = clean_block(decode_text(content, part.charset))
    if part.flowed:
        text = unflow(text, delsp=part.delsp)
    text, files = take_out_files(text)
    return BodyText(text=text, typed=text, files=files, truncated=truncated)


def _read_html(part: MimePart, *, with_view: bool) -> BodyText:
    html, images, truncated = _decode_html(part)
    read = read_html_text(html)
    view = clean_html(html) if with_view else None
    return BodyText(text=read.text, typed=read.typed, html=view, images=images, truncated=truncated)


def _decode_html(part: MimePart) -> tuple[str, tuple[DataImage, ...], bool]:
    content, images = take_out_images(part.content)
    content, truncated = _cut(content)
    return clean_block(decode_text(content, part.charset or html_charset(content))), images, truncated


def _cut(content: bytes) -> tuple[bytes, bool]:
    """Cut at the last line end within MAX_TEXT_BYTES, so that no letter is cut in two."""
    if len(content) <= MAX_TEXT_BYTES:
        return content, False
    logger.info("email.text_cut", size_bytes=len(content))
    head = content[:MAX_TEXT_BYTES]
    end = head.rfind(b"\n")
    return (head[: end + 1] if end > 0 else head), True
