"""The full text of a mail: decoded, from plain text or HTML, format=flowed joined."""

import re
from html import unescape

import structlog
from inscriptis import get_text  # type: ignore[import-untyped]
from inscriptis.css_profiles import CSS_PROFILES  # type: ignore[import-untyped]
from inscriptis.model.config import ParserConfig  # type: ignore[import-untyped]

from connectors.email.charsets import clean_block, decode_text, html_charset
from connectors.email.mime import MimePart

logger = structlog.get_logger(__name__)

MAX_TEXT_BYTES = 1024 * 1024  # of one text part that is read: a long book; the rest is in the original, which is kept
MAX_LAYOUT_HTML_CHARS = 200_000  # larger documents are read without layout: it would hold the thread for seconds
MAX_LAYOUT_TAGS = 5_000  # every HTML parser we know takes time by the square of the nesting depth
# Larger documents are stripped by pattern: no layout, but linear time.
_UNSEEN = re.compile(r"<(script|style|head|template|noscript)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_BLOCK = re.compile(r"<(?:br|/?p|/?div|/?tr|/?li|/?h[1-6]|/?table)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_BLANK_LINES = re.compile(r"\n[ \t\u00a0]*\n(?:[ \t\u00a0]*\n)+")


def part_text(part: MimePart) -> str:
    r"""Return the text of a text part: decoded, `\n` line ends, HTML laid out as plain text."""
    content = part.content
    if len(content) > MAX_TEXT_BYTES:
        logger.info("email.text_cut", size_bytes=len(content))
        content = _cut(content)
    if part.media_type == "text/html":
        charset = part.charset or html_charset(content)
        return html_text(clean_block(decode_text(content, charset)))
    text = clean_block(decode_text(content, part.charset))
    return unflow(text, delsp=part.delsp) if part.flowed else text


def _cut(content: bytes) -> bytes:
    """Cut at the last line end within MAX_TEXT_BYTES, so that no letter is cut in two."""
    head = content[:MAX_TEXT_BYTES]
    end = head.rfind(b"\n")
    return head[: end + 1] if end > 0 else head


def html_text(html: str) -> str:
    """Return an HTML document as plain text; lists and tables keep their layout. Scripts and styles are left out."""
    if not html.strip():
        return ""
    plain = _squeeze(unescape(_TAG.sub("", _BLOCK.sub("\n", _UNSEEN.sub("", html)))))
    if len(html) > MAX_LAYOUT_HTML_CHARS or html.count("<") > MAX_LAYOUT_TAGS:
        return plain
    try:
        laid_out = _squeeze(get_text(html, ParserConfig(css=CSS_PROFILES["relaxed"])))
    except (RecursionError, ValueError, AttributeError, TypeError, IndexError, AssertionError) as error:
        logger.info("email.html_layout_failed", error=type(error).__name__)
        return plain
    # libxml2 drops what is nested deeper than 256 levels, without a word.
    return laid_out if 2 * _weight(laid_out) >= _weight(plain) else plain


def _weight(text: str) -> int:
    return sum(len(word) for word in text.split())


def _squeeze(text: str) -> str:
    return _BLANK_LINES.sub("\n\n", clean_block(text)).strip()


def unflow(text: str, *, delsp: bool) -> str:
    """Join the lines of format=flowed text (RFC 3676 §4); quoted lines keep their depth."""
    joined: list[str] = []
    open_depth: int | None = None  # quote depth of a paragraph that goes on
    for line in text.split("\n"):
        depth = len(line) - len(line.lstrip(">"))
        content = line[depth:].removeprefix(" ")
        flows = content.endswith(" ") and content != "-- "
        if flows and delsp:
            content = content[:-1]
        if open_depth == depth and content != "-- ":
            joined[-1] += content
        else:
            joined.append(f"{'>' * depth} {content}" if depth else content)
        open_depth = depth if flows else None
    return "\n".join(joined)
