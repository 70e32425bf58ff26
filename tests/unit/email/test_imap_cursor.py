"""Where a folder is read from, when a mail was received, and what settings and server texts may say."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imapclient.fixed_offset import FixedOffset
from pydantic import SecretStr, ValidationError

from config.channel_settings import EmailSettings, ImapMailbox
from connectors.email.envelope_builder import SmtpEnvelope
from connectors.email.imap.imap_cursor import CLOCK_SKEW, FolderCursor, first_cursor, renumbering, restarted
from connectors.email.imap.imap_intake import FetchedMail, _runs, believable
from connectors.email.imap.imap_log_in import server_text
from connectors.email.imap.imap_session import FolderState, MailSummary, _utc

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
STATE = FolderState(uidvalidity=5, uidnext=101)
_DATES = st.none() | st.datetimes(timezones=st.just(UTC))


def _mailbox(**changes: object) -> ImapMailbox:
    return ImapMailbox(**{"host": "imap.example.org", "username": "u", "password": "p", **changes})


@given(st.integers(1, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32), _DATES, _DATES)
def test_a_cursor_survives_the_store(uidvalidity: int, uid: int, end: int, floor: datetime | None, at: datetime | None):
    """What is written is what is read."""
    cursor = FolderCursor(uidvalidity=uidvalidity, uid=uid, backlog_end=end, floor=floor, witness=at)
    assert FolderCursor.from_json(cursor.to_json()) == cursor


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"uidvalidity": "x", "uid": 1, "backlog_end": 0}'])
def test_a_cursor_that_is_none(text: str):
    """Bytes of another program in the store raise what the caller expects."""
    with pytest.raises((ValueError, KeyError, AttributeError, TypeError)):
        FolderCursor.from_json(text)


def test_the_first_connection():
    """`new` begins behind the last mail, `all` before the first, a date at midnight of the office's time zone."""

    def first(since: str | date) -> FolderCursor:
        return first_cursor(STATE, _mailbox(since=since), now=NOW, timezone="Europe/Moscow")

    assert first("new") == FolderCursor(uidvalidity=5, uid=100, floor=NOW - CLOCK_SKEW)
    assert first("all") == FolderCursor(uidvalidity=5, uid=0, backlog_end=101)
    midnight = datetime(2026, 10, 31, 21, 0, tzinfo=UTC)
    assert first(date(2026, 11, 1)) == FolderCursor(uidvalidity=5, uid=0, backlog_end=101, floor=midnight)


def test_what_is_too_old():
    """Only mail that was there before us and is older than the floor; without a date it is taken."""
    cursor = FolderCursor(uidvalidity=5, uid=0, backlog_end=101, floor=NOW)
    old = NOW - timedelta(days=1)
    assert cursor.is_too_old(MailSummary(uid=100, internal_date=old))
    assert not cursor.is_too_old(MailSummary(uid=101, internal_date=old)), "came after us, whatever its date"
    assert not cursor.is_too_old(MailSummary(uid=100, internal_date=NOW))
    assert not cursor.is_too_old(MailSummary(uid=100))


def test_numbered_anew():
    """Another UIDVALIDITY, fewer UIDs than we know, another mail under the UID at the cursor: begin again."""
    cursor = FolderCursor(uidvalidity=5, uid=100, floor=NOW, witness=NOW)
    same, other = (MailSummary(uid=100, internal_date=moment) for moment in (NOW, NOW - timedelta(seconds=1)))
    assert renumbering(cursor, STATE, last=same) == ""
    assert renumbering(cursor, STATE, last=None) == "", "gone: nothing can be said"
    assert renumbering(cursor, STATE, last=other) == "witness"
    assert renumbering(cursor, FolderState(uidvalidity=6, uidnext=101), last=same) == "uidvalidity"
    assert renumbering(cursor, FolderState(uidvalidity=5, uidnext=100), last=None) == "uidnext"
    again = restarted(cursor, FolderState(uidvalidity=6, uidnext=30))
    assert again == FolderCursor(uidvalidity=6, uid=0, backlog_end=30, floor=NOW)


