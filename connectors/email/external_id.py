"""The identity of a mail: the same for every redelivery and for every mailbox it was sent to, else different.

Relays change a mail on its way: they add Received, Return-Path, Delivered-To, DKIM and spam verdicts, and may refold
fields or change line ends. None of that is looked at. What is hashed (SHA-256, each value with its length):

1. with a Message-ID or a Date: Message-ID, Date, From, Subject and the body. The Message-ID alone would lose mail:
   scanners, forms and scripts send different mails under one id (P1). The body alone would too: "Done." is sent twice.
2. with neither: every field but those that name the last hop's delivery, and the body. Received is in it then: it is
   all that tells two alarms of a machine apart, and a relay that tries again sends the same Received.
"""

import hashlib
import re

from connectors.email.parsing.headers import Headers

_IDENTITY_FIELDS = ("message-id", "date", "from", "subject")
_DELIVERY_FIELDS = frozenset(
    {"return-path", "delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-delivered-to", "x-rcpt-to"},
)
_HEADER_END = re.compile(rb"\r?\n\r?\n|\r\r\n\r\r\n|(?<!\n)\r\r(?!\n)")
_SPACES = re.compile(r"\s+")


def external_id(raw: bytes, headers: Headers) -> str:
    """Return the identity of `raw`, whose fields are `headers`: `sha256:` and 64 hex digits."""
    digest = hashlib.sha256()
    if "message-id" in headers or "date" in headers:
        for name in _IDENTITY_FIELDS:
            _add_field(digest, name, headers.get_all(name))
    else:
        for name, values in headers.items():
            if name not in _DELIVERY_FIELDS:
                _add_field(digest, name, values)
    digest.update(_body(raw, has_fields=next(headers.items(), None) is not None))
    return f"sha256:{digest.hexdigest()}"


def _add_field(digest: "hashlib._Hash", name: str, values: list[str]) -> None:
    for value in values:
        text = _SPACES.sub(" ", value).strip().encode("utf-8", "surrogatepass")
        digest.update(b"%s:%d:%s\n" % (name.encode("utf-8", "surrogatepass"), len(text), text))


def _body(raw: bytes, *, has_fields: bool) -> bytes:
    raw = raw.lstrip(b"\r\n") if has_fields and raw[:1] in (b"\r", b"\n") else raw
    end = _HEADER_END.search(raw)
    if not has_fields:
        body = raw
    elif end is None:
        return b""
    else:
        body = raw[end.end() :]
    return body.replace(b"\r\n", b"\n").rstrip(b"\n")
