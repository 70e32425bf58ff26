"""Mail fetched from a real Dovecot: each once, over outages, renumbered folders and failing stores."""

import asyncio
import smtplib
import time
from datetime import UTC, date, datetime, timedelta

import pytest
from imapclient import IMAPClient
from imapclient.imap_utf7 import encode

from appeals.errors import PermanentError, TransientError
from connectors.base import HealthState
from connectors.email.imap import imap_reader
from tests.dovecot import PASSWORD, DovecotServer, MailUser

from .conftest import MAILBOX
from .imap_office import ImapOffice, mail, mailbox

DAY_S = 24 * 3600


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have readers try again soon."""
    monkeypatch.setattr(imap_reader, "FIRST_BACK_OFF_S", 0.02)
    monkeypatch.setattr(imap_reader, "MAX_BACK_OFF_S", 0.1)
    monkeypatch.setattr(imap_reader, "LOG_IN_BACK_OFF_S", 0.1)


@pytest.fixture
def user(dovecot_server: DovecotServer) -> MailUser:
    """Return a user with an empty INBOX."""
    return dovecot_server.add_user()


@pytest.fixture
def office(dovecot_server: DovecotServer, user: MailUser) -> ImapOffice:
    """Return an office that reads that INBOX."""
    return ImapOffice(mailbox(dovecot_server, user))


async def test_a_mail_is_taken_in_as_it_is(office: ImapOffice, user: MailUser):
    """The bytes are the server's, the time of receipt is its INTERNALDATE, and no flag is set."""
    received_at = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
    user.deliver(mail(1), received_at=received_at.timestamp())
    async with office.running():
        await office.settled(1)
        await office.up()
        health = office.connector.health()
    envelope, contents = office.intake.registered[0]
    assert envelope.received_at == received_at
    assert contents[envelope.raw.sha256] == mail(1)
    assert envelope.sender.value == "ivan@example.org"
    assert health.last_message_at is not None
    assert any(address.startswith("imap://") for address in health.addresses)
    assert [path.name.partition(":2,")[2] for path in user.files()] == [""], "no flag is set"


async def test_news_wake_the_reader(office: ImapOffice, user: MailUser):
    """While it waits in IDLE a new mail is taken in at once, not at the next renewal nine minutes later."""
    async with office.running():
        await office.up()
        for number in range(1, 4):
            user.deliver(mail(number))
            await office.registered(number)


@pytest.mark.parametrize("since", ["new", "all", date(2026, 11, 15)])
async def test_what_was_there_before_us(dovecot_server: DovecotServer, user: MailUser, since: str | date):
    """`since` says what is taken of a mailbox that was in use; whatever comes later is taken in any case."""
    old, young = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 18, tzinfo=UTC)
    user.deliver(mail(1), received_at=old.timestamp())
    user.deliver(mail(2), received_at=young.timestamp())
    office = ImapOffice(mailbox(dovecot_server, user, since=since))
    async with office.running():
        await office.settled(2)
        user.deliver(mail(3), received_at=old.timestamp())  # moved here from another folder
        await office.settled(3)
    expected = {"new": [3], "all": [1, 2, 3]}.get(str(since), [2, 3])
    assert office.subjects == [f"Отопление {number}" for number in expected]


async def test_a_week_without_the_server(own_dovecot_server: DovecotServer):
    """Killed while it is read; a week's mail comes; restarted: all is taken in exactly once, with its time."""
    user = own_dovecot_server.add_user()
    office = ImapOffice(mailbox(own_dovecot_server, user))
    user.deliver(mail(0))
    async with office.running():
        await office.settled(1)
        own_dovecot_server.kill()
        await office.until(lambda: "imap" in office.trouble, what="trouble shown")
        assert office.connector.health().state is HealthState.DEGRADED
        begin = time.time() - 7 * DAY_S
        for number in range(1, 71):
            user.deliver(mail(number), received_at=begin + number * DAY_S / 10)
        own_dovecot_server.restart()
        await office.settled(71)
        await office.up()
    assert sorted(office.subjects) == sorted(f"Отопление {number}" for number in range(71))
    received = [envelope.received_at.timestamp() for envelope, _ in office.intake.registered[1:]]
    assert received == sorted(received)
    assert received[0] < begin + DAY_S


async def test_a_week_without_us(office: ImapOffice, user: MailUser):
    """Nothing is fetched twice after a stop, and nothing that came meanwhile is missed, also with gaps in the UIDs."""
    for number in range(5):
        user.deliver(mail(number))
    async with office.running():
        await office.settled(5)
    known = len(office.intake._known)
    for number in range(5, 12):
        user.deliver(mail(number))
    for path in user.files()[3:9]:  # some of the old and some of the new are gone
        path.unlink()
    async with office.running():
        await office.settled(office.uid() + 1)
        await office.registered(known + 3)
        await office.up()
    assert len(office.subjects) == len(set(office.subjects)) == 8


