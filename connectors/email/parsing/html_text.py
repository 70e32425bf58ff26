"""HTML to plain text as a reader would see it: lists, tables, quotes with ">", what is nobody's text left out.

Walks the tree of selectolax (Lexbor), which reads HTML as browsers do. inscriptis, which we had before, takes five to
ten times as long, and knows nothing of quotes: here they become "> " lines, so that one set of rules cleans both kinds
of mail.
"""

import re
from dataclasses import dataclass
from html import unescape

from selectolax.lexbor import LexborHTMLParser, LexborNode

from connectors.email.parsing.charsets import clean_block

MAX_LAYOUT_CHARS = 1_000_000  # larger documents are read without layout
MAX_DEPTH = 400  # browsers stop at 512; every parser takes time by the square of it
CHECK_DEPTH_FROM_TAGS = 400
MAX_LINK_CHARS = 200  # of an address shown beside its text: longer ones are counters, not something to read

_UNSEEN = frozenset(
    {
        "script",
        "style",
        "head",
        "title",
        "template",
        "object",
        "iframe",
        "svg",
        "math",
        "select",
        "meta",
        "link",
        "_comment",
    }
)
_LISTS = frozenset({"ul", "ol"})
_PARAGRAPHS = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre", "form"}
)
_BLOCKS = _PARAGRAPHS | frozenset(
    {
        "div", "li", "tr", "section", "article", "header", "footer", "main", "nav", "aside", "address", "center", "dt",
        "dd", "figure", "figcaption", "fieldset", "legend", "details", "summary", "caption", "thead", "tbody", "tfoot",
    }
)  # fmt: skip
_NEVER_NESTED = frozenset(
    {
        "p", "li", "td", "th", "tr", "dt", "dd", "option", "br", "hr", "img", "input", "meta", "link", "col",
        "area", "base", "wbr", "source",
    }
)  # fmt: skip
_SIGNATURES = re.compile(
    r"\b(?:gmail_signature|moz-signature|protonmail_signature_block|ms-outlook-mobile-signature|signature)\b",
    re.IGNORECASE,
)
_YAHOO_QUOTE = re.compile(r"\byahoo_quoted\b")
_NO_BORDER = re.compile(r"border(?:-left)?\s*:\s*(?:none|0)", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\n\r\f]+")
_BLANK_LINES = re.compile(r"\n{3,}")
_TAG_NAME = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
# For documents beyond the limits: stripped by pattern, no layout, but linear time.
_UNSEEN_SOURCE = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|head|template|noscript)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL
)
_BLOCK_SOURCE = re.compile(r"<(?:br|/?p|/?div|/?tr|/?li|/?h[1-6]|/?table)\b[^<>]*>", re.IGNORECASE)
_TAG_SOURCE = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, kw_only=True, slots=True)
class HtmlText:
    """The text of an HTML document."""

    text: str  # all of it, quotes marked with ">"
    typed: str  # without what its mailer marks as a signature


def html_text(html: str) -> str:
    """Return an HTML document as plain text. Total, and linear in its length."""
    return read_html_text(html).text


def read_html_text(html: str) -> HtmlText:
    """Return an HTML document as plain text. Total, and linear in its length."""
    if not html.strip():
        return HtmlText(text="", typed="")
    if len(html) > MAX_LAYOUT_CHARS or is_too_deep(html):
        plain = _stripped(html)
        return HtmlText(text=plain, typed=plain)
    layout = _Layout()
    root = LexborHTMLParser(html.encode("utf-8", "replace")).body
    if root is not None:
        layout.walk(root)
    return layout.result()


def is_too_deep(html: str) -> bool:
    """Tell whether the document is nested beyond reason, as far as tags can tell without a parser."""
    if html.count("<") < CHECK_DEPTH_FROM_TAGS:
        return False
    depth = 0
    for match in _TAG_NAME.finditer(html):
        if match[2].lower() not in _NEVER_NESTED:
            depth += -1 if match[1] else 1
            if depth > MAX_DEPTH:
                return True
    return False


def _stripped(html: str) -> str:
    text = unescape(_TAG_SOURCE.sub("", _BLOCK_SOURCE.sub("\n", _UNSEEN_SOURCE.sub("", html))))
    return _BLANK_LINES.sub("\n\n", "\n".join(line.rstrip() for line in clean_block(text).split("\n"))).strip()


