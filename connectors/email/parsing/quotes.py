"""What the writer typed: quoted answers, their headings and signatures set aside, in Russian, English and others.

Our own, since the libraries for it have no Russian signatures, drop the questions of inline answers, or have patterns
that take seconds on a hostile text (see `docs/why.md`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from connectors.email.parsing.quote_headings import begins_original, heading_length, is_forward_mark, is_rule
from connectors.email.parsing.signatures import without_signature

MAX_QUESTION_LINES = 10  # of a quote that stays because it is answered: its end, next to the answer
MAX_LINES = 20_000  # beyond, a text is shown as it is
WRAPPED_FROM_CHARS = 60  # a quoted line as long as that may have lost its end to the next line

_BLANK_LINES = re.compile(r"\n[ \t\u00a0]*\n(?:[ \t\u00a0]*\n)+")
# What a quoted line, a heading, a rule or a forward mark has at least one of.
_NOTABLE = re.compile(r"[>:@\d]|[-_=*—–]{2}|forward|пере|weiter|transf|reenv|inolt|wrote", re.IGNORECASE)
_FORWARD_SUBJECT = re.compile(r"\s*(?:(?:re|отв|ha)\s*:\s*)*(?:fwd?|wg|tr|пересл(?:ано)?|rv)\s*:", re.IGNORECASE)
# If none of these is in the lower-case text, there is nothing to set aside: substring search is 50 times as fast as
# one pattern of all of them, and most first letters are done with it.
# fmt: off
_TRIGGERS = (
    ">", "--", "__", "—", "==", ":\n", ": \n", "wrote", "from:", "from*", "from :", "von:", "van:", "fra:", "da:",
    "de:", "de :", "от:", "от :", "от*", "message du", "regards", "wishes", "the best", "best,", "cheers",
    "sincerely", "faithfully", "yours", "thanks,", "sent ", "outlook for", "уважением", "с ув.", "пожеланиями",
    "благодарностью", "почтением", "искренне", "доброго", "наилучшего", "хорошего", "отправлено", "послано",
    "написано с", "gesendet", "envoyé", "inviato", "enviado", "grüße", "cordialement", "повагою", "надіслано",
    "віруси", "вирусов", "\n-",
)
# fmt: on


@dataclass(slots=True)
class _Segment:
    """Lines of one kind, one after another."""

    is_quote: bool
    lines: list[str] = field(default_factory=list)
    has_heading: bool = False  # "On … wrote:" stood over it

    @property
    def is_blank(self) -> bool:
        return not any(line.strip() for line in self.lines)


def is_forward(subject: str) -> bool:
    """Tell by its subject whether a mail is forwarded: what it holds is then what the sender wants to show."""
    return _FORWARD_SUBJECT.match(subject) is not None


def clean_text(text: str, *, subject: str = "", is_reply: bool = False) -> str:
    """Return what the writer typed: without quoted answers, their headings and the signature.

    Questions that are answered below each of them stay (`> …`), a forwarded mail stays whole. `is_reply`: the mail says
    that it answers another. Linear in the text's length. Text that would be left empty is returned whole.
    """
    if not _is_notable(text.lower()):
        return text.strip()
    lines = text.split("\n")
    if len(lines) > MAX_LINES or is_forward(subject):
        return text.strip()
    segments, forwarded = _segments(lines)
    kept = _kept(segments, is_reply=is_reply)
    return _BLANK_LINES.sub("\n\n", "\n".join([*kept, *forwarded])).strip() or text.strip()


def _is_notable(lower: str) -> bool:
    for trigger in _TRIGGERS:  # noqa: SIM110 - a generator takes three times as long, and every mail comes through here
        if trigger in lower:
            return True
    return False


def _segments(lines: list[str]) -> tuple[list[_Segment], Sequence[str]]:
    """Divide the text into typed and quoted parts, up to an unquoted original; also return what is forwarded."""
    segments = [_Segment(is_quote=False)]
    index = 0
    has_heading = has_text = False
    while index < len(lines):
        line = lines[index]
        if not segments[-1].is_quote and _NOTABLE.search(line) is None:  # nearly all lines
            segments[-1].lines.append(line)
            has_text = has_text or bool(line and not line.isspace())
            index += 1
            continue
        if line.lstrip().startswith(">") or _is_wrapped_quote(lines, index):
            if not segments[-1].is_quote:
                segments.append(_Segment(is_quote=True, has_heading=has_heading))
            segments[-1].lines.append(line)
            has_heading = False
            index += 1
            continue
        if line.strip() and is_forward_mark(line):
            return segments, ["", *lines[index:]]
        if has_text and begins_original(lines, index):
            break
        length = heading_length(lines, index)
        if length:
            if not _is_followed_by_quote(lines, index + length):
                break
            has_heading = True
            index += length
            continue
        if segments[-1].is_quote:
            segments.append(_Segment(is_quote=False))
        segments[-1].lines.append(line)
        has_text = has_text or bool(line.strip())
        index += 1
    return segments, []


def _is_followed_by_quote(lines: list[str], index: int) -> bool:
    following = next((line for line in lines[index : index + 5] if line.strip()), "")
    return following.lstrip().startswith(">")


def _is_wrapped_quote(lines: list[str], index: int) -> bool:
    """Tell whether a line is the end of the quoted one above it, which a mailer wrapped without a mark."""
    line = lines[index]
    if index == 0 or index + 1 >= len(lines) or not line[:1].islower():
        return False
    above, below = lines[index - 1], lines[index + 1]
    return above.startswith(">") and len(above) >= WRAPPED_FROM_CHARS and below.startswith(">")


def _kept(segments: list[_Segment], *, is_reply: bool) -> list[str]:
    """Return the typed parts without the signature, and the quotes that are questions to them."""
    for place, segment in enumerate(segments):
        if not segment.is_quote:
            is_first = not any(not earlier.is_quote and not earlier.is_blank for earlier in segments[:place])
            segment.lines = without_signature(
                _without_end_rule(segment.lines), is_reply=is_reply, may_be_empty=not is_first
            )
    answered = [segment for segment, following in pairwise(segments) if segment.is_quote and not following.is_blank]
    is_inline = len(answered) > 1 or any(
        not segment.has_heading and len(segment.lines) <= MAX_QUESTION_LINES for segment in answered
    )
    kept: list[str] = []
    for segment in segments:
        if not segment.is_quote:
            kept += segment.lines
        elif is_inline and any(segment is question for question in answered):
            kept += ["", *segment.lines[-MAX_QUESTION_LINES:], ""]
    return kept


def _without_end_rule(lines: list[str]) -> list[str]:
    """Drop a rule that was drawn over the quote below."""
    end = len(lines)
    while end and (not lines[end - 1].strip() or is_rule(lines[end - 1])):
        end -= 1
    return lines[:end] if any(is_rule(line) for line in lines[end:]) and end else lines
