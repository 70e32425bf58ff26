"""Signatures at the end of what somebody wrote: marks, sign-offs, and what telephones add."""

import re
from collections.abc import Sequence

MAX_SIGNATURE_LINES = 8  # filled lines after "С уважением," that may still be a signature
MAX_CUTS = 6  # pieces of one signature
TAIL_LINES = 40  # filled lines at the end in which a signature is looked for; "-- " anywhere
MAX_MARKED_LINES = 15  # filled lines after a mark that is no standard one

_SENT_BY = re.compile(
    r"\s*(?:-{2,}\s*)?(?:"
    r"sent (?:from|via|with|using) (?:my |a |an |the )?[^\s,.;!?][^,;!?]{0,60}|"
    r"get outlook for .{1,60}|"
    r"(?:отправлено|послано|написано)(?: мной)? (?:с|со|из|через|с помощью) "
    r"(?:моего |моей |мобильн\w+ |нов\w+ |бесплатн\w+ )?"
    r"(?:[a-z]|почт|приложени|устройств|телефон|смартфон|планшет|айфон|яндекс|майл|рамблер|версии|клиента)"
    r"[^,;!?]{0,80}|"
    r"gesendet (?:von|mit|über) .{1,60}|von meinem .{1,40} gesendet|"
    r"envoyé (?:de(?:puis)? |à partir d['’e]|avec |via ).{1,60}|"
    r"inviato d[ai]l? .{1,60}|enviado (?:desde|do|da|de|a partir) .{1,60}|"
    r"verzonden (?:vanaf|met|via) .{1,60}|sendt fra .{1,60}|skickat från .{1,60}|lähetetty .{1,60}|wysłane? z .{1,60}|"
    r"virus-free\..{0,60}|без вирусов\..{0,60}|"
    r"надіслано з .{1,60}"
    r")\s*",
    re.IGNORECASE,
)
_SENT_HINT = re.compile(  # how they begin: most lines are told by their first letters
    r"\s*(?:-{2,}\s*)?(?:sent|get|отправ|посла|напис|gesen|von|envo|inv|envia|verz|sendt|skick|läh|wys|vir|без|наді)",
    re.IGNORECASE,
)
MAX_SENT_BY_WORDS = 9
_SIGN_OFF = re.compile(
    r"\s*(?:(?:искренне )?с (?:(?:глубоким|большим|искренним) )?(?:уважением|ув\.)"
    r"(?: и (?:благодарностью|надеждой)[^,\n]{0,40})?|"
    r"с (?:наилучшими|добрыми|лучшими) пожеланиями|с (?:благодарностью|почтением)|искренне ваш[аи]?|"
    r"всего (?:доброго|наилучшего|хорошего)|з повагою|"
    r"(?:best|kind|kindest|warm|many) (?:regards|wishes)|regards|best wishes|all the best|best|cheers|sincerely|"
    r"yours (?:sincerely|faithfully|truly)|(?:many )?thanks(?= *,)|thank you(?= *,)|"
    r"mit freundlichen grüßen|viele grüße|freundliche grüße|cordialement|bien à vous|cordiali saluti|"
    r"saludos|atentamente|atenciosamente|med vennlig hilsen|med venlig hilsen|ystävällisin terveisin)"
    r"(?![\w-])[\s,.!\U0001f300-\U0001faff❤️]*(?:\S+(?:\s+\S+){0,4})?\s*",
    re.IGNORECASE,
)
_MARK = re.compile(r"(?:_{2,}|[—–―]+|-{3,}|={3,}|\*{3,})\s*")
_POSTSCRIPT = re.compile(r"\s*(?:p\.?\s?p?\.?\s?s\b\.?|з\.?\s?ы\b\.?|постскриптум)", re.IGNORECASE)
_SIGNED_NAME = re.compile(r"-[A-ZА-ЯЁ][\w.'’]*(?: [A-ZА-ЯЁ][\w.'’]*){0,2}\s*")
_WORDS_OF_A_SIGN_OFF = 8


def without_signature(lines: Sequence[str], *, is_reply: bool = False, may_be_empty: bool = False) -> list[str]:
    """Return `lines` without the signature at their end.

    `is_reply`: what stands under "Sent from my iPhone" is then the quoted mail, else it is the writer's own.
    A signature that would leave nothing is the text itself, unless `may_be_empty`.
    """
    kept = list(lines)
    for _ in range(MAX_CUTS):  # a mark under a sign-off under "Sent from …": each is below the one before
        shorter = _cut_once(kept, is_reply=is_reply, may_be_empty=may_be_empty)
        if shorter is None or not (may_be_empty or any(line.strip() for line in shorter)):
            break
        kept = shorter
    return kept


