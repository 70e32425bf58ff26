"""Headings that mailers put over what they quote: "On … wrote:", "От: … Кому: … Тема: …", "Original Message".

By what all of them have, not by one pattern a mailer: a sender's address or a time of day, and a colon or a verb at the
end. So a mailer in a language nobody thought of is mostly known as well.
"""

import re
from collections.abc import Sequence

MAX_HEADING_LINES = 4  # "On … wrote:" is folded over so many lines at most
MAX_HEADING_CHARS = 600
MAX_FIELD_LINES = 8  # lines in which the fields of an Outlook heading are looked for

_RULE = r"[-_=*—–]{2,}"
_SEPARATOR = re.compile(
    rf"\s*{_RULE}\s*(?:original (?:message|appointment)|(?:исходное|первоначальное|оригинальное) (?:сообщение|письмо)|"
    r"ursprüngliche nachricht|message d['’]origine|oprindelig (?:meddelelse|besked)|originalmeddelande|"
    r"mensaje original|mensagem original|messaggio originale|oorspronkelijk bericht|oryginalna wiadomość|"
    rf"alkuperäinen viesti|reply message|ответное сообщение|початкове повідомлення)\s*{_RULE}\s*",
    re.IGNORECASE,
)
_FORWARD_MARK = re.compile(
    rf"\s*(?:{_RULE}\s*)?(?:(?:begin )?forwarded (?:message|by)|пересылаемое (?:сообщение|письмо)|"
    r"(?:начало )?(?:переадресованного|пересылаемого|пересланного) (?:сообщения|письма)|"
    r"пересланное (?:сообщение|письмо)|переслано|"
    r"weitergeleitete nachricht|message transf[ée]r[ée]|mensaje reenviado|messaggio inoltrato)"
    rf"(?:\s*:?\s*(?:{_RULE}.*)?|\s+(?:от|from|by)\b.*)",
    re.IGNORECASE,
)
_FORWARD_HINT = re.compile(r"forward|пере|weiter|transf|reenv|inolt", re.IGNORECASE)
_RULE_LINE = re.compile(r"\s*[-_=*—–]{4,}\s*")
_FROM = re.compile(
    r"\s*[*_]*(?:from|от(?: кого)?|від|von|de|da|van|fra|från|od|feladó|lähettäjä|kimden)[\s\u00a0]?[*_]*[\s\u00a0]?:",
    re.IGNORECASE,
)
_NEXT_FIELD = re.compile(
    r"\s*[*_]*(?:sent|date|to|subject|cc|reply-to|importance|отправлено|дата(?: отправки)?|кому|тема|копия|важность|"
    r"надіслано|gesendet|datum|an|betreff|envoyé(?: le)?|date|à|copie à|objet|sujet|verzonden|aan|onderwerp|inviato|"
    r"a|oggetto|enviad[oa](?: (?:em|el))?|para|asunto|assunto|dato|sendt|skickat|til|till|"
    r"emne|ämne|do|data|temat|wysłano)"
    r"[\s\u00a0]?[*_]*[\s\u00a0]?:",
    re.IGNORECASE,
)
_MESSAGE_OF = re.compile(r"\s*(?:message du|nachricht vom)\s?:.*\d", re.IGNORECASE)  # Orange, La Poste
_VERB_END = re.compile(
    r"(?:\bwrot?es?|\bwrites|писала?(?:\(а\))?|написала?(?:\(а\))?|пишет|писали|сообщила?|schrieb(?: \S.*)?|a écrit|"
    r"escribió|ha scritto|schreef(?: \S.*)?|skrev(?: \S.*)?|kirjoitti|escreveu|napisał(?:\(a\)|a)?|írta|yazdı|написав|"
    r"пише)[\s\u00a0]*(?::|-{2,})?\s*$",
    re.IGNORECASE,
)
_COLON_END = re.compile(r"(?::|\bwrote\s*-{2,})\s*$", re.IGNORECASE)
_START = re.compile(
    r"\s*(?:-{2,}\s*)?(?:on|am|le|el|il|op|den|em|in data|dnia|w dniu|в|\d{1,4}[./-]\d{1,2}[./-]\d{2,4}|"
    r"\d{1,2}\s+\w+\.?\s+\d{4}|\d{1,2}:\d\d|"
    r"(?:пн|вт|ср|чт|пт|сб|вс|mon|tue|wed|thu|fri|sat|sun|man|tir|ons|tor|fre|lør|søn|ma|ti|ke|to|pe|la|su)\b\.?,?|"
    r"понедельник|вторник|среда|четверг|пятница|суббота|воскресенье|"
    r"monday|tuesday|wednesday|thursday|friday|saturday|sunday)(?:\b|\s|,)",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(?:<|&lt;|\(|\[)?\s*(?:mailto:)?[^\s<>()\[\]@]{1,64}@[^\s<>()\[\]@]{1,255}")
_DATE = re.compile(
    r"\b(?:19|20)\d\d\b|\b\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b|"
    r"\b\d{1,2}\.? (?:янв|фев|мар|апр|ма[йя]|июн|июл|авг|сен|окт|ноя|дек|"
    r"jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)",
    re.IGNORECASE,
)
_TIME = re.compile(r"\b\d{1,2}[:.]\d\d\b")
_HINT = re.compile(r"[\d@]|:\s*$")  # a quick look: most lines are no headings
_YOU_WROTE = re.compile(r"\b(?:you wrote|вы (?:писали|написали)|sie schrieben|vous avez écrit)\s*:?\s*$", re.IGNORECASE)


def is_forward_mark(line: str) -> bool:
    """Tell whether what stands below is a forwarded mail."""
    return _FORWARD_HINT.search(line) is not None and _FORWARD_MARK.fullmatch(line) is not None


def is_rule(line: str) -> bool:
    """Tell whether a line is nothing but a drawn rule."""
    return _RULE_LINE.fullmatch(line) is not None


def begins_original(lines: Sequence[str], index: int) -> bool:
    """Tell whether a quoted mail begins here and goes on to the end: a separator, or fields as Outlook writes them."""
    line = lines[index]
    if ":" not in line and "-" not in line and "_" not in line and "=" not in line and "*" not in line:
        return False
    if _SEPARATOR.fullmatch(line):
        return True
    if is_rule(line):
        following = _next_filled(lines, index + 1)
        return following is not None and (
            _MESSAGE_OF.match(lines[following]) is not None or _has_fields(lines, following)
        )
    return _MESSAGE_OF.match(line) is not None or _has_fields(lines, index)


def _next_filled(lines: Sequence[str], start: int) -> int | None:
    return next((index for index in range(start, min(start + 3, len(lines))) if lines[index].strip()), None)


def _has_fields(lines: Sequence[str], index: int) -> bool:
    """Tell whether "From: …" begins here with two other fields below it: one alone may be part of a formal letter."""
    if not _FROM.match(lines[index]):
        return False
    block = [line for line in lines[index : index + MAX_FIELD_LINES + 1] if line.strip()]
    fields = sum(1 for line in block[1:] if _NEXT_FIELD.match(line))
    if fields == 1 and len(block) > 1:  # two fields in one line: "À : a@b.fr Objet : …"
        fields += sum(1 for line in block[1:] if _NEXT_FIELD.match(line) and line.count(":") > 1 and "@" in line)
    shown = " ".join(block)[:MAX_HEADING_CHARS]
    return fields > 1 and (_ADDRESS.search(shown) is not None or _DATE.search(shown) is not None)


def heading_length(lines: Sequence[str], index: int) -> int:
    """Return over how many lines an "On … wrote:" goes that begins here; 0 if none does."""
    length = _heading_length(lines, index)
    # If it also begins further down, the lines above are somebody's text.
    is_later = any(
        _START.match(lines[later]) and _heading_length(lines, later) for later in range(index + 1, index + length)
    )
    return 0 if is_later else length


def _heading_length(lines: Sequence[str], index: int) -> int:
    first = lines[index]
    if _HINT.search(first) is None or first.lstrip().startswith(">"):
        return 0
    if not (_START.match(first) or _DATE.search(first) or _ADDRESS.search(first)):
        return 0
    heading = ""
    for length in range(1, MAX_HEADING_LINES + 1):
        part = lines[index + length - 1] if index + length <= len(lines) else ""
        if not part.strip() or len(heading) > MAX_HEADING_CHARS:
            return 0
        heading = f"{heading} {part}" if heading else part
        following = next((line for line in lines[index + length : index + length + 2] if line.strip()), "")
        if _is_heading(heading, next_is_quoted=following.lstrip().startswith(">") and following.strip() != ">:"):
            return length
    return 0


def _is_heading(heading: str, *, next_is_quoted: bool) -> bool:
    has_colon = _COLON_END.search(heading) is not None
    has_verb = _VERB_END.search(heading) is not None
    if not has_colon and not has_verb:
        return False
    has_address = _ADDRESS.search(heading) is not None
    has_time = _TIME.search(heading) is not None
    has_date = _DATE.search(heading) is not None or (has_time and _START.match(heading) is not None)
    if has_verb:
        if not has_colon:  # Outlook on the web, Zoho: no colon, so everything else must be there
            return has_address and has_date
        is_dated = has_date or _START.match(heading) is not None
        return has_address or _YOU_WROTE.search(heading) is not None or (is_dated and (has_time or next_is_quoted))
    return has_date and (has_address or (has_time and next_is_quoted))