async def test_a_folder_numbered_anew(office: ImapOffice, user: MailUser):
    """Another UIDVALIDITY: all is read again, nothing is registered twice, what is new is found."""
    for number in range(4):
        user.deliver(mail(number))
    async with office.running():
        await office.settled(4)
    before = list(office.cursors._values.values())
    user.destroy()
    user.deliver(mail(4))
    async with office.running():
        await office.registered(5)
        await office.settled(5)
    assert list(office.cursors._values.values()) != before
    assert office.subjects == [f"Отопление {number}" for number in range(5)]


async def test_a_folder_numbered_anew_brings_no_old_mail(dovecot_server: DovecotServer, user: MailUser):
    """Mail from before the first connection stays out, also when the folder is numbered anew."""
    for number in range(3):
        user.deliver(mail(number), received_at=time.time() - 30 * DAY_S)
    office = ImapOffice(mailbox(dovecot_server, user, since="new"))
    async with office.running():
        await office.settled(3)
        user.deliver(mail(3))
        await office.settled(4)
    user.destroy()
    user.deliver(mail(4))
    async with office.running():
        await office.registered(2)
        await office.settled(5)
    assert office.subjects == ["Отопление 3", "Отопление 4"]


async def test_a_folder_deleted_and_made_again(dovecot_server: DovecotServer, user: MailUser):
    """Somebody deletes the folder that is just read, makes it again and puts the mail back: what is new is taken."""
    office = ImapOffice(mailbox(dovecot_server, user, folders=("Жалобы 2026",), idle_renew_s=0.3))

    def client_puts(*numbers: int, again: bool = False) -> None:
        with IMAPClient("127.0.0.1", dovecot_server.port, ssl=False) as client:
            client.plain_login(user.name, PASSWORD)
            if again:
                client.delete_folder("Жалобы 2026")
            client.create_folder("Жалобы 2026")
            for number in numbers:
                client.append("Жалобы 2026", mail(number))

    await asyncio.to_thread(client_puts, 1, 2)
    async with office.running():
        await office.registered(2)
        await office.up()
        await asyncio.to_thread(client_puts, 1, 2, 3, again=True)
        await office.registered(3)
        user.deliver(mail(9), folder=encode("Жалобы 2026").decode())
        await office.registered(4)
    assert office.subjects == [f"Отопление {number}" for number in (1, 2, 3, 9)]


async def test_a_server_restored_from_a_backup(office: ImapOffice, user: MailUser, tmp_path):
    """UIDs given a second time under the same UIDVALIDITY are noticed by the date of the mail at the cursor."""
    now = time.time()
    user.deliver(mail(0), received_at=now - 500)
    async with office.running():
        await office.settled(1)
    backup = {path: path.read_bytes() for path in user.maildir().glob("dovecot*")}
    user.deliver(mail(1), received_at=now - 400)
    async with office.running():
        await office.settled(2)
    for path in user.maildir().glob("dovecot*"):
        path.unlink()
    for path in user.files()[1:]:
        path.unlink()
    for path, content in backup.items():
        path.write_bytes(content)
        user._server._give(path)
    user.deliver(mail(2), received_at=now - 300)
    user.deliver(mail(3), received_at=now - 200)
    async with office.running():
        await office.registered(4)
        await office.settled(3)
    assert office.subjects == [f"Отопление {number}" for number in range(4)]


async def test_a_kill_between_commit_and_cursor(office: ImapOffice, user: MailUser):
    """The cursor cannot be committed: mails come again, are known, and the cursor follows as soon as it can."""
    office.cursors.failures = 3
    for number in range(6):
        user.deliver(mail(number))
    async with office.running():
        await office.settled(6)
    assert office.cursors.failures == 0
    assert sorted(office.subjects) == sorted(f"Отопление {number}" for number in range(6))


async def test_a_registry_that_is_down_at_the_first_connection(dovecot_server: DovecotServer, user: MailUser):
    """What comes between the first connection and the first commit of the cursor is new mail, not old."""
    user.deliver(mail(1))
    office = ImapOffice(mailbox(dovecot_server, user, since="new"))
    office.cursors.failures = 1_000_000
    async with office.running():
        await office.until(lambda: office.cursors.puts > 0, what="tried")
        user.deliver(mail(2))
        tried = office.cursors.puts
        await office.until(lambda: office.cursors.puts > tried + 1, what="tried again")
        office.cursors.failures = 0
        await office.settled(2)
    assert office.subjects == ["Отопление 2"]