def _cut_once(lines: list[str], *, is_reply: bool, may_be_empty: bool) -> list[str] | None:
    """Return the lines with one piece of a signature less; None if there is none."""
    if "-- " in lines:  # RFC 3676 §4.3
        index = lines.index("-- ")
        if may_be_empty or any(line.strip() for line in lines[:index]):
            return lines[:index]
    filled = _candidates(lines, may_be_empty=may_be_empty)
    place = _mark_place(lines, filled)
    if place is not None:
        return lines[:place]
    for index in filled:
        if is_sent_by(lines[index]):
            return lines[:index] if index == filled[-1] or is_reply else [*lines[:index], *lines[index + 1 :]]
    shorter = _before_sign_off(lines, filled[-MAX_SIGNATURE_LINES:])
    return _without_name(lines) if shorter is None else shorter


def _candidates(lines: Sequence[str], *, may_be_empty: bool) -> list[int]:
    """Return the last filled lines, TAIL_LINES at most; the first one of all only if the signature may be all."""
    first = next((index for index, line in enumerate(lines) if line and not line.isspace()), len(lines))
    start = first if may_be_empty else first + 1
    begin = max(start, len(lines) - 3 * TAIL_LINES)
    return [index for index in range(begin, len(lines)) if lines[index] and not lines[index].isspace()][-TAIL_LINES:]


def _mark_place(lines: list[str], filled: list[int]) -> int | None:
    """Return where "--" stands, or a mark that some use instead, with few lines after it."""
    for place, index in enumerate(filled):
        line = lines[index]
        if line[:1] not in "-_—–―=* \t":
            continue
        left = len(filled) - place - 1
        if line.strip() == "--" and left <= MAX_MARKED_LINES:
            return index
        if 0 < left <= MAX_SIGNATURE_LINES and _MARK.fullmatch(line) and _is_signature(lines[index + 1 :], line):
            return index
    return None


def _is_signature(lines: list[str], mark: str) -> bool:
    """Tell whether what stands below a drawn mark reads as a signature: short lines, and no sentence among them."""
    texts = [line.strip() for line in lines if line.strip()]
    is_short = all(len(text) <= 75 and not text.endswith((".", "?", "!", ":")) for text in texts)  # noqa: PLR2004
    is_usual = mark.strip()[0] in "_—–―"
    return is_short and is_usual and not any(_MARK.fullmatch(text) for text in texts)


def is_sent_by(line: str) -> bool:
    """Tell whether a line is what a telephone or a mailer adds: "Sent from my iPhone"."""
    if len(line) > 200 or _SENT_HINT.match(line) is None:  # noqa: PLR2004 - with the address of an app's page
        return False
    bare = re.sub(r"\s*[<(\[]?https?://[^\s>)\]]*[>)\]]?", "", line).strip()
    return _SENT_BY.fullmatch(bare) is not None and len(bare.split()) <= MAX_SENT_BY_WORDS and not bare.endswith(".")


def _before_sign_off(lines: list[str], filled: list[int]) -> list[str] | None:
    """Cut at a sign-off with few lines after it; a postscript stays."""
    for index in filled:
        line = lines[index]
        if len(line) <= 120 and len(line.split()) <= _WORDS_OF_A_SIGN_OFF and _SIGN_OFF.fullmatch(line):  # noqa: PLR2004
            postscript = next((later for later in filled if later > index and _POSTSCRIPT.match(lines[later])), None)
            return lines[:index] if postscript is None else [*lines[:index], *lines[postscript:]]
    return None


def _without_name(lines: list[str]) -> list[str] | None:
    """Drop "-Name" as the last line; the first line of all is never dropped. None if there is no such line."""
    last = next((index for index in range(len(lines) - 1, -1, -1) if lines[index].strip()), None)
    if last is None or not lines[last].startswith("-") or _SIGNED_NAME.fullmatch(lines[last]) is None:
        return None
    before = next((line for line in reversed(lines[:last]) if line.strip()), "-")
    return None if before.lstrip().startswith("-") else lines[:last]
