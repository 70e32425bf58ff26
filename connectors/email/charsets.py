"""Bytes to text, believing the bytes before the label: charsets that lie, are unknown, or are not named at all."""

import codecs
import re
from functools import lru_cache

from selectolax.lexbor import LexborHTMLParser

MIN_PLAUSIBLE = 0.45  # score per letter; running Russian text scores 0.6–0.9, its mis-decodings below 0.3
CLEAR_ADVANTAGE = 0.25  # by how much another charset must beat the declared one before the label is called a lie
MAX_CHARSET_CHARS = 40  # IANA allows no more
SAMPLE_BYTES = 4096  # enough letters to tell charsets apart; keeps the guess cheap on long texts

CYRILLIC_CHARSETS = ("cp1251", "koi8_r", "cp866", "mac_cyrillic")  # tried in this order; ties go to the first
_WESTERN = frozenset({"iso8859-1", "cp1252", "iso8859-15", "latin_1"})
_SINGLE_BYTE = _WESTERN | {codecs.lookup(name).name for name in (*CYRILLIC_CHARSETS, "iso8859-5", "koi8_u")}
_UNLABELLED = frozenset({"utf-8", "ascii"})
_TEXT_CODECS_REFUSED = frozenset(
    {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"}
)

# The share of each letter in running Russian, relative to the commonest (National Corpus of the Russian Language).
_LETTER_WEIGHTS = dict(
    zip("оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё", (33 - rank for rank in range(33)), strict=True),
) | dict.fromkeys("іїєґўј", 8)
_TOP_WEIGHT = 24  # about the mean of running text: a score of 1
_WORD = re.compile(r"[^\W\d_]+")
_CYRILLIC_WORD = re.compile(r"[Ѐ-ӿ]+")
_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_UNSAFE_IN_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


@lru_cache(maxsize=256)
def codec_name(charset: str) -> str | None:
    """Return Python's name of a text codec for a MIME charset, or None if there is none."""
    name = charset.strip().strip("\"'").lower()
    if not name or len(name) > MAX_CHARSET_CHARS or not name.isascii():
        return None
    try:
        info = codecs.lookup({"unicode-1-1-utf-7": "utf-7", "cp-1251": "cp1251", "win-1251": "cp1251"}.get(name, name))
    except (LookupError, ValueError):
        return None
    is_text = getattr(info, "_is_text_encoding", True)  # rot13, base64, zip… are codecs but not charsets
    return info.name if is_text and info.name not in _TEXT_CODECS_REFUSED else None


def decode_text(content: bytes, charset: str | None = None) -> str:
    """Return `content` as text. Never raises; what cannot be decoded becomes U+FFFD.

    The declared charset is used unless the bytes contradict it: valid multi-byte UTF-8 wins over a single-byte label,
    and Cyrillic under a wrong or missing label is recognised by how its words look.
    """
    codec = codec_name(charset) if charset else None
    if content.isascii() and (codec is None or codec in _UNLABELLED or codec in _SINGLE_BYTE):
        return content.decode("ascii")
    if codec is None or codec in _UNLABELLED or codec in _SINGLE_BYTE:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return _decode_single_byte(content, codec if codec in _SINGLE_BYTE else None)
    try:
        return content.decode(codec)
    except (UnicodeError, ValueError):
        return content.decode(codec, "replace")


def _decode_single_byte(content: bytes, codec: str | None) -> str:
    """Decode bytes that are no UTF-8: the declared codec, or the Cyrillic one that reads clearly better."""
    sample = _sample(content)
    scores = {name: _cyrillic_score(sample.decode(name, "replace")) for name in CYRILLIC_CHARSETS}
    best = max(scores, key=lambda name: scores[name])
    if codec is not None:
        declared = _cyrillic_score(sample.decode(codec, "replace"))
        is_lie = scores[best] >= MIN_PLAUSIBLE and scores[best] > declared + CLEAR_ADVANTAGE
        return content.decode(best if is_lie else codec, "replace")
    if scores[best] >= MIN_PLAUSIBLE:
        return content.decode(best, "replace")
    damaged = content.decode("utf-8", "replace")
    if damaged.count("\ufffd") * 4 <= sum(1 for char in damaged if ord(char) > 127):  # noqa: PLR2004 - ASCII's end
        return damaged  # mostly good UTF-8 with a broken byte here and there
    return content.decode("cp1252", "replace")


def _sample(content: bytes) -> bytes:
    """Return the words with 8-bit bytes, as far as SAMPLE_BYTES go: plain ASCII says nothing about the charset."""
    head = content[: 16 * SAMPLE_BYTES]
    return b" ".join(word for word in head.split() if not word.isascii())[:SAMPLE_BYTES]


def _cyrillic_score(text: str) -> float:
    """Return how much `text` looks like Russian: about 1 for running text, 0 or less for a wrong charset.

    Words in odd case (пРИВЕТ: koi8-r read as windows-1251) and words of mixed scripts count against it.
    """
    total = letters = 0.0
    for word in _WORD.findall(text):
        if word.isascii():
            continue
        letters += len(word)
        if _CYRILLIC_WORD.fullmatch(word) and (word.islower() or word.istitle() or word.isupper()):
            total += sum(_LETTER_WEIGHTS.get(char, 0) for char in word.lower()) / _TOP_WEIGHT
        else:
            total -= len(word)
    other = sum(1 for char in text if ord(char) > 127 and not char.isalpha() and char not in "«»—–№…“”„’ \u2022")  # noqa: PLR2004
    return (total - other) / letters if letters else 0.0


def clean_block(text: str) -> str:
    r"""Return text with `\n` line ends and nothing that PostgreSQL or JSON refuse: no NUL, no lone surrogate."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNSAFE.sub(_replace_unsafe, text)


def clean_line(text: str) -> str:
    """Return one line of text: control characters and line ends become single spaces, surrogates U+FFFD."""
    if text.isascii() and text.isprintable():
        return text.strip()
    return _UNSAFE_IN_LINE.sub(_replace_in_line, text).strip()


def _replace_unsafe(match: re.Match[str]) -> str:
    return "\ufffd" if ord(match.group()) >= 0xD800 else ""  # noqa: PLR2004 - the first surrogate


def _replace_in_line(match: re.Match[str]) -> str:
    return "\ufffd" if ord(match.group()[0]) >= 0xD800 else " "  # noqa: PLR2004 - the first surrogate


def html_charset(content: bytes) -> str | None:
    """Return the charset an HTML document names in its `<meta>`, if it does (HTML Standard §4.2.5.4)."""
    head = content[:2048]
    if b"charset" not in head.lower():
        return None
    for node in LexborHTMLParser(head.decode("latin-1")).css("meta"):
        declared = node.attributes.get("charset") or ""
        if not declared and "charset=" in (node.attributes.get("content") or "").lower():
            declared = (node.attributes["content"] or "").lower().partition("charset=")[2].split(";")[0]
        if declared:
            return declared.strip()
    return None
