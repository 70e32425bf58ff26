"""Servers that talk nonsense, break off, lie or hang: the mailbox is read on, and each mail is taken in once."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from config.channel_settings import ImapMailbox
from connectors.email.imap import imap_batches, imap_reader, imap_session, imap_wire

from .imap_office import ImapOffice, mail
from .imap_script import ScriptedImap, serving

MAILS = 4
COMMANDS = ("GREETING", "CAPABILITY", "LOGIN", "EXAMINE", "NOOP", "UID SEARCH", "UID FETCH", "IDLE")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have readers try again at once, and not wait long for a silent server."""
    monkeypatch.setattr(imap_reader, "FIRST_BACK_OFF_S", 0.001)
    monkeypatch.setattr(imap_reader, "MAX_BACK_OFF_S", 0.01)
    monkeypatch.setattr(imap_reader, "LOG_IN_BACK_OFF_S", 0.001)
    monkeypatch.setattr(imap_reader, "MAX_LOG_IN_BACK_OFF_S", 0.01)
    monkeypatch.setattr(imap_reader, "EMPTY_PAUSE_S", 0.01)
    monkeypatch.setattr(imap_wire, "QUIET_S", 0.15)


def _mailbox(script: ScriptedImap, **changes: object) -> ImapMailbox:
    given = {"host": "127.0.0.1", "port": script.port, "tls": "none", "username": "u", "password": "p", "since": "all"}
    return ImapMailbox(**{**given, **changes})


def _script(**changes: object) -> ScriptedImap:
    return ScriptedImap(mails={uid * 3: mail(uid) for uid in range(1, MAILS + 1)}, **changes)


async def _read(
    script: ScriptedImap, until: Callable[[ImapOffice], bool] | None = None, **changes: object
) -> ImapOffice:
    """Run an office until the cursor is past the last mail, or until the condition holds."""
    with serving(script):
        office = ImapOffice(_mailbox(script, **changes), max_message_bytes=100_000)
        async with office.running():
            last = max(script.mails)
            await office.until(lambda: until(office) if until else office.uid() >= last, what="all read")
    return office


def _once(
    command: str, change: Callable[[bytes], bytes | None], *, skip: int = 0
) -> Callable[[str, bytes], bytes | None]:
    """Return an intrusion that changes one answer to `command`, after `skip` proper ones."""
    left = [skip]

    def intrude(name: str, answer: bytes) -> bytes | None:
        if name != command:
            return answer
        left[0] -= 1
        return change(answer) if left[0] == -1 else answer

    return intrude


_NONSENSE = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"* 1 FETCH (((((((((\r\n",
            b"* SEARCH 99999999999999999999\r\n",
            b"* SEARCH abc\r\n",
            b"* 1 FETCH (UID 3 BODY[] {99999999999}\r\n",
            b"* 1 FETCH (UID x)\r\n",
            b"* 1 FETCH (UID 3 BODY[] NIL)\r\n",
            b"* 5 EXISTS\r\n* 6 EXISTS\r\n",
            b"* BYE going\r\n",
            b"* NO [ALERT] full\r\n",
            b"+ \r\n",
            b"x99 OK what\r\n",
            b"* 1 FETCH (" + b"(" * 3000 + b"\r\n",
            b'* 1 FETCH (UID 3 INTERNALDATE "99-Foo-0000 99:99:99 +9999" RFC822.SIZE 1)\r\n',
            b"* OK [UIDVALIDITY 0] .\r\n",
            b"\r\n",
        ]
    ),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(command=st.sampled_from(COMMANDS), nonsense=_NONSENSE, skip=st.integers(0, 2), place=st.sampled_from("<|>x"))
@example(command="UID FETCH", nonsense=b"* 1 FETCH (" + b"(" * 3000 + b"\r\n", skip=1, place="<")
@example(command="EXAMINE", nonsense=b"* OK [UIDVALIDITY 0] .\r\n", skip=0, place="|")
def test_any_bytes_at_any_time(command: str, nonsense: bytes, skip: int, place: str):
    """Nonsense before, instead of or after an answer, or the end of the connection: all mails come, each once."""

    def change(answer: bytes) -> bytes | None:
        return {"<": nonsense + answer, "|": nonsense, ">": answer + nonsense, "x": None}[place]

    script = _script(intrude=_once(command, change, skip=skip))
    office = asyncio.run(_read(script))
    subjects = office.subjects
    assert len(subjects) == len(set(subjects))
    held = len(office.intake.quarantined)
    assert len(subjects) + held >= MAILS
    if not held:
        assert sorted(subjects) == [f"Отопление {uid}" for uid in range(1, MAILS + 1)]


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(cut=st.integers(0, 400))
def test_cut_off_anywhere(cut: int):
    """The connection ends in the middle of the mails: those that came whole are kept, the others come again."""
    script = _script(intrude=_once("UID FETCH", lambda answer: _hang_up_after(answer, cut), skip=1))
    office = asyncio.run(_read(script))
    assert sorted(office.subjects) == [f"Отопление {uid}" for uid in range(1, MAILS + 1)]


