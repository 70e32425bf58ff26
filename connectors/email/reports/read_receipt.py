"""Read receipts: message disposition notifications (RFC 8098) and the forms that mail programs make of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from appeals.reply import DeliveryState
from connectors.email.parsing.headers import Headers, parse_message_ids
from connectors.email.parsing.mime import MimePart
from connectors.email.reports.report_fields import field_blocks, returned_ids, typed

DISPOSITION_TYPES = frozenset({"message/disposition-notification", "message/global-disposition-notification"})
_EXCHANGE_CLASS = (
    "urn:content-classes:mdn"  # Content-Class of Exchange's receipts, also where a gateway took them apart
)
_EXCHANGE_READ = re.compile(r"\s*(?:read|прочитано|прочтено|gelesen|lu)\s*:", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadReceipt:
    """What the recipient's side says became of a delivered mail."""

    message_ids: tuple[str, ...]  # the ids the mail may have gone out under, the surest first
    disposition: str  # displayed, deleted, processed, dispatched, denied, failed (RFC 8098 §3.2.6.2, RFC 2298)

    mark = "read_receipt"

    @property
    def state(self) -> DeliveryState:
        """Only `displayed` says that it was opened; any other says that it has arrived."""
        return DeliveryState.READ if self.disposition == "displayed" else DeliveryState.DELIVERED

    @property
    def detail(self) -> str:
        """Return `code: words` for the agent."""
        if self.disposition == "displayed":
            return "read: the recipient's mail program says that it was opened"
        return f"{self.disposition}: it was delivered; the recipient's mail program does not say that it was opened"


def read_receipt(parts: Sequence[MimePart], *, headers: Headers) -> ReadReceipt | None:
    """Return the receipt in a message; None if it is none."""
    for part in parts:
        if part.media_type in DISPOSITION_TYPES:
            fields = {name: value for block in field_blocks(part.content) for name, value in block.items()}
            sure = (
                *parse_message_ids(typed(fields.get("original-message-id", ""))),
                *returned_ids(parts),
            )
            return ReadReceipt(
                message_ids=_ids(sure, headers=headers), disposition=_disposition(fields.get("disposition", ""))
            )
    if (headers.get("content-class") or "").strip().lower() == _EXCHANGE_CLASS:
        was_read = _EXCHANGE_READ.match(headers.text("subject")) is not None
        return ReadReceipt(message_ids=_ids((), headers=headers), disposition="displayed" if was_read else "deleted")
    return None


def _disposition(value: str) -> str:
    """Return the disposition type of `manual-action/MDN-sent-manually; displayed/error`; "other" for nonsense."""
    name = value.rpartition(";")[2].partition("/")[0].strip().lower()
    return name if re.fullmatch(r"[a-z-]{1,32}", name) else "other"


def _ids(sure: Sequence[str], *, headers: Headers) -> tuple[str, ...]:
    if sure:
        return tuple(dict.fromkeys(sure))
    nearest = parse_message_ids(headers.get("in-reply-to"))
    return tuple(dict.fromkeys((*nearest, *reversed(parse_message_ids(headers.get("references"))))))
