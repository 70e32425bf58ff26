"""The thread that reads one folder: over any outage, it takes each mail in once.

The thread talks to the server, which may block; what is registered and remembered goes over the loop. A connection ends
with any failure, and the next one begins at the cursor: there is nothing else to be remembered about where it stopped.
"""

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from appeals.errors import OknoError
from config.channel_settings import ImapMailbox
from connectors.email.imap.imap_batches import FolderBatches
from connectors.email.imap.imap_cursor import FolderCursor, first_cursor, renumbering, restarted
from connectors.email.imap.imap_intake import ImapIntake
from connectors.email.imap.imap_log_in import LogInError
from connectors.email.imap.imap_session import FolderState, ImapSession

FIRST_BACK_OFF_S = 1.0
MAX_BACK_OFF_S = 60.0
LOG_IN_BACK_OFF_S = 300.0  # servers lock an account after a few wrong passwords
MAX_LOG_IN_BACK_OFF_S = 3600.0
JITTER = 0.3  # of the back-off: folders and processes must not knock all at once
STOP_GRACE_S = 15.0  # for the batch in hand …
IDLE_STOP_GRACE_S = 1.0  # … or if there is no connection, and so nothing in hand
MAX_LOOKS = 3  # in a row, at a server that says there is news and has none
EMPTY_WAKES = 5  # … after which it is looked at less often
EMPTY_PAUSE_S = 1.0

logger = structlog.get_logger(__name__)

Result = TypeVar("Result")