def _hang_up_after(answer: bytes, size: int) -> bytes:
    return answer[:size]  # and then silence: the reader hangs up


async def test_a_server_without_idle():
    """It is asked now and then instead."""
    script = _script(capabilities="IMAP4rev1")
    with serving(script):
        office = ImapOffice(_mailbox(script, poll_interval_s=0.05))
        async with office.running():
            await office.registered(MAILS)
            script.mails[100] = mail(100)
            await office.registered(MAILS + 1)
    assert "IDLE" not in script.commands


async def test_a_server_that_refuses_idle(monkeypatch: pytest.MonkeyPatch):
    """What it offers and then refuses is not asked for again; it is polled."""

    def refuse(connection: socket.socket, _: object, tag: str) -> bool:
        connection.sendall(f"{tag} BAD no\r\n".encode())
        return True

    script = _script()
    monkeypatch.setattr(script, "_idle", refuse)
    with serving(script):
        office = ImapOffice(_mailbox(script, poll_interval_s=0.05))
        async with office.running():
            await office.until(lambda: "IDLE" in script.commands, what="IDLE tried")
            script.mails[100] = mail(100)
            await office.registered(MAILS + 1)
    assert script.commands.count("IDLE") == 1


async def test_news_in_the_same_packet_as_the_answer_to_idle():
    """EXISTS right behind the continuation is not overlooked: the reader looks at once."""
    script = _script()
    added = False

    def add(command: str, answer: bytes) -> bytes:
        nonlocal added
        if command == "IDLE" and not added:
            added = True
            script.mails[100] = mail(100)
            return answer + b"* 5 EXISTS\r\n"
        return answer

    script.intrude = add
    office = await _read(script, lambda office: office.uid() == 100)
    assert len(office.subjects) == MAILS + 1


async def test_a_mail_that_breaks_the_connection():
    """The server dies at one mail, every time: it is held with its header, the others are taken in."""

    def die(command: str, answer: bytes) -> bytes | None:
        return None if command == "UID FETCH" and b"BODY[] " in answer and b"UID 6 " in answer else answer

    office = await _read(_script(intrude=die))
    assert sorted(office.subjects) == ["Отопление 1", "Отопление 3", "Отопление 4"]
    (item, content), *more = office.intake.quarantined
    assert not more
    assert f"in {imap_batches.MAX_TRIES} tries" in item.reason
    assert item.context["imap_uid"] == "6"
    assert b"Message-ID: <2@example.org>" in content


async def test_a_mail_that_is_not_handed_out():
    """The server lists a mail and answers OK without it (Exchange does): it is held, the others are taken in."""

    def leave_out(command: str, answer: bytes) -> bytes:
        if command != "UID FETCH" or b"BODY[] " not in answer or b"UID 6 " not in answer:
            return answer
        start = answer.index(b"UID 6 ")
        begin = answer.rindex(b"* ", 0, start)
        return answer[:begin] + answer[answer.index(b")\r\n", start) + 3 :]

    office = await _read(_script(intrude=leave_out))
    assert sorted(office.subjects) == ["Отопление 1", "Отопление 3", "Отопление 4"]
    assert [item.context["imap_uid"] for item, _ in office.intake.quarantined] == ["6"]


async def test_a_mail_that_is_larger_than_it_says():
    """RFC822.SIZE lies: the mail is not read into memory, it is held, and the others are taken in."""
    script = _script()
    script.mails[6] = mail(2, size_bytes=2_000_000)
    script.sizes[6] = 500
    office = await _read(script)
    assert sorted(office.subjects) == ["Отопление 1", "Отопление 3", "Отопление 4"]
    assert "larger than email.max_message_bytes" in office.intake.quarantined[0][0].reason


async def test_a_mail_that_goes_while_it_is_fetched():
    """Described, then expunged by somebody: it is passed over without trouble."""
    script = _script()

    def expunge(command: str, answer: bytes) -> bytes:
        if command == "UID FETCH" and b"RFC822.SIZE" in answer:
            script.mails.pop(6, None)
        return answer

    script.intrude = expunge
    office = await _read(script)
    assert sorted(office.subjects) == ["Отопление 1", "Отопление 3", "Отопление 4"]
    assert not office.intake.quarantined