class _Layout:
    """Writes lines while a tree is walked."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, bool]] = []  # text, and whether it is a signature
        self._line: list[str] = []
        self._is_blank = True  # nothing but spaces is in the line yet
        self._wants_gap = False  # a blank line is due before the next text
        self._gap_quotes = 0  # depth of quoting where the blank line became due
        self._quotes = self._pre = self._signatures = 0
        self._lists: list[int] = []  # the next number of each open list; 0 for bullets
        self._mark = ""  # of a list item, due before its text

    def walk(self, root: LexborNode) -> None:
        """Visit all below `root` in order, without recursion: documents may be deep."""
        node = root.child
        open_nodes: list[tuple[LexborNode, str]] = []
        while node is not None:
            tag = node.tag or ""
            following = None
            if tag == "-text":
                self._text(node.text_content or "")
            elif tag not in _UNSEEN:
                leaving = self._enter(node, tag)
                following = node.child
                if following is not None:
                    open_nodes.append((node, leaving))
                    node = following
                    continue
                self._leave(node, leaving)
            following = node.next
            while following is None and open_nodes:
                node, leaving = open_nodes.pop()
                self._leave(node, leaving)
                following = node.next
            node = following

    def result(self) -> HtmlText:
        self._end_line()
        text = clean_block("\n".join(line for line, _ in self._lines)).strip("\n")
        if not any(is_signature for _, is_signature in self._lines):
            return HtmlText(text=text, typed=text)
        typed = "\n".join(line for line, is_signature in self._lines if not is_signature)
        return HtmlText(text=text, typed=clean_block(typed).strip("\n"))

    # ---- tags
    def _enter(self, node: LexborNode, tag: str) -> str:
        """Begin an element; returns what `_leave` must know of it."""
        if tag == "br":
            self._end_line(even_if_blank=True)
            return ""
        if tag in {"td", "th"}:
            if not self._is_blank:
                self._line.append(" | ")
            return ""
        if tag in _BLOCKS:
            self._block(gap=tag in _PARAGRAPHS and not (tag in _LISTS and self._lists))
        elif tag == "hr":
            self._block(gap=False)
            self._text("-" * 10)
            self._block(gap=False)
            return ""
        return tag + self._marks(node, tag)

    def _marks(self, node: LexborNode, tag: str) -> str:
        """Note what an element changes for all in it; returns a letter for each."""
        if tag == "blockquote":
            if not _NO_BORDER.search(node.attributes.get("style") or ""):
                self._quotes += 1
                return " q"
        elif tag in {"div", "span"}:
            return self._container_marks(node)
        elif tag in _LISTS:
            self._lists.append(1 if tag == "ol" else 0)
        elif tag == "li":
            self._mark = self._list_mark()
        elif tag == "pre":
            self._pre += 1
        return ""

    def _container_marks(self, node: LexborNode) -> str:
        attributes = node.attributes
        if not attributes:
            return ""
        named = f"{attributes.get('class') or ''} {attributes.get('id') or ''}"
        if len(named) > 1 and _YAHOO_QUOTE.search(named):
            self._end_line()
            self._quotes += 1
            return " q"
        if "data-signature-widget" in attributes or (len(named) > 1 and _SIGNATURES.search(named)):
            self._end_line()
            self._signatures += 1
            return " s"
        return ""

    def _list_mark(self) -> str:
        if not self._lists:
            return "* "
        number = self._lists[-1]
        if number:
            self._lists[-1] += 1
        return "  " * (len(self._lists) - 1) + (f"{number}. " if number else "* ")

    def _leave(self, node: LexborNode, leaving: str) -> None:
        if not leaving:
            return
        tag, _, mark = leaving.partition(" ")
        if tag == "a":
            self._link(node)
        elif tag in _BLOCKS or mark:
            self._block(gap=tag in _PARAGRAPHS and not (tag in _LISTS and len(self._lists) > 1))
        if mark == "q":
            self._quotes -= 1
        elif mark == "s":
            self._signatures -= 1
        elif tag in _LISTS and self._lists:
            self._lists.pop()
        elif tag == "pre":
            self._pre -= 1
        elif tag == "li":
            self._mark = ""

    def _link(self, node: LexborNode) -> None:
        href = (node.attributes.get("href") or "").strip()
        if not href.lower().startswith(("http://", "https://")) or len(href) > MAX_LINK_CHARS:
            return
        shown = node.text(deep=True).strip()
        bare = href.partition("://")[2].removeprefix("www.").rstrip("/")
        if shown and bare not in shown:
            self._text(f" <{href}>")

    # ---- text
    def _text(self, text: str) -> None:
        if self._pre:
            for index, line in enumerate(text.split("\n")):
                if index:
                    self._end_line(even_if_blank=True)
                if line:
                    self._begin(line)
            return
        if not text.isprintable() or "  " in text:
            text = _SPACES.sub(" ", text)
        if self._is_blank:
            text = text.lstrip(" ")
        elif self._line[-1].endswith(" "):
            text = text.removeprefix(" ")
        if text:
            self._begin(text)

    def _begin(self, text: str) -> None:
        if self._is_blank:
            if self._wants_gap and self._lines and self._lines[-1][0].strip("> "):
                self._write("", quotes=min(self._gap_quotes, self._quotes))
            self._wants_gap = False
            if self._mark:
                self._line.append(self._mark)
                self._mark = ""
            self._is_blank = False
        self._line.append(text)

    def _block(self, *, gap: bool) -> None:
        self._end_line()
        if gap:
            self._wants_gap = True
            self._gap_quotes = self._quotes

    def _end_line(self, *, even_if_blank: bool = False) -> None:
        if not self._is_blank:
            self._write("".join(self._line))
        elif even_if_blank and not self._wants_gap:
            self._write("")
        elif even_if_blank:
            self._write("")
            self._wants_gap = False
        self._line = []
        self._is_blank = True

    def _write(self, line: str, *, quotes: int | None = None) -> None:
        line = line.replace("\u00a0", " ").rstrip()
        if not line and len(self._lines) > 1 and not any(text.strip("> ") for text, _ in self._lines[-2:]):
            return  # two blank lines say no more than one
        depth = self._quotes if quotes is None else quotes
        if depth:
            line = f"{'>' * depth} {line}" if line else ">" * depth
        self._lines.append((line, self._signatures > 0))
