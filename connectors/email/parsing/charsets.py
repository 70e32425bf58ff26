"""Bytes to text, believing the bytes before the label: charsets that lie, are unknown, or are not named at all."""

import codecs
import re
from collections import Counter
from functools import lru_cache

from connectors.email.parsing.double_encoding import undo_double_encoding

MIN_PLAUSIBLE = 0.45  # score per letter; running Russian text scores 0.6–0.9, its mis-decodings below 0.3
CLEAR_ADVANTAGE = 0.25  # by how much another charset must beat the declared one before the label is called a lie
SLIGHT_ADVANTAGE = 0.02  # of two charsets that differ in capitals alone
TWIN_ADVANTAGE = 0.1  # of the second of them where capitals say nothing for it
SURE = 0.6  # score at which Cyrillic is believed even under a label of another script
VERY_SURE = 0.8  # score at which what is hardly in use need not be tried
SENTENCE_BYTES = 40
SURE_BYTES = 16  # some words: two Chinese letters can look like a Russian one
RARE_ADVANTAGE = 0.15  # by how much a charset hardly in use must beat the common ones
MAX_CHARSET_CHARS = 40  # IANA allows no more
SAMPLE_BYTES = 600  # some ninety words tell charsets apart; keeps the guess cheap on long texts
MIN_WIDE_SHARE = 0.6  # of NUL and U+04xx high bytes at one parity: text of two bytes a letter without a mark

