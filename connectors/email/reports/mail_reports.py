"""Mail about our mail: delivery reports and read receipts, whichever form they come in."""

from collections.abc import Sequence

from appeals.errors import PermanentError
from connectors.base import DeliveryReports
from connectors.email.parsing.headers import MailAddress
from connectors.email.parsing.mime import MimePart
from connectors.email.reports.delivery_report import STATUS_TYPES, DeliveryReport, read_plain_bounce, read_status_report
from connectors.email.reports.read_receipt import DISPOSITION_TYPES, ReadReceipt, read_receipt
from connectors.email.reports.report_fields import walk

MailReport = DeliveryReport | ReadReceipt

MAX_IDS = 10  # that one report may ask the registry about

_REPORT_TYPES = STATUS_TYPES | DISPOSITION_TYPES


class UnknownReportError(PermanentError):
    """The report is about no mail that we sent."""


def read_report(root: MimePart, *, sender: MailAddress | None, mail_from: str | None) -> MailReport | None:
    """Return what the mail says became of a mail of ours; None if it is no report.

    `mail_from`: the SMTP envelope's sender, "" for `<>`, None if not known. A forwarded report (message/rfc822 in a
    person's mail) is no report. Whether it is about a mail of ours at all is for the registry to say.
    """
    headers = root.headers
    if not root.children:  # the common case: nothing but a server's own words can be a report
        return read_receipt([], headers=headers) or _plain_bounce(root, [root], sender=sender, mail_from=mail_from)
    parts = list(walk(root))
    if root.media_type == "multipart/report" or any(part.media_type in _REPORT_TYPES for part in parts):
        receipt = read_receipt(parts, headers=headers)
        if receipt is not None:
            return receipt
        if report := read_status_report(parts, headers=headers):
            return report
    return read_receipt([], headers=headers) or _plain_bounce(root, parts, sender=sender, mail_from=mail_from)


def _plain_bounce(
    root: MimePart, parts: list[MimePart], *, sender: MailAddress | None, mail_from: str | None
) -> MailReport | None:
    return read_plain_bounce(
        parts,
        headers=root.headers,
        sender=sender.address if sender else "",
        mail_from=mail_from,
    )


async def tell_report(
    report: MailReport, reports: DeliveryReports, *, connector: str, returned_to: Sequence[str] = ()
) -> str:
    """Make the report the delivery state of the reply it is about; return the message id of that reply.

    `returned_to`: ids that the return path itself names. Idempotent. Raises UnknownReportError if it names no mail of
    ours: a forged one, or one about somebody else's mail.
    """
    for message_id in tuple(dict.fromkeys((*returned_to, *report.message_ids)))[:MAX_IDS]:
        if await reports.report(connector, external_id=message_id, state=report.state, detail=report.detail):
            return message_id
    raise UnknownReportError(f"a {report.mark.replace('_', ' ')} about no mail that we sent")