async def test_a_registry_that_is_down(office: ImapOffice, user: MailUser):
    """Nothing can be kept: the cursor stays; when the registry is back all is taken in."""
    office.intake.register_error = TransientError("the registry is down")
    user.deliver(mail(1))
    async with office.running():
        await office.until(lambda: "the registry is down" in office.trouble, what="trouble")
        assert office.uid() == 0
        office.intake.register_error = None
        await office.settled(1)
    assert office.subjects == ["Отопление 1"]


async def test_a_mail_the_registry_refuses(office: ImapOffice, user: MailUser):
    """A mail that can never be registered is held with its bytes, and the next one is taken in."""
    office.intake.register_error = PermanentError("no")
    user.deliver(mail(1))
    async with office.running():
        await office.settled(1)
        office.intake.register_error = None
        user.deliver(mail(2))
        await office.settled(2)
    assert [content for _, content in office.intake.quarantined] == [mail(1)]
    assert office.subjects == ["Отопление 2"]


async def test_a_bug_of_ours_stops_nothing(office: ImapOffice, user: MailUser):
    """An exception nobody expected puts the mail into quarantine, and the mailbox is read on."""
    office.intake.register_error = ZeroDivisionError("a bug")
    user.deliver(mail(1))
    async with office.running():
        await office.settled(1)
        office.intake.register_error = None
        user.deliver(mail(2))
        await office.settled(2)
    assert [content for _, content in office.intake.quarantined] == [mail(1)]
    assert office.subjects == ["Отопление 2"]


async def test_too_large_a_mail(office: ImapOffice, user: MailUser):
    """It is held with its header and stays on the server; the rest is taken in; a retry fetches it."""
    office.changes["max_message_bytes"] = 64 * 1024
    user.deliver(mail(1, size_bytes=300_000))
    user.deliver(mail(2))
    async with office.running():
        await office.settled(2)
        item, content = office.intake.quarantined[0]
        with pytest.raises(PermanentError, match=r"raise email\.max_message_bytes"):
            await office.connector.retry(content, item.context)
    assert b"Message-ID: <1@example.org>" in content
    assert len(content) < 64 * 1024
    assert "larger than email.max_message_bytes (65536)" in item.reason
    assert len(user.files()) == 2
    assert office.subjects == ["Отопление 2"]
    office.changes["max_message_bytes"] = 1024 * 1024
    async with office.running():
        await office.connector.retry(content, item.context)
    envelope, contents = office.intake.registered[1]
    assert contents[envelope.raw.sha256] == mail(1, size_bytes=300_000)


@pytest.mark.parametrize(
    ("after", "left", "flags"),
    [("keep", 1, {""}), ("mark_seen", 1, {"S"}), ("delete", 0, set()), ("move:Done", 0, set())],
)
async def test_what_is_done_afterwards(
    dovecot_server: DovecotServer, user: MailUser, after: str, left: int, flags: set[str]
):
    """After the commit a mail is kept, marked, deleted or moved, as the settings say; before it, never."""
    for sub in ("cur", "new", "tmp"):
        path = user.maildir("Done") / sub
        path.mkdir(parents=True)
        dovecot_server._give(path)
    dovecot_server._give(user.maildir("Done"))
    office = ImapOffice(mailbox(dovecot_server, user, after=after))
    office.intake.gate = asyncio.Event()
    user.deliver(mail(1))
    async with office.running():
        await office.intake.entered.wait()
        assert {path.name.partition(":2,")[2] for path in user.files()} == {""}
        office.intake.gate.set()
        await office.settled(1)
    assert len(user.files()) == left
    assert {path.name.partition(":2,")[2] for path in user.files()} == flags
    assert len(user.files("Done")) == (after == "move:Done")


async def test_a_folder_to_move_to_that_is_not_there(dovecot_server: DovecotServer, user: MailUser):
    """Mails are registered all the same, stay where they are, and health says why."""
    office = ImapOffice(mailbox(dovecot_server, user, after="move:Nowhere"))
    user.deliver(mail(1))
    async with office.running():
        await office.settled(1)
        assert "stay where they are" in office.trouble
        assert office.connector.health().state is HealthState.DEGRADED
    assert len(user.files()) == 1
    assert office.subjects == ["Отопление 1"]


