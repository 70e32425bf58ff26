"""One folder of one mailbox over one connection: what the reader asks of a server, in its words and errors."""

import contextlib
import imaplib
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from imapclient.exceptions import ProtocolError

from config.channel_settings import ImapMailbox
from config.section import MIB
from connectors.email.imap.imap_log_in import ImapError, connect, server_text
from connectors.email.imap.imap_wire import WireClient

ANSWER_BYTES = 64 * MIB  # a SEARCH that finds six million mails
ANSWER_S = 300.0
SLOWEST_BYTES_PER_S = 4096  # a mail that comes slower is given up, and fetched again
HEADER_BYTES = 64 * 1024  # of a mail too large to be fetched
MAX_UID = 2**32 - 1  # RFC 3501 §2.3.1.1


class RefusedError(ImapError):
    """The server said NO or BAD; the connection is good."""


class TooLargeError(ImapError):
    """A mail turned out larger than the server had said; the connection is gone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderState:
    """A folder as it is selected (RFC 3501 §2.3.1.1)."""

    uidvalidity: int
    uidnext: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MailSummary:
    """What is asked about a mail before it is fetched."""

    uid: int
    size_bytes: int | None = None
    internal_date: datetime | None = None  # when the server received it; aware


def _reason(error: BaseException, client: WireClient | None) -> str:
    """Return why a connection was lost, without anything of a mail that a confused server may have sent."""
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or type(error).__name__}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    farewell = client.wire.untagged_responses.get("BYE") if client is not None else None
    if farewell:
        return f"the server hung up: {server_text(farewell[-1])}"
    if isinstance(error, imaplib.IMAP4.abort) and "EOF" in str(error):
        return "the server hung up"
    return f"the server does not keep to the protocol ({type(error).__name__})"


@contextlib.contextmanager
def _translated(client: WireClient | None = None) -> Iterator[None]:
    """Turn whatever imaplib, IMAPClient and the socket raise into ImapError."""
    try:
        yield
    except ImapError:
        raise
    except imaplib.IMAP4.readonly as error:
        raise ImapError("the folder cannot be changed: set `after: keep`") from error
    except imaplib.IMAP4.abort as error:
        if client is not None and client.wire.exceeded:
            raise TooLargeError("the server sends more than it announced") from error
        raise ImapError(_reason(error, client)) from error
    except ProtocolError as error:
        raise ImapError(_reason(error, client)) from error
    except imaplib.IMAP4.error as error:
        raise RefusedError(f"the server refuses: {server_text(error)}") from error
    except Exception as error:  # bytes that the libraries cannot read end in any exception there is
        raise ImapError(_reason(error, client)) from error


class ImapSession:
    """Blocking, and used by one thread (but `hang_up`). Raises ImapError, RefusedError if the connection is still good.

    Nothing here sets a flag but `dispose`: folders are opened read-only if mails are kept as they are.
    """

    def __init__(self, mailbox: ImapMailbox, folder: str) -> None:
        """Connect and log in. Raises LogInError and ImapError."""
        self._mailbox = mailbox
        self._folder = folder
        self._can_idle = True
        with _translated():
            self._client = connect(mailbox)
        self._wire = self._client.wire

    def hang_up(self) -> None:
        """End it from another thread."""
        self._wire.hang_up()

    def close(self) -> None:
        """Log out, or at least hang up."""
        with contextlib.suppress(Exception):  # a connection that has failed already, in any way
            self._wire.allow(size_bytes=HEADER_BYTES, seconds=2)
            self._client.logout()
        with contextlib.suppress(OSError):
            self._wire.shutdown()

    # ---- reading
    def select(self) -> FolderState:
        """Open the folder. Raises RefusedError if there is none."""
        answer = self._select()
        uidvalidity, uidnext = answer.get(b"UIDVALIDITY"), answer.get(b"UIDNEXT")
        if not isinstance(uidvalidity, int) or not 0 < uidvalidity <= MAX_UID:
            raise ImapError("the server gives no UIDVALIDITY: mails cannot be told apart")
        if not isinstance(uidnext, int) or not 0 < uidnext <= MAX_UID:
            uidnext = max(self.uids_after(0), default=0) + 1
        return FolderState(uidvalidity=uidvalidity, uidnext=uidnext)

    def _select(self) -> dict[bytes, Any]:
        self._wire.allow(size_bytes=ANSWER_BYTES, seconds=ANSWER_S)
        with _translated(self._client):
            try:
                answer: dict[bytes, Any] = self._client.select_folder(
                    self._folder, readonly=self._mailbox.after == "keep"
                )
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error as error:
                raise RefusedError(f"folder {self._folder!r} cannot be opened: {server_text(error)}") from error
        return answer

    def uids_after(self, uid: int) -> list[int]:
        """Return the UIDs above `uid`, ascending: expunged ones are missing, gaps are usual."""
        if uid >= MAX_UID:
            return []
        self._wire.allow(size_bytes=ANSWER_BYTES, seconds=ANSWER_S)
        with _translated(self._client):
            self._client.noop()  # a server that has no IDLE may show new mail only after it
            self._wire.untagged_responses.clear()  # else they pile up for as long as the connection lives
            found = self._client.search(["UID", f"{uid + 1}:*"])
        # `*` is the last mail, whatever its UID: with nothing new the server names one we have (RFC 3501 §6.4.8).
        return sorted({number for number in found if uid < number <= MAX_UID})

    def has_news(self) -> bool:
        """Tell whether the server has told of mail since the last search began."""
        return "EXISTS" in self._wire.untagged_responses

    def still_there(self, uids: Sequence[int]) -> set[int]:
        """Return which of these are in the folder still."""
        self._wire.allow(size_bytes=ANSWER_BYTES, seconds=ANSWER_S)
        with _translated(self._client):
            return set(self._client.search(["UID", ",".join(map(str, uids))])) & set(uids)

    def describe(self, uids: Sequence[int]) -> dict[int, MailSummary]:
        """Return size and date by UID; those that are no more there are missing."""
        self._wire.allow(size_bytes=ANSWER_BYTES, seconds=ANSWER_S)
        with _translated(self._client):
            found = self._client.fetch(list(uids), ["RFC822.SIZE", "INTERNALDATE"])
        return {uid: _summary(uid, items) for uid, items in found.items()}

    def fetch(self, uids: Sequence[int], *, size_bytes: int) -> dict[int, bytes]:
        """Return mails by UID, of `size_bytes` altogether at most; those that the server does not hand out are missing.

        No flag is set. Raises TooLargeError if more comes.
        """
        self._wire.allow(size_bytes=size_bytes + HEADER_BYTES, seconds=ANSWER_S + size_bytes / SLOWEST_BYTES_PER_S)
        with _translated(self._client):
            found = self._client.fetch(list(uids), ["BODY.PEEK[]"])
        bodies = {uid: items.get(b"BODY[]") for uid, items in found.items()}
        return {uid: body for uid, body in bodies.items() if isinstance(body, bytes)}

    def fetch_header(self, uid: int) -> bytes:
        """Return the first bytes of a mail's header; none if the server does not hand them out."""
        self._wire.allow(size_bytes=2 * HEADER_BYTES, seconds=ANSWER_S)
        try:
            with _translated(self._client):
                found = self._client.fetch([uid], [f"BODY.PEEK[HEADER]<0.{HEADER_BYTES}>"])
        except RefusedError:
            return b""
        header = found.get(uid, {}).get(b"BODY[HEADER]<0>")
        return header if isinstance(header, bytes) else b""

    # ---- waiting
    def wait(self) -> None:
        """Wait for news: in IDLE until there are some or it is to be renewed, else for the time between polls."""
        if not self._can_idle or not self._client.has_capability("IDLE"):
            with _translated(self._client):
                self._wire.wait_readable(self._mailbox.poll_interval_s)
            return
        self._wire.allow(size_bytes=ANSWER_BYTES, seconds=ANSWER_S)
        self._wire.untagged_responses.clear()
        try:
            with _translated(self._client):
                self._wire.wait_idle(self._mailbox.idle_renew_s)
        except RefusedError:
            self._can_idle = False

    # ---- after the commit
    def dispose(self, uids: Sequence[int]) -> None:
        """Do with registered mails what `after` says. Doing it twice does no harm. Raises RefusedError."""
        after = self._mailbox.after
        if not uids or after == "keep":
            return
        self._wire.allow(size_bytes=ANSWER_BYTES, seconds=ANSWER_S)
        with _translated(self._client):
            if after == "mark_seen":
                self._client.add_flags(list(uids), [rb"\Seen"], silent=True)
            elif after == "delete":
                self._delete(uids)
            else:
                self._move(uids, after.removeprefix("move:"))

    def _move(self, uids: Sequence[int], target: str) -> None:
        if self._client.has_capability("MOVE"):
            self._client.move(list(uids), target)
            return
        self._client.copy(list(uids), target)
        self._delete(uids)

    def _delete(self, uids: Sequence[int]) -> None:
        """Mark as deleted and, where that can be done for these alone, expunge (RFC 4315)."""
        self._client.delete_messages(list(uids), silent=True)
        if self._client.has_capability("UIDPLUS"):
            self._client.uid_expunge(list(uids))


def _summary(uid: int, items: dict[bytes, Any]) -> MailSummary:
    size, date = items.get(b"RFC822.SIZE"), items.get(b"INTERNALDATE")
    return MailSummary(
        uid=uid,
        size_bytes=size if isinstance(size, int) else None,
        internal_date=_utc(date) if isinstance(date, datetime) else None,
    )


def _utc(date: datetime) -> datetime | None:
    """Return the date in UTC; None if it has no zone, or one of more than a day."""
    with contextlib.suppress(ValueError, OverflowError):
        return date.astimezone(UTC) if date.tzinfo is not None else None
    return None
