"""Cleaned HTML for the agent's eyes: no scripts, no forms, no styles, nothing that is loaded from outside (nh3).

What a mail loads tells its sender that, when and where it was read. So only images of the mail itself stay, by `cid:`.
"""

import binascii
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

import nh3

from connectors.email.parsing.html_text import is_too_deep

MAX_VIEW_CHARS = 1_000_000  # larger documents have no view: the text and the original are there
MAX_DATA_IMAGES = 50

_TAGS = {
    "a", "abbr", "address", "article", "aside", "b", "bdi", "bdo", "big", "blockquote", "br", "caption", "center",
    "cite", "code", "col", "colgroup", "dd", "del", "details", "dfn", "div", "dl", "dt", "em", "figcaption",
    "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "i", "img", "ins", "kbd", "li", "main",
    "mark", "ol", "p", "pre", "q", "s", "samp", "section", "small", "span", "strike", "strong", "sub", "summary",
    "sup", "table", "tbody", "td", "tfoot", "th", "thead", "time", "tr", "tt", "u", "ul", "var", "wbr",
}  # fmt: skip
_ATTRIBUTES = {
    "*": {"dir", "lang"},
    "a": {"href", "title"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start", "type"},
    "td": {"colspan", "rowspan", "align", "valign"},
    "th": {"colspan", "rowspan", "align", "valign", "scope"},
}
_CONTENT_DROPPED = {
    "script",
    "style",
    "title",
    "template",
    "iframe",
    "object",
    "svg",
    "math",
    "select",
    "noembed",
    "noframes",
}
_SCHEMES = {"http", "https", "mailto", "tel", "cid"}
_IMAGE = re.compile(r'<img((?:\s+[a-z]+="[^"]*")*)\s*/?>')
_ALT = re.compile(r'\salt="([^"]*)"')
_DATA_IMAGE = re.compile(
    rb"data:(image/(?:png|jpe?g|gif|webp|bmp|x-icon))(?:;[\w=-]{1,40}){0,3};base64,([A-Za-z0-9+/=\s]{16,}+)",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataImage:
    """An image that stood in the HTML itself."""

    content_id: str  # made from its bytes, so the same twice
    media_type: str  # as declared
    content: bytes


def take_out_images(html: bytes) -> tuple[bytes, tuple[DataImage, ...]]:
    """Return the document with its `data:` images as `cid:` references, and the images: a pasted photo is a file."""
    if b"data:image/" not in html and b"DATA:IMAGE/" not in html.upper():
        return html, ()
    found: dict[str, DataImage] = {}

    def refer(match: re.Match[bytes]) -> bytes:
        try:
            content = binascii.a2b_base64(match[2])
        except binascii.Error:
            return match[0]
        content_id = f"{hashlib.sha256(content).hexdigest()[:32]}@data.invalid"
        if content_id not in found and len(found) >= MAX_DATA_IMAGES:
            return b""
        found[content_id] = DataImage(
            content_id=content_id, media_type=match[1].decode("ascii").lower(), content=content
        )
        return b"cid:" + content_id.encode("ascii")

    return _DATA_IMAGE.sub(refer, html), tuple(found.values())


def clean_html(html: str) -> str | None:
    """Return the document cleaned, as a fragment for a `<body>`; None if it is empty or beyond the limits.

    Links go to http, https, mailto and tel alone, with `rel="noopener noreferrer nofollow"`. Images that are not of the
    mail give way to their description.
    """
    if not html.strip() or len(html) > MAX_VIEW_CHARS or is_too_deep(html):
        return None
    try:
        cleaned = _cleaner().clean(html)
    except UnicodeEncodeError:  # a lone surrogate
        cleaned = _cleaner().clean(html.encode("utf-8", "replace").decode("utf-8"))
    if "<img" in cleaned:
        cleaned = _IMAGE.sub(_without_source, cleaned)
    return cleaned.strip() or None


@lru_cache(maxsize=1)
def _cleaner() -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=_TAGS,
        clean_content_tags=_CONTENT_DROPPED,
        attributes=_ATTRIBUTES,
        attribute_filter=_filter,
        link_rel="noopener noreferrer nofollow",
        url_schemes=_SCHEMES,
        url_relative="deny",
    )


def _filter(tag: str, attribute: str, value: str) -> str | None:
    if attribute == "src":
        return value if value[:4].lower() == "cid:" else None
    if attribute == "href" and tag == "a":
        return None if value[:4].lower() == "cid:" else value
    return value


def _without_source(match: re.Match[str]) -> str:
    """Keep an image of the mail; put the description in the place of another."""
    if ' src="' in match[1]:
        return match[0]
    described = _ALT.search(match[1])
    return f"[{described[1]}]" if described and described[1].strip() else ""