async def test_a_wrong_password(dovecot_server: DovecotServer, user: MailUser, monkeypatch: pytest.MonkeyPatch):
    """It is said clearly and tried again slowly; the other mailbox is read."""
    monkeypatch.setattr(imap_reader, "LOG_IN_BACK_OFF_S", 60.0)
    user.deliver(mail(1))
    other = dovecot_server.add_user()
    wrong = mailbox(dovecot_server, other, password="wrong", name="second")
    office = ImapOffice(mailbox(dovecot_server, user), wrong)
    async with office.running():
        await office.settled(1)
        await office.until(lambda: "refuses the log-in" in office.trouble, what="trouble")
        assert "check username and password of mailbox second" in office.trouble
        assert "wrong" not in office.trouble


async def test_a_folder_that_is_not_there(dovecot_server: DovecotServer, user: MailUser):
    """One folder's name is wrong: it is said, and the other is read."""
    office = ImapOffice(mailbox(dovecot_server, user, folders=("INBOX", "Жалобы")))
    user.deliver(mail(1))
    async with office.running():
        await office.settled(1)
        await office.until(lambda: "'Жалобы' cannot be opened" in office.trouble, what="trouble")


async def test_a_backlog(office: ImapOffice, user: MailUser):
    """Hundreds of old mails come in batches, in order, with a few commits of the cursor."""
    for number in range(260):
        user.deliver(mail(number, size_bytes=20_000 if number % 100 == 0 else 0))
    async with office.running():
        await office.settled(260)
    assert office.subjects == [f"Отопление {number}" for number in range(260)]
    assert office.cursors.puts < 30


async def test_garbage(office: ImapOffice, user: MailUser):
    """What is hardly a mail is registered or held, and blocks nothing."""
    for content in (
        b"\x00\xff\x00",
        b"\r\n",
        b"From: \xff\r\n",
        b"(" * 5000,
        b"* 1 FETCH (UID 9)\r\n)\r\nx1 OK\r\n",
        b"",
    ):
        user.deliver(content)
    user.deliver(mail(1))
    async with office.running():
        await office.settled(7)
    assert "Отопление 1" in office.subjects
    assert len(office.subjects) + len(office.intake.quarantined) >= 6


async def test_the_same_mail_by_smtp(office: ImapOffice, user: MailUser):
    """A mail that comes over SMTP as well, with other trace fields, is one envelope."""
    async with office.running():
        await office.up()
        port = int(office.connector.health().addresses[0].rpartition(":")[2])
        content = mail(1).partition(b"\r\n")[2].partition(b"\r\n")[2]  # without Return-Path and Delivered-To

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.sendmail("ivan@example.org", [MAILBOX], content)

        await asyncio.to_thread(send)
        trace = b"Received: from mx.example.org by mail.example.org; Mon, 02 Nov 2026 10:00:00 +0300\r\n"
        user.deliver(trace + mail(1))
        await office.settled(1)
    assert office.subjects == ["Отопление 1"]


async def test_stopped_with_a_mail_in_hand(office: ImapOffice, user: MailUser):
    """`stop` waits for the commit, and the cursor moves past it: the next start fetches nothing twice."""
    office.intake.gate = asyncio.Event()
    user.deliver(mail(1))
    async with asyncio.TaskGroup() as tasks, office.running():
        await office.intake.entered.wait()
        tasks.create_task(_later(office.intake.gate))
    assert office.uid() == 1
    assert office.subjects == ["Отопление 1"]


async def _later(gate: asyncio.Event) -> None:
    for _ in range(5):
        await asyncio.sleep(0)
    gate.set()


@pytest.mark.parametrize("tls", ["tls", "starttls"])
async def test_over_tls(dovecot_server: DovecotServer, user: MailUser, tls: str):
    """TLS from the start and STARTTLS, with the office's own authority; without it the server is not believed."""
    user.deliver(mail(1))
    port = dovecot_server.tls_port if tls == "tls" else dovecot_server.port
    settings = mailbox(dovecot_server, user, tls=tls, port=port, host="localhost", tls_ca_file=dovecot_server.ca_file)
    stranger = settings.model_copy(update={"tls_ca_file": None, "name": "stranger"})
    office = ImapOffice(settings, stranger)
    async with office.running():
        await office.settled(1)
        await office.until(lambda: "TLS: CERTIFICATE_VERIFY_FAILED" in office.trouble, what="trouble")
    assert office.uid(of=1) == -1


async def test_a_date_in_the_future(office: ImapOffice, user: MailUser):
    """A server whose clock is wrong cannot move the law's deadline away from the citizen."""
    user.deliver(mail(1), received_at=time.time() + 400 * DAY_S)
    async with office.running():
        await office.settled(1)
    assert office.intake.envelope.received_at <= datetime.now(UTC) + timedelta(seconds=5)