CYRILLIC_CHARSETS = ("cp1251", "mac_cyrillic", "koi8_r", "cp866", "iso8859_5")  # tried in this order; ties: the first
_RARE_CHARSETS = frozenset({"iso8859_5"})
_TWINS = {"cp1251", "mac_cyrillic"}  # the same bytes for small letters
_LAST_COMMON = "koi8_r"
_FIRST_TWIN, _LAST_TWIN = "cp1251", "mac_cyrillic"
_TWIN_CODECS = frozenset({"cp1251", "mac-cyrillic"})
_WESTERN = frozenset({"iso8859-1", "cp1252", "iso8859-15", "latin_1"})
_SINGLE_BYTE = _WESTERN | {codecs.lookup(name).name for name in (*CYRILLIC_CHARSETS, "koi8_u")}
_UNLABELLED = frozenset({"utf-8", "ascii"})
_WIDE = frozenset({"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"})
_EAST_ASIAN = frozenset({"gb18030", "cp932", "cp949", "big5hkscs", "euc_jp", "johab"})
_TEXT_CODECS_REFUSED = frozenset(
    {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"}
)
# Labels as mail uses them: the charset that is meant has more letters than the one named (WHATWG Encoding §4.2).
_MEANT = {
    "unicode-1-1-utf-7": "utf-7",
    "x-unicode-2-0-utf-7": "utf-7",
    "utf8mb4": "utf-8",
    "cp-1251": "cp1251",
    "win-1251": "cp1251",
    "windows1251": "cp1251",
    "ansi-1251": "cp1251",
    "x-cp1251": "cp1251",
    "koi8r": "koi8_r",
    "koi-8": "koi8_r",
    "koi8": "koi8_r",
    "koi8-ru": "koi8_u",
    "x-mac-cyrillic": "mac_cyrillic",
    "x-mac-ukrainian": "mac_cyrillic",
    "mac-cyrillic": "mac_cyrillic",
    "dos-866": "cp866",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "latin1": "cp1252",
    "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "tis-620": "cp874",
    "iso-8859-8-i": "iso8859_8",
    "iso-8859-8-e": "iso8859_8",
    "gb2312": "gb18030",
    "gb_2312-80": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "cp936": "gb18030",
    "euc-cn": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601-1989": "cp949",
    "ks_c_5601": "cp949",
    "ksc5601": "cp949",
    "windows-949": "cp949",
    "big5": "big5hkscs",
    "x-x-big5": "big5hkscs",
    "iso-2022-jp": "iso2022_jp_ext",
    "x-euc-jp": "euc_jp",
}

# The share of each letter in running Russian, relative to the commonest (National Corpus of the Russian Language).
_LETTER_WEIGHTS = dict(
    zip("оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё", (33 - rank for rank in range(33)), strict=True),
) | dict.fromkeys("іїєґўј", 8)
_TOP_WEIGHT = 24  # about the mean of running text: a score of 1
_WORD_BEYOND_ASCII = re.compile(r"[a-zA-Z]*[^\W\d_a-zA-Z][^\W\d_]*")
_GOOD_WORD = re.compile(r"(?<![^\W\d_])(?:[Ѐ-Я]?[а-ӿ]+|[Ѐ-Я]+)(?![^\W\d_])")  # small, capital, or titled Cyrillic
_MAC_CAPITAL = re.compile(rb"(?<![\x80-\xff])[\x80-\x9f][\xe0-\xff]{2}")
_CP1251_CAPITAL = re.compile(rb"(?<![\x80-\xff])[\xc0-\xde][\xe0-\xff]{2}")
_TITLED_WORD = re.compile(r"(?<![^\W\d_])[Ѐ-Я][а-ӿ]{3}")
_ODD_CHARACTERS = re.compile("[^\x00-\x7f\\w«»—–№…“”„’\u2022]")
_CYRILLIC_RUN = re.compile(r"[Ѐ-ӿ]{2}")
_CYRILLIC_LETTERS = re.compile(r"[Ѐ-ӿ]{4}")  # no Western word has four letters beyond ASCII in a row
_BEYOND_TWO_BYTES = re.compile("[\u0800-\uffff]")
_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_UNSAFE_IN_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")
_META_CHARSET = re.compile(rb"<meta\b[^>]{0,300}?\bcharset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)


@lru_cache(maxsize=256)
def codec_name(charset: str) -> str | None:
    """Return Python's name of the text codec that a MIME charset means, or None if there is none."""
    name = charset.strip().strip("\"'").strip().lower()
    if not name or len(name) > MAX_CHARSET_CHARS or not name.isascii():
        return None
    try:
        info = codecs.lookup(_MEANT.get(name, name))
    except (LookupError, ValueError):
        return None
    is_text = getattr(info, "_is_text_encoding", True)  # rot13, base64, zip… are codecs but not charsets
    return info.name if is_text and info.name not in _TEXT_CODECS_REFUSED else None


def decode_text(content: bytes, charset: str | None = None) -> str:
    """Return `content` as text. Never raises; what cannot be decoded becomes U+FFFD.

    The declared charset is used unless the bytes contradict it: a byte order mark wins, then valid multi-byte UTF-8
    over any other label, and Cyrillic under a wrong or missing label is recognised by how its words look.
    """
    codec = codec_name(charset) if charset else None
    is_easy = codec is None or codec in _UNLABELLED or codec in _SINGLE_BYTE
    if content.isascii() and is_easy and b"\0" not in content and b"\x04" not in content:
        return content.decode("ascii")
    wide = _wide_codec(content, codec)
    if wide:
        return content.decode(wide, "replace").removeprefix("\ufeff")
    if is_easy:
        try:
            return undo_double_encoding(content.decode("utf-8-sig"))
        except UnicodeDecodeError:
            return _decode_single_byte(content, codec if codec in _SINGLE_BYTE else None)
    return _decode_declared(content, codec or "utf-8")


def _wide_codec(content: bytes, codec: str | None) -> str | None:
    """Return the codec of text with two or four bytes a letter, by its mark or its zeros; None if it is none."""
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) and content[:4] != b"\xff\xfe\0\0":
        return "utf-16"
    if content[:4] in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return "utf-32"
    sample = content[:SAMPLE_BYTES]
    if len(content) < 4 or (b"\0" not in sample and b"\x04" not in sample):  # noqa: PLR2004 - two letters
        return None
    if codec in _WIDE and "32" in codec:
        return codec
    for parity, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        high = sample[parity::2]
        if high.count(0) + high.count(4) >= MIN_WIDE_SHARE * len(high) and sample[1 - parity :: 2].count(0) == 0:
            return name
    return codec if codec in _WIDE else None


def _decode_declared(content: bytes, codec: str) -> str:
    """Decode with a multi-byte or rare codec; UTF-8 and Cyrillic under its label are recognised."""
    try:
        text = content.decode(codec)
    except (UnicodeError, ValueError):
        text = None
    if text is None or codec in _EAST_ASIAN or codec in _WIDE:
        try:
            other = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            name, score = _best_cyrillic(sample := _sample(content))
            other = content.decode(name, "replace") if score >= SURE and len(sample) >= SURE_BYTES else ""
        is_sure = text is None or codec in _WIDE or _BEYOND_TWO_BYTES.search(other)
        if other and (is_sure or _cyrillic_score(other) >= MIN_PLAUSIBLE):
            return other
    return content.decode(codec, "replace") if text is None else text


def _decode_single_byte(content: bytes, codec: str | None) -> str:
    """Decode bytes that are no UTF-8: the declared codec, or the Cyrillic one that reads clearly better."""
    sample = _sample(content)
    declared = 0.0
    if codec is not None:
        text = sample.decode(codec, "replace")
        declared = _cyrillic_score(text)
        if declared >= SURE and codec not in _TWIN_CODECS and _TITLED_WORD.search(text):
            return content.decode(codec, "replace")
    best, score = _best_cyrillic(sample)
    if codec is not None:
        needed = SLIGHT_ADVANTAGE if {codec.replace("-", "_"), best} == _TWINS else CLEAR_ADVANTAGE
        is_lie = score >= MIN_PLAUSIBLE and score > declared + needed and _reads(sample, best, _CYRILLIC_LETTERS)
        return content.decode(best if is_lie else codec, "replace")
    damaged = content.decode("utf-8", "replace")
    if len(_CYRILLIC_RUN.findall(damaged)) * 2 > damaged.count("\ufffd"):
        return damaged  # good Cyrillic UTF-8 with a broken byte here and there
    if score >= MIN_PLAUSIBLE and _reads(sample, best, _CYRILLIC_RUN):
        return content.decode(best, "replace")
    if damaged.count("\ufffd") * 4 <= sum(1 for char in damaged if ord(char) > 127):  # noqa: PLR2004 - ASCII's end
        return damaged
    return content.decode("cp1252", "replace")


def _best_cyrillic(sample: bytes) -> tuple[str, float]:
    """Return the Cyrillic charset that reads best, and its score."""
    best, best_score, is_titled = "", -1.0, False
    for name in CYRILLIC_CHARSETS:
        text = sample.decode(name, "replace")
        score = _cyrillic_score(text) - (RARE_ADVANTAGE if name in _RARE_CHARSETS else 0)
        needed = best_score
        if name == _LAST_TWIN and best == _FIRST_TWIN and not _has_mac_capitals(sample):
            needed += TWIN_ADVANTAGE
        if score > needed:
            best, best_score = name, score
            is_titled = _TITLED_WORD.search(text) is not None
        if best_score >= SURE and is_titled and name == _LAST_TWIN:  # in the others such words are in odd case
            break
        if best_score >= VERY_SURE and name == _LAST_COMMON and len(sample) >= SENTENCE_BYTES:
            break
    return best or CYRILLIC_CHARSETS[0], best_score


def _has_mac_capitals(sample: bytes) -> bool:
    """Tell whether words begin more often with a capital of Mac Cyrillic than with one of windows-1251.

    Both have the same small letters; a capital of the one is a dash or a quotation mark in the other.
    """
    return len(_MAC_CAPITAL.findall(sample)) > len(_CP1251_CAPITAL.findall(sample))


def _reads(sample: bytes, codec: str, letters: re.Pattern[str]) -> bool:
    """Tell whether enough Cyrillic letters stand together: a lone French "à" is a Cyrillic "а" as well."""
    return letters.search(sample.decode(codec, "replace")) is not None


def _sample(content: bytes) -> bytes:
    """Return the words with 8-bit bytes, as far as SAMPLE_BYTES go: plain ASCII says nothing about the charset."""
    words: list[bytes] = []
    size = 0
    for word in content[: 16 * SAMPLE_BYTES].split():
        if not word.isascii():
            words.append(word)
            size += len(word) + 1
            if size > SAMPLE_BYTES:
                break
    return b" ".join(words)[:SAMPLE_BYTES]


def _cyrillic_score(text: str) -> float:
    """Return how much `text` looks like Russian: about 1 for running text, 0 or less for a wrong charset.

    Words in odd case (пРИВЕТ: koi8-r read as windows-1251) and words of mixed scripts count against it.
    """
    words = "".join(_WORD_BEYOND_ASCII.findall(text))
    if not words:
        return 0.0
    good = "".join(_GOOD_WORD.findall(text))
    counts = Counter(good.lower())
    total = sum(_LETTER_WEIGHTS.get(char, 0) * count for char, count in counts.items()) / _TOP_WEIGHT
    other = len(_ODD_CHARACTERS.findall(text))
    return (total - (len(words) - len(good)) - other) / len(words)


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
    match = _META_CHARSET.search(content, 0, 2048)
    return match[1].decode("ascii", "replace") if match else None
