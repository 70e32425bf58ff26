"""The loop's side of a mailbox: registers what the reader's thread has fetched, and keeps its cursor."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from appeals.envelope import Channel
from appeals.errors import OknoError, TransientError
from appeals.registration import QuarantineItem
from config.channel_settings import ImapMailbox
from connectors.base import ConnectorPorts
from connectors.email.envelope_builder import SmtpEnvelope
from connectors.email.imap.imap_cursor import FolderCursor
from connectors.email.imap.imap_session import MailSummary
from connectors.email.receiver import MailReceiver

SIDE_BY_SIDE_BYTES = 16 * 1024  # such mails are decoded at once and share a commit; a larger one goes alone, in order
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)  # a server's clock that was never set says 1970

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedMail:
    """A mail as the server handed it out."""

    summary: MailSummary
    content: bytes


@dataclass(kw_only=True, slots=True)
class Taken:
    """What became of mails: UIDs registered, UIDs in quarantine, and what stopped the rest."""

    registered: set[int] = field(default_factory=set)
    quarantined: set[int] = field(default_factory=set)
    failure: TransientError | None = None


class ImapIntake:
    """One folder's way into the registry. Its coroutines run on the loop; idempotent as `MailReceiver` is."""

    def __init__(
        self, mailbox: ImapMailbox, folder: str, *, receiver: MailReceiver, ports: ConnectorPorts, connector: str
    ) -> None:
        self._mailbox = mailbox
        self._folder = folder
        self._receiver = receiver
        self._ports = ports
        self._connector = connector
        self.last_message_at: datetime | None = None

    @property
    def now(self) -> Callable[[], datetime]:
        """The clock."""
        return self._ports.now

    @property
    def timezone(self) -> str:
        """The office's."""
        return self._ports.office.timezone

    # ---- the cursor
    @property
    def _cursor_name(self) -> str:
        return f"imap:{self._mailbox.key}:{self._folder}"

    async def cursor(self) -> FolderCursor | None:
        """Return the place committed last."""
        stored = await self._ports.cursors.get(self._connector, self._cursor_name)
        if stored is None:
            return None
        try:
            return FolderCursor.from_json(stored)
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # AttributeError: JSON, but no object
            raise TransientError(f"cursor {self._cursor_name!r} in the registry cannot be read") from error

    async def save(self, cursor: FolderCursor) -> None:
        """Commit the place. Call it only after all before it is committed (P1)."""
        await self._ports.cursors.put(self._connector, self._cursor_name, cursor.to_json())

    # ---- mails
    async def take(self, mails: Sequence[FetchedMail]) -> Taken:
        """Register mails in their order, small neighbours side by side; ends at the first that could not be kept."""
        taken = Taken()
        for run in _runs(mails):
            await asyncio.gather(*(self._take_one(mail, taken) for mail in run))
            if taken.failure is not None:
                break
        return taken

    async def _take_one(self, mail: FetchedMail, taken: Taken) -> None:
        uid = mail.summary.uid
        envelope = self._smtp_envelope(mail.summary)
        try:
            acceptance = await self._receiver.receive(mail.content, envelope)
        except TransientError as error:
            taken.failure = error
            return
        except Exception as error:  # a bug of ours that one mail brings out must not stop the mailbox (P4)
            logger.exception("imap.receive_failed", mailbox=self._mailbox.key, uid=uid)
            await self._keep_failed(mail, envelope, reason=type(error).__name__, taken=taken)
            return
        (taken.quarantined if acceptance.registration is None else taken.registered).add(uid)
        self.last_message_at = self._ports.now()

    async def _keep_failed(self, mail: FetchedMail, envelope: SmtpEnvelope, *, reason: str, taken: Taken) -> None:
        try:
            await self._quarantine(mail.content, f"the mail cannot be taken in ({reason})", envelope.to_context())
        except TransientError as error:
            taken.failure = error
        else:
            taken.quarantined.add(mail.summary.uid)

    async def keep_unfetched(self, mail: MailSummary, *, uidvalidity: int, header: bytes, reason: str) -> None:
        """Hold in quarantine what can be had of a mail that is not fetched: its header and where it is.

        The mail stays on the server; a retry fetches it. Raises TransientError.
        """
        place = {
            "imap_mailbox": self._mailbox.key,
            "imap_folder": self._folder,
            "imap_uidvalidity": str(uidvalidity),
            "imap_uid": str(mail.uid),
        }
        note = f"{reason}\r\nIt stays in folder {self._folder} of mailbox {self._mailbox.key}, UID {mail.uid}.\r\n"
        content = header.rstrip(b"\r\n") + b"\r\n\r\n" + note.encode()
        await self._quarantine(content, reason, self._smtp_envelope(mail).to_context() | place)
        self.last_message_at = self._ports.now()

    async def _quarantine(self, content: bytes, reason: str, context: dict[str, str]) -> None:
        item = QuarantineItem(
            connector=self._connector, channel=Channel.EMAIL, stage="receive", reason=reason, context=context
        )
        try:
            await self._ports.intake.quarantine(item, content)
        except TransientError:
            raise
        except OknoError as error:  # not even the quarantine takes it: the cursor stays before it
            raise TransientError("the quarantine refused the mail") from error

    def _smtp_envelope(self, mail: MailSummary) -> SmtpEnvelope:
        return SmtpEnvelope(
            rcpt_to=(self._mailbox.address,) if self._mailbox.address else (),
            protocol="imap",
            received_at=believable(mail.internal_date, now=self._ports.now()),
        )


def believable(internal_date: datetime | None, *, now: datetime) -> datetime | None:
    """Return when the office's server received a mail, from which the law's deadline runs; None if it cannot know.

    A date in the future is no date: the deadline would move away from the citizen.
    """
    if internal_date is None or not EARLIEST <= internal_date <= now + timedelta(days=1):
        return None
    return min(internal_date, now)


def _runs(mails: Sequence[FetchedMail]) -> Iterator[list[FetchedMail]]:
    """Yield mails in order, small neighbours together: they are decoded without a pause, so they keep their order."""
    run: list[FetchedMail] = []
    for mail in mails:
        if len(mail.content) < SIDE_BY_SIDE_BYTES:
            run.append(mail)
            continue
        if run:
            yield run
        yield [mail]
        run = []
    if run:
        yield run
