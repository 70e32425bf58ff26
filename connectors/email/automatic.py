"""Is a mail written by a machine? Such mail is kept, and never answered by a machine (RFC 3834)."""

import re

from connectors.email.headers import Headers

_BULK_PRECEDENCE = frozenset({"bulk", "junk", "list", "auto_reply", "auto-reply"})
_ROBOT_HEADERS = ("list-id", "x-autoreply", "x-autorespond", "x-auto-reply", "x-autoresponder", "x-loop")
_ROBOT_SENDER = re.compile(
    r"(?:mailer-daemon|postmaster|(?:no|do-?not|not?)[-_.]?reply(?:[-_.+].*)?|(?:.*[-_.])?(?:noreply|no-reply)|"
    r"bounces?(?:[-_.+=].*)?|auto(?:matic)?[-_.]?(?:reply|responder))",
    re.IGNORECASE,
)
_SUPPRESSING = re.compile(r"\b(?:all|oof|autoreply)\b", re.IGNORECASE)


def is_automatic(headers: Headers, *, media_type: str, sender: str | None, mail_from: str | None) -> bool:
    """Tell whether the mail is from a machine.

    `sender`: the address in From; `mail_from`: the SMTP envelope's sender, "" for `<>`, None if not known.
    Sources: RFC 3834 §2 and §5, RFC 2919 (List-Id), RFC 3464 (reports), and what vendors add.
    """
    if mail_from == "" or media_type == "multipart/report":
        return True
    if (headers.get("return-path") or "").replace(" ", "") == "<>":
        return True
    if _says_so(headers):
        return True
    return any(_ROBOT_SENDER.fullmatch(address.rpartition("@")[0]) for address in (sender, mail_from) if address)


def _says_so(headers: Headers) -> bool:
    submitted = headers.get("auto-submitted")
    if submitted is not None and submitted.partition(";")[0].strip().lower() not in {"no", ""}:
        return True
    if (headers.get("precedence") or "").strip().lower() in _BULK_PRECEDENCE:
        return True
    if _SUPPRESSING.search(headers.get("x-auto-response-suppress") or ""):
        return True
    return any(name in headers for name in _ROBOT_HEADERS)