async def test_a_server_without_uidvalidity():
    """Mails cannot be told apart there: it is said, and nothing is taken."""

    def leave_out(command: str, answer: bytes) -> bytes:
        return answer.replace(b"UIDVALIDITY", b"UIDSOMETHING") if command == "EXAMINE" else answer

    office = await _read(_script(intrude=leave_out), lambda office: "no UIDVALIDITY" in office.trouble)
    assert not office.subjects


async def test_an_endless_answer(monkeypatch: pytest.MonkeyPatch):
    """A server that never stops talking is hung up on: memory is bounded."""
    monkeypatch.setattr(imap_session, "ANSWER_BYTES", 100_000)
    script = _script(intrude=_once("UID SEARCH", lambda answer: b"* OK more\r\n" * 100_000 + answer))
    office = await _read(script)
    assert len(office.subjects) == MAILS


async def test_uids_from_beyond(monkeypatch: pytest.MonkeyPatch):
    """A search that names a UID which cannot be moves the cursor past nothing."""
    script = _script(intrude=_once("UID SEARCH", lambda answer: answer.replace(b"* SEARCH", b"* SEARCH 4294967296 0")))
    office = await _read(script)
    assert len(office.subjects) == MAILS
    assert office.uid() == 12


@pytest.mark.parametrize("source", ["file", "command"])
async def test_xoauth2(tmp_path: Path, source: str):
    """The token is read anew at each log-in, and sent as the mechanism wants it."""
    token = tmp_path / "token"
    token.write_text("abc.def\n")
    script = _script(capabilities="IMAP4rev1 AUTH=XOAUTH2")
    given = {"token_file": token} if source == "file" else {"token_command": ("cat", str(token))}
    office = await _read(script, auth="xoauth2", password="", **given)
    assert len(office.subjects) == MAILS
    assert script.log_ins[0] == b"user=u\x01auth=Bearer abc.def\x01\x01"


async def test_no_token(tmp_path: Path):
    """A token that cannot be had is said, with the mailbox's name and without a traceback."""
    script = _script(capabilities="IMAP4rev1 AUTH=XOAUTH2")
    await _read(
        script,
        lambda office: "no access token for mailbox u" in office.trouble,
        auth="xoauth2",
        password="",
        token_file=tmp_path / "none",
    )


async def test_a_log_in_that_is_refused_says_why_without_the_password():
    """The server's words are shown, but not a password that it repeats."""

    def refuse(command: str, answer: bytes) -> bytes:
        if command != "LOGIN":
            return answer
        return answer.partition(b" ")[0] + b" NO [AUTHENTICATIONFAILED] s3cret-w0rd is wrong\r\n"

    office = await _read(
        _script(intrude=refuse), lambda office: "refuses the log-in" in office.trouble, password="s3cret-w0rd"
    )
    assert not office.subjects


async def test_passwords_go_over_no_plain_connection_that_refuses_them():
    """LOGINDISABLED without AUTH=PLAIN: nothing is sent, and health says what to set."""
    script = _script(capabilities="IMAP4rev1 STARTTLS LOGINDISABLED")
    await _read(script, lambda office: "takes no password on this connection" in office.trouble)
    assert "LOGIN" not in script.commands


@pytest.mark.parametrize(
    ("capabilities", "after", "expected"),
    [
        ("IMAP4rev1 MOVE UIDPLUS", "move:Done", ["UID MOVE"]),
        ("IMAP4rev1 UIDPLUS", "move:Done", ["UID COPY", "UID STORE", "UID EXPUNGE"]),
        ("IMAP4rev1", "move:Done", ["UID COPY", "UID STORE"]),
        ("IMAP4rev1 UIDPLUS", "delete", ["UID STORE", "UID EXPUNGE"]),
        ("IMAP4rev1", "delete", ["UID STORE"]),  # EXPUNGE alone would take what people have marked as well
        ("IMAP4rev1", "mark_seen", ["UID STORE"]),
    ],
)
async def test_servers_that_can_do_less(capabilities: str, after: str, expected: list[str]):
    """Moving and deleting by what a server offers, and never more than our own mails."""
    script = _script(capabilities=capabilities)
    office = await _read(script, after=after, poll_interval_s=5)
    assert len(office.subjects) == MAILS
    done = [command for command in script.commands if command in {"UID MOVE", "UID COPY", "UID STORE", "UID EXPUNGE"}]
    assert done == expected
    assert "EXPUNGE" not in script.commands


async def test_a_connection_that_ends_whenever_mails_are_moved():
    """Moving never works: after a few tries the mails are let be, and the mailbox is read on."""
    script = _script(intrude=lambda command, answer: None if command == "UID MOVE" else answer)
    script.capabilities = "IMAP4rev1 IDLE MOVE"
    office = await _read(script, after="move:Done")
    assert len(office.subjects) == MAILS
    assert script.commands.count("UID MOVE") == imap_batches.MAX_DISPOSE_TRIES
