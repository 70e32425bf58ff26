"""How far a folder has been read: UIDVALIDITY and UID (RFC 3501 §2.3.1.1), and what is old mail in it."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from config.channel_settings import ImapMailbox
from connectors.email.imap.imap_session import FolderState, MailSummary

CLOCK_SKEW = timedelta(hours=1)  # of the mail server's clock against ours: rather an old mail too many than one lost


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderCursor:
    """A place in a folder. Everything up to `uid` is registered, in quarantine, gone, or too old to be wanted."""

    uidvalidity: int
    uid: int
    backlog_end: int = 0  # mails with a UID below it were there before us: those older than `floor` are passed over
    floor: datetime | None = None  # None: none is too old
    witness: datetime | None = None  # INTERNALDATE of mail `uid`: if it has another now, numbers were given twice

    def to_json(self) -> str:
        """Return it for the store of cursors."""
        dates = {"floor": self.floor, "witness": self.witness}
        return json.dumps(
            {"uidvalidity": self.uidvalidity, "uid": self.uid, "backlog_end": self.backlog_end}
            | {name: date.isoformat() for name, date in dates.items() if date is not None}
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` wrote. Raises ValueError or KeyError."""
        data = json.loads(text)
        floor, witness = data.get("floor"), data.get("witness")
        return cls(
            uidvalidity=int(data["uidvalidity"]),
            uid=int(data["uid"]),
            backlog_end=int(data["backlog_end"]),
            floor=datetime.fromisoformat(floor) if floor else None,
            witness=datetime.fromisoformat(witness) if witness else None,
        )

    def is_too_old(self, mail: MailSummary) -> bool:
        """Tell whether a mail was in the folder before us and is not wanted."""
        if self.floor is None or mail.uid >= self.backlog_end or mail.internal_date is None:
            return False
        return mail.internal_date < self.floor

    def moved_past(self, mail: MailSummary) -> Self:
        """Return the place after `mail`."""
        return replace(self, uid=mail.uid, witness=mail.internal_date)


def first_cursor(state: FolderState, mailbox: ImapMailbox, *, now: datetime, timezone: str) -> FolderCursor:
    """Return where to begin in a folder never read before."""
    if mailbox.since == "new":
        return FolderCursor(uidvalidity=state.uidvalidity, uid=state.uidnext - 1, floor=now - CLOCK_SKEW)
    floor = None
    if mailbox.since != "all":
        floor = datetime.combine(mailbox.since, time(), ZoneInfo(timezone)).astimezone(UTC)
    return FolderCursor(uidvalidity=state.uidvalidity, uid=0, backlog_end=state.uidnext, floor=floor)


def renumbering(cursor: FolderCursor, state: FolderState, *, last: MailSummary | None) -> str:
    """Return why `cursor` means nothing in the folder as it is now; empty if it does. `last`: mail `cursor.uid`.

    A server that was restored from a backup may give the same UIDs again without another UIDVALIDITY.
    """
    if cursor.uidvalidity != state.uidvalidity:
        return "uidvalidity"
    if state.uidnext <= cursor.uid:
        return "uidnext"
    if cursor.witness and last and last.internal_date and last.internal_date != cursor.witness:
        return "witness"
    return ""


def restarted(cursor: FolderCursor, state: FolderState) -> FolderCursor:
    """Return a cursor for a folder numbered anew: all of it is read again, and what is known is registered once."""
    return FolderCursor(uidvalidity=state.uidvalidity, uid=0, backlog_end=state.uidnext, floor=cursor.floor)