class FolderReader:
    """Reads one folder until it is stopped. Every failure is waited out, and said in `trouble`."""

    def __init__(self, mailbox: ImapMailbox, folder: str, *, intake: ImapIntake, max_message_bytes: int) -> None:
        self._mailbox = mailbox
        self._folder = folder
        self._intake = intake
        self._batches = FolderBatches(intake, wait_for=self._wait_for, max_message_bytes=max_message_bytes)
        self._stopping = threading.Event()
        self._finished = asyncio.Event()
        self._session: ImapSession | None = None
        self._first: FolderCursor | None = None
        self._lock = threading.Lock()  # over `_session`: stop() hangs up what the thread is just opening
        self._trouble = "not yet connected"  # empty while it is read

    # ---- on the loop
    def start(self) -> None:
        """Begin to read, in a thread of its own that ends with the process at the latest."""
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, name=f"imap-{self._mailbox.key}-{self._folder}", daemon=True).start()

    async def stop(self) -> None:
        """Hang up; return when the mails in hand are committed and the cursor is moved."""
        self._stopping.set()
        with self._lock:
            grace_s = STOP_GRACE_S if self._session is not None else IDLE_STOP_GRACE_S
            if self._session is not None:
                self._session.hang_up()
        try:
            async with asyncio.timeout(grace_s):
                await self._finished.wait()
        except TimeoutError:  # it hangs while connecting: nothing is in its hands
            logger.warning("imap.reader_left", mailbox=self._mailbox.key, folder=self._folder)

    @property
    def label(self) -> str:
        """What the folder is called in health."""
        return f"{self._mailbox.key}/{self._folder}"

    @property
    def trouble(self) -> str:
        """Why the folder is not read, or what else does not work; empty if all is well."""
        return self._trouble or self._batches.dispose_trouble

    @property
    def progress(self) -> str:
        """How far the backlog is taken in; empty if there is none."""
        return self._batches.progress

    # ---- in the thread
    def _run(self) -> None:
        try:
            self._read_until_stopped()
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits
                self._loop.call_soon_threadsafe(self._finished.set)

    def _read_until_stopped(self) -> None:
        failures = refusals = 0
        while not self._stopping.is_set():
            self._batches.progressed = False
            began_at = time.monotonic()
            pause_s = 0.0
            try:
                self._read()
            except LogInError as error:
                refusals += 1
                pause_s = min(LOG_IN_BACK_OFF_S * 2 ** min(refusals - 1, 10), MAX_LOG_IN_BACK_OFF_S)
                self._note_trouble(str(error), pause_s)
            except Exception as error:  # noqa: BLE001 - a mailbox is never given up; what it is, is said
                was_good = self._batches.progressed or time.monotonic() - began_at > MAX_BACK_OFF_S
                failures = 1 if was_good else failures + 1
                refusals = 0
                pause_s = min(FIRST_BACK_OFF_S * 2 ** min(failures - 1, 10), MAX_BACK_OFF_S)
                # Servers end quiet connections now and then: that is no trouble if the next one is good.
                self._note_trouble(self._reason(error), pause_s, shown=failures > 1 or bool(self._trouble))
            self._stopping.wait(pause_s * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - no secret

    def _reason(self, error: Exception) -> str:
        if isinstance(error, OknoError):
            return str(error)
        if not self._stopping.is_set():
            logger.error("imap.reader_failed", mailbox=self._mailbox.key, folder=self._folder, exc_info=error)
        return f"unexpected {type(error).__name__}"

    def _note_trouble(self, trouble: str, pause_s: float, *, shown: bool = True) -> None:
        if self._stopping.is_set():
            return
        log = logger.info
        if shown:
            self._trouble, log = trouble, logger.warning
        log("imap.waiting", mailbox=self._mailbox.key, folder=self._folder, reason=trouble, retry_in_s=round(pause_s))

    def _read(self) -> None:
        """Read over one connection until it fails or is stopped."""
        session = ImapSession(self._mailbox, self._folder)
        try:
            with self._lock:
                self._session = session
            if self._stopping.is_set():
                return
            self._follow(session)
        finally:
            with self._lock:
                self._session = None
            session.close()

    def _follow(self, session: ImapSession) -> None:
        """Take in what is there and whatever comes."""
        cursor = self._begin(session, session.select())
        selected_at, empty_wakes = time.monotonic(), 0
        self._trouble = ""
        logger.info("imap.reading", mailbox=self._mailbox.key, folder=self._folder, uid=cursor.uid)
        while not self._stopping.is_set():
            before, cursor = cursor, self._take_all(session, cursor)
            empty_wakes = 0 if cursor != before else empty_wakes + 1
            if empty_wakes > EMPTY_WAKES:
                self._stopping.wait(EMPTY_PAUSE_S)
            if not self._stopping.is_set():
                session.wait()
            if time.monotonic() - selected_at > self._mailbox.idle_renew_s and not self._stopping.is_set():
                # Somebody may have deleted the folder and made it again: some servers go on showing us the old one.
                cursor = self._begin(session, session.select())
                selected_at = time.monotonic()

    def _begin(self, session: ImapSession, state: FolderState) -> FolderCursor:
        """Return where to go on, committed if it is anew."""
        cursor = self._wait_for(self._intake.cursor())
        if cursor is None:
            cursor = self._first_cursor(state)
        elif why := renumbering(cursor, state, last=self._last(session, cursor)):
            logger.warning("imap.numbered_anew", mailbox=self._mailbox.key, folder=self._folder, why=why)
            cursor = restarted(cursor, state)
        else:
            return cursor
        self._wait_for(self._intake.save(cursor))
        return cursor

    def _first_cursor(self, state: FolderState) -> FolderCursor:
        """Return where to begin: the same place until it is committed, or what comes meanwhile would pass for old."""
        if self._first is None or self._first.uidvalidity != state.uidvalidity:
            self._first = first_cursor(state, self._mailbox, now=self._intake.now(), timezone=self._intake.timezone)
        return self._first

    @staticmethod
    def _last(session: ImapSession, cursor: FolderCursor) -> Any:
        return session.describe([cursor.uid]).get(cursor.uid) if cursor.witness else None

    def _take_all(self, session: ImapSession, cursor: FolderCursor) -> FolderCursor:
        """Take in everything after `cursor`, until a search finds nothing and nothing has come since it began."""
        for _ in range(MAX_LOOKS):
            uids = session.uids_after(cursor.uid)
            while uids and not self._stopping.is_set():
                cursor = self._batches.take(session, cursor, uids, stopping=self._stopping)
                uids = session.uids_after(cursor.uid)
            if not session.has_news():
                break
        return cursor

    def _wait_for(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run `work` on the loop and wait for it."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except RuntimeError:
            work.close()  # the loop is gone
            raise
