"""What the writer typed: quoted answers, their headings and signatures set aside, in Russian, English and others.

Our own, since the libraries for it have no Russian signatures, or patterns that take seconds on a hostile text.
"""

import re

MAX_HEADER_LINES = 3  # "On … wrote:" is folded over so many lines at most
MAX_SIGNATURE_LINES = 8  # lines after "С уважением," that may still be a signature
_BLANK_LINES = re.compile(r"\n[ \t\u00a0]*\n(?:[ \t\u00a0]*\n)+")

_SEPARATOR = re.compile(
    r"\s*-{2,}\s*(?:original message|исходное сообщение|ursprüngliche nachricht|message d'origine|"
    r"oprindelig (?:meddelelse|besked)|mensaje original|messaggio originale)\s*-{2,}\s*",
    re.IGNORECASE,
)
_OUTLOOK_FROM = re.compile(r"\s*[*_]*(?:from|от|von|de|da|van|fra)\s?[*_]*:[*_]*\s?\S", re.IGNORECASE)
_OUTLOOK_NEXT = re.compile(
    r"\s*[*_]*(?:sent|date|to|subject|cc|отправлено|дата|кому|тема|копия|gesendet|datum|an|betreff|envoyé|à|objet|"
    r"verzonden|aan|onderwerp|inviato|a|oggetto|enviado|para|asunto|dato|til|emne)"
    r"\s?[*_]*:",
    re.IGNORECASE,
)
_WROTE = re.compile(
    r"(?:\bwrote|писала?(?:\(а\))?|написала?(?:\(а\))?|пишет|schrieb\b.*|a écrit|escribió|ha scritto|schreef|skrev\b.*|"
    r"kirjoitti|escreveu|napisał(?:\(a\))?)\s*:\s*$",
    re.IGNORECASE,
)
_WROTE_START = re.compile(
    r"\s*(?:on|am|le|el|il|op|den|em|dnia|w dniu|в|\d{1,4}[./-]\d{1,2}[./-]\d{2,4}|\d{1,2}\s+\w+\.?\s+\d{4}|"
    r"(?:пн|вт|ср|чт|пт|сб|вс)\.?,?|понедельник|вторник|среда|четверг|пятница|суббота|воскресенье|.{0,80}<\S+@\S+>)"
    r"(?:\b|\s|,)",
    re.IGNORECASE,
)
# Gmail, Yandex and Mail.ru in Russian: "ср, 30 апр. 2025 г. в 15:19, Иван <ivan@example.org>:"
_MOMENT = re.compile(r"\b(?:19|20)\d\d\b|\b\d{1,2}[:.]\d\d\b")
_ADDRESSED = re.compile(r"<[^<>\s]+@[^<>\s]+>\s*:\s*$")
_FORWARDED = re.compile(
    r"\s*-*\s*(?:(?:begin )?forwarded message|пересылаемое сообщение|пересланное сообщение|"
    r"начало переадресованного|weitergeleitete nachricht|message transféré)\b.*",
    re.IGNORECASE,
)
_SIGN_OFF = re.compile(
    r"\s*(?:с уважением|с наилучшими пожеланиями|всего доброго|всего наилучшего|best regards|kind regards|"
    r"best wishes|regards|sincerely|yours (?:sincerely|faithfully|truly))\b[\s,.!]*(?:\S+(?:\s+\S+){0,3})?\s*",
    re.IGNORECASE,
)
_SENT_FROM = re.compile(
    r"\s*(?:sent from (?:my )?\w|get outlook for|отправлено (?:с |из )|послано с |"
    r"(?:--\s*)?(?:отправлено|sent) (?:из|from) (?:мобильной|mobile) ).{0,80}",
    re.IGNORECASE,
)
# If none of these is in the lower-case text, there is nothing to set aside: substring search is 50 times as fast as
# one pattern of all of them, and most first letters are done with it.
# fmt: off
_TRIGGERS = (
    ">", "--", ":\n", "from:", "from*", "from :", "von:", "van:", "fra:", "da:", "de:", "de :", "\nот:", "\nот :",
    "*от:", "от*", "regards", "wishes", "sincerely", "faithfully", "yours", "sent from", "outlook for", "уважением",
    "пожеланиями", "доброго", "наилучшего", "отправлено", "послано",
)
# fmt: on


def clean_text(text: str) -> str:
    """Return what the writer typed: without quoted answers, their headings and the signature.

    Linear in the text's length. Text that would be left empty (a bare forward) is returned whole.
    """
    lower = text.lower()
    if not any(trigger in lower for trigger in _TRIGGERS):
        return text.strip()
    kept = _without_signature(_without_quotes(text.split("\n")))
    return _BLANK_LINES.sub("\n\n", "\n".join(kept)).strip() or text.strip()


def _without_quotes(lines: list[str]) -> list[str]:
    """Drop quoted lines and their headings; text between quotes stays, text under an unquoted original does not."""
    kept: list[str] = []
    index = 0
    while index < len(lines):
        line = lines[index]
        if line.lstrip().startswith(">"):
            index += 1
            continue
        if _FORWARDED.match(line):  # what is forwarded is what the writer wants to show
            return [*kept, *lines[index:]]
        begins_original = _SEPARATOR.fullmatch(line) or _is_outlook_heading(lines, index)
        if begins_original and any(earlier.strip() for earlier in kept):
            break
        length = _heading_length(lines, index)
        if length:
            following = next((later for later in lines[index + length :] if later.strip()), "")
            if not following.lstrip().startswith(">"):
                break
            index += length
            continue
        kept.append(line)
        index += 1
    return kept


def _is_outlook_heading(lines: list[str], index: int) -> bool:
    """Tell whether "From: …" begins here with two other fields below it: one alone may be part of a formal letter."""
    if not _OUTLOOK_FROM.match(lines[index]):
        return False
    return sum(1 for line in lines[index + 1 : index + 5] if _OUTLOOK_NEXT.match(line)) > 1


def _heading_length(lines: list[str], index: int) -> int:
    """Return over how many lines an "On … wrote:" goes that begins here; 0 if none does."""
    has_start = _WROTE_START.match(lines[index]) is not None
    if not has_start and _MOMENT.search(lines[index]) is None:
        return 0
    heading = ""
    for length in range(1, MAX_HEADER_LINES + 1):
        part = lines[index + length - 1] if index + length <= len(lines) else ""
        if not part.strip():
            return 0
        heading = f"{heading} {part}"[:1000]
        if (has_start and _WROTE.search(heading)) or (_ADDRESSED.search(heading) and _MOMENT.search(heading)):
            return length
    return 0


def _without_signature(lines: list[str]) -> list[str]:
    """Cut at the signature mark (RFC 3676 §4.3), or at a sign-off with few short lines after it."""
    for index, line in enumerate(lines):
        if line.rstrip("\r") in {"-- ", "--"} and any(earlier.strip() for earlier in lines[:index]):
            return _without_signature(lines[:index])
    filled = [index for index, line in enumerate(lines) if line.strip()]
    for index in filled[-MAX_SIGNATURE_LINES:]:
        if index == filled[0]:
            continue
        if _SIGN_OFF.fullmatch(lines[index]) or _SENT_FROM.fullmatch(lines[index]):
            return lines[:index]
    return lines
