"""How many SMS a text takes: GSM 03.38 (3GPP TS 23.038) or UCS-2, alone or concatenated (3GPP TS 23.040 §9.2.3.24)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

GSM7_SINGLE, GSM7_CONCATENATED = 160, 153  # septets; a concatenation header takes seven
UCS2_SINGLE, UCS2_CONCATENATED = 70, 67  # UTF-16 code units; it takes three
MAX_COSTLY = 20  # letters named; more are no hint any more

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")  # an escape before each: two septets

_PLAIN = str.maketrans(  # typographic signs that force UCS-2, and what says the same in GSM 03.38
    {
        **dict.fromkeys("«»„“”‟″〝〞", '"'),
        **dict.fromkeys("‘’‚‛′`´‹›", "'"),
        **dict.fromkeys("‐‑‒–—―−⁃", "-"),
        **dict.fromkeys("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000\t", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
        **dict.fromkeys("•·‣", "*"),
        "…": "...",
        "№": "No.",
        "×": "x",
        "™": "(TM)",
        "©": "(c)",
        "®": "(R)",
        "\u2028": "\n",
        "\u2029": "\n",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Segments:
    """What one text takes."""

    encoding: Literal["gsm7", "ucs2"]
    units: int  # septets or UTF-16 code units
    units_per_part: int
    parts: int
    costly: tuple[str, ...]  # the letters that force UCS-2, each once, at most MAX_COSTLY


def measure(text: str) -> Segments:
    """Return what `text` takes, at least one part. No escape pair and no surrogate pair is cut in two."""
    costly = tuple(dict.fromkeys(letter for letter in text if letter not in _BASIC and letter not in _EXTENSION))
    if not costly:
        return _measured("gsm7", [2 if letter in _EXTENSION else 1 for letter in text], costly=())
    return _measured("ucs2", [2 if letter > "\uffff" else 1 for letter in text], costly=costly[:MAX_COSTLY])


def plainer(text: str) -> str:
    """Return `text` with typographic signs written plainly, if that makes it fit GSM 03.38; else `text` as it is."""
    plain = text.translate(_PLAIN)
    return plain if all(letter in _BASIC or letter in _EXTENSION for letter in plain) else text


def _measured(encoding: Literal["gsm7", "ucs2"], widths: list[int], *, costly: tuple[str, ...]) -> Segments:
    single, concatenated = (GSM7_SINGLE, GSM7_CONCATENATED) if encoding == "gsm7" else (UCS2_SINGLE, UCS2_CONCATENATED)
    units = sum(widths)
    parts = 1 if units <= single else _packed(widths, concatenated)
    return Segments(
        encoding=encoding,
        units=units,
        units_per_part=single if parts == 1 else concatenated,
        parts=parts,
        costly=costly,
    )


def _packed(widths: Iterable[int], room: int) -> int:
    parts, used = 1, 0
    for width in widths:
        if used + width > room:
            parts, used = parts + 1, 0
        used += width
    return parts
