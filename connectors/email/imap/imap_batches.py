"""What is new in a folder, in batches: asked for, fetched, registered; then the cursor moves."""

import threading
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, Protocol

import structlog

from appeals.errors import TransientError
from config.section import MIB
from connectors.email.imap.imap_cursor import FolderCursor
from connectors.email.imap.imap_intake import FetchedMail, ImapIntake
from connectors.email.imap.imap_log_in import ImapError
from connectors.email.imap.imap_session import ImapSession, MailSummary, RefusedError, TooLargeError

CHUNK_MAILS = 200  # described with one command
BATCH_MAILS = 50  # fetched with one command and held in memory …
BATCH_BYTES = 8 * MIB  # … but no more than so much, or one mail
MAX_TRIES = 8  # of one mail that breaks the connection, or that the server does not hand out: with back-off two minutes
MAX_DISPOSE_TRIES = 3
BACKLOG_FROM = 100  # mails: fewer are no news to anybody

logger = structlog.get_logger(__name__)


class WaitFor(Protocol):
    """Runs a coroutine on the loop and waits for it."""

    def __call__(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return its result or raise what it raised."""
        ...


class FolderBatches:
    """Takes mails of one folder in. It remembers, over connections, which mails made trouble."""

    def __init__(self, intake: ImapIntake, *, wait_for: WaitFor, max_message_bytes: int) -> None:
        self._intake = intake
        self._wait_for = wait_for
        self._max_message_bytes = max_message_bytes
        self._alone: set[int] = set()  # UIDs that were in a batch which failed: to be fetched one by one
        self._too_large: set[int] = set()  # … that turned out larger than the server had said
        self._tries: Counter[int] = Counter()
        self._dispose_tries = 0
        self._backlog = 0
        self.progressed = False  # since it was last set to False: the cursor has moved
        self.progress = ""  # for health
        self.dispose_trouble = ""

    def take(
        self, session: ImapSession, cursor: FolderCursor, uids: Sequence[int], *, stopping: threading.Event
    ) -> FolderCursor:
        """Take `uids` in; return the cursor after them, committed.

        Raises ImapError, or TransientError from the intake: then the cursor stands before the first mail not kept.
        """
        self._backlog = len(uids)
        for start in range(0, len(uids), CHUNK_MAILS):
            chunk = uids[start : start + CHUNK_MAILS]
            for batch in self._batches(cursor, self._described(session, chunk)):
                if stopping.is_set():
                    return cursor
                cursor = self._take_batch(session, cursor, batch)
            self._note_progress(len(uids) - start - len(chunk))
        return cursor

    def _note_progress(self, left: int) -> None:
        self.progress = f"{left} of {self._backlog} mails to come" if left and self._backlog >= BACKLOG_FROM else ""
        if self._backlog >= BACKLOG_FROM:
            logger.info("imap.backlog", left=left, mails=self._backlog)

    # ---- which
    def _described(self, session: ImapSession, chunk: Sequence[int]) -> list[MailSummary]:
        """Return what is known of each mail; for those that the server does not describe, nothing but the UID."""
        askable = [uid for uid in chunk if uid not in self._alone]
        try:
            found = session.describe(askable) if askable else {}
        except RefusedError:
            found = {}
        except ImapError:
            self._alone.update(askable)  # one of them breaks the connection when asked about
            raise
        return [found.get(uid, MailSummary(uid=uid)) for uid in chunk]

    def _batches(self, cursor: FolderCursor, mails: Sequence[MailSummary]) -> Iterator[list[MailSummary]]:
        """Yield mails in order: ordinary ones together, whatever is special alone."""
        batch: list[MailSummary] = []
        size = 0
        for mail in mails:
            is_special = mail.size_bytes is None or self._is_too_large(mail) or mail.uid in self._alone
            if is_special or len(batch) >= BATCH_MAILS or size + (mail.size_bytes or 0) > BATCH_BYTES:
                if batch:
                    yield batch
                batch, size = [], 0
            if is_special:
                yield [mail]
                continue
            batch.append(mail)
            size += 0 if cursor.is_too_old(mail) else mail.size_bytes or 0
        if batch:
            yield batch

    def _is_too_large(self, mail: MailSummary) -> bool:
        return mail.uid in self._too_large or (mail.size_bytes or 0) > self._max_message_bytes

    # ---- one batch
    def _take_batch(self, session: ImapSession, cursor: FolderCursor, batch: Sequence[MailSummary]) -> FolderCursor:
        wanted = [mail for mail in batch if not cursor.is_too_old(mail)]
        kept, failure = {mail.uid for mail in batch} - {mail.uid for mail in wanted}, None
        if len(wanted) == 1 and (self._is_too_large(wanted[0]) or self._tries[wanted[0].uid] >= MAX_TRIES):
            self._keep_unfetched(session, cursor, wanted[0])
            kept.add(wanted[0].uid)
        elif wanted:
            mails = self._fetch(session, wanted)
            taken = self._wait_for(self._intake.take(mails))
            kept |= taken.registered | taken.quarantined | ({mail.uid for mail in wanted} - _uids(mails))
            failure = taken.failure
            self._dispose(session, sorted(taken.registered))
        return self._moved(cursor, batch, kept=kept, failure=failure)

    def _moved(
        self, cursor: FolderCursor, batch: Sequence[MailSummary], *, kept: set[int], failure: TransientError | None
    ) -> FolderCursor:
        """Move the cursor past the mails kept, up to the first that was not; then raise what stopped that one."""
        moved = cursor
        for mail in batch:
            if mail.uid not in kept:
                break
            moved = moved.moved_past(mail)
        if moved != cursor:
            self._wait_for(self._intake.save(moved))
            self.progressed = True
            self._forget(moved.uid)
        if failure is not None:
            raise failure
        return moved

    def _forget(self, uid: int) -> None:
        """Forget the troubles of mails that are done."""
        for uids in (self._alone, self._too_large):
            uids.difference_update([known for known in uids if known <= uid])
        for known in [known for known in self._tries if known <= uid]:
            del self._tries[known]

    def _fetch(self, session: ImapSession, mails: Sequence[MailSummary]) -> list[FetchedMail]:
        """Return the mails; those that are gone are missing. What cannot be had now is tried alone next time."""
        uids = [mail.uid for mail in mails]
        expected = sum(mail.size_bytes or self._max_message_bytes for mail in mails)
        try:
            found = session.fetch(uids, size_bytes=max(2 * expected, self._max_message_bytes))
        except TooLargeError:
            if len(uids) == 1:
                self._too_large.update(uids)
            self._suspect(uids)
            raise
        except ImapError:
            self._suspect(uids)
            raise
        missing = [uid for uid in uids if uid not in found]
        if missing := sorted(session.still_there(missing)) if missing else []:
            self._suspect(missing)
            raise ImapError(f"the server does not hand out {len(missing)} mails")
        return [FetchedMail(summary=mail, content=found[mail.uid]) for mail in mails if mail.uid in found]

    def _suspect(self, uids: Sequence[int]) -> None:
        self._alone.update(uids)
        if len(uids) == 1:
            self._tries.update(uids)

    def _keep_unfetched(self, session: ImapSession, cursor: FolderCursor, mail: MailSummary) -> None:
        """Put a mail that cannot be fetched into quarantine, with its header if that can be had."""
        header = b""
        if self._tries[mail.uid] <= MAX_TRIES:
            self._tries[mail.uid] += 1  # if this breaks the connection again and again: then without
            header = session.fetch_header(mail.uid)
        size = f" of {mail.size_bytes} bytes" if mail.size_bytes else ""
        reason = f"the server did not hand out this mail{size} in {MAX_TRIES} tries"
        if self._is_too_large(mail):
            reason = f"the mail{size} is larger than email.max_message_bytes ({self._max_message_bytes})"
        self._wait_for(self._intake.keep_unfetched(mail, uidvalidity=cursor.uidvalidity, header=header, reason=reason))

    # ---- after the commit
    def _dispose(self, session: ImapSession, uids: Sequence[int]) -> None:
        """Move, mark or delete what is registered. A refusal is said and does not stop the intake."""
        try:
            session.dispose(uids)
        except RefusedError as error:
            self.dispose_trouble = f"mails are registered, but stay where they are: {error}"
            logger.warning("imap.not_disposed", mails=len(uids), reason=str(error))
        except ImapError:
            self._dispose_tries += 1
            if self._dispose_tries < MAX_DISPOSE_TRIES:
                raise
            logger.warning("imap.not_disposed", mails=len(uids), reason="connection lost")
        else:
            self._dispose_tries = 0
            self.dispose_trouble = ""


def _uids(mails: Sequence[FetchedMail]) -> set[int]:
    return {mail.summary.uid for mail in mails}