@pytest.mark.parametrize(
    ("internal_date", "expected"),
    [
        (None, None),
        (datetime(1970, 1, 1, tzinfo=UTC), None),
        (NOW - timedelta(days=400), NOW - timedelta(days=400)),
        (NOW + timedelta(minutes=3), NOW),
        (NOW + timedelta(days=400), None),
        (datetime(2026, 11, 22, 14, 59, tzinfo=timezone(timedelta(hours=3))), NOW - timedelta(minutes=1)),
    ],
)
def test_when_a_mail_was_received(internal_date: datetime | None, expected: datetime | None):
    """The server's date, unless it is in the future or before mail servers; nothing may put the deadline off."""
    assert believable(internal_date, now=NOW) == expected


def test_dates_without_sense():
    """Zones of more than a day, as a confused server sends them, are no date."""
    assert _utc(datetime(2026, 1, 1, tzinfo=FixedOffset(99 * 60))) is None
    assert _utc(datetime(2026, 1, 1)) is None  # noqa: DTZ001 - without a zone
    assert _utc(datetime.max.replace(tzinfo=timezone(-timedelta(hours=5)))) is None


@given(st.lists(st.integers(0, 40_000), max_size=30))
def test_mails_keep_their_order(sizes: list[int]):
    """Runs hold every mail once, in order; a large one is alone."""
    mails = [FetchedMail(summary=MailSummary(uid=uid), content=bytes(size)) for uid, size in enumerate(sizes)]
    runs = list(_runs(mails))
    assert [mail for run in runs for mail in run] == mails
    assert all(len(run) == 1 for run in runs if any(len(mail.content) > 16_384 for mail in run))


@given(st.binary(), st.text(min_size=1, max_size=10, alphabet="abcXYZ0189"))
def test_what_servers_say(text: bytes, secret: str):
    """One short line of printable characters, without the password that a server may repeat."""
    shown = server_text(text + secret.encode() + text, secret=secret)
    assert len(shown) <= 200
    assert shown == " ".join(shown.split())
    assert all(letter.isprintable() or ord(letter) > 0xA0 for letter in shown)
    assert secret not in shown.replace("***", "")


def test_the_time_of_receipt_survives_quarantine():
    """A mail that is retried a month later still has the day it was received."""
    envelope = SmtpEnvelope(rcpt_to=("a@b.c",), protocol="imap", received_at=NOW)
    assert SmtpEnvelope.from_context(envelope.to_context()) == envelope


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"password": ""}, "needs a password"),
        ({"auth": "xoauth2"}, "token_file or token_command"),
        ({"auth": "xoauth2", "token_file": "/a", "token_command": ["b"]}, "token_file or token_command"),
        ({"token_file": "relative"}, "absolute path"),
        ({"folders": ["A", "A"]}, "folders must differ"),
        ({"after": "move:INBOX"}, "folders must differ"),
        ({"after": "shred"}, "pattern"),
        ({"idle_renew_s": 1800}, "less than 1740"),
        ({"since": "yesterday"}, "since"),
        ({"folders": []}, "at least 1"),
    ],
)
def test_settings_that_cannot_work(changes: dict[str, object], message: str):
    """Each is refused with words that say what to change."""
    with pytest.raises(ValidationError, match=message):
        _mailbox(**changes)


def test_two_mailboxes_of_one_name():
    """They would share a cursor: each needs a name of its own."""
    with pytest.raises(ValidationError, match="two mailboxes are called u"):
        EmailSettings(imap=(_mailbox(), _mailbox(host="other.example.org")))
    named = EmailSettings(imap=(_mailbox(), _mailbox(name="second", password=SecretStr("q"))))
    assert [mailbox.key for mailbox in named.imap] == ["u", "second"]
