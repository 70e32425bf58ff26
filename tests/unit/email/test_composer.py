"""Outbound mails: what a composed mail says, byte for byte and as it is read again."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from appeals.envelope import ContactPoint, ContactPointKind
from appeals.errors import ConfigurationError
from appeals.reply import ReplyKind
from config.channel_settings import DkimKey, EmailSettings
from connectors.base import OutboundMessage
from connectors.email import check_mail_out
from connectors.email.parsing.message_parser import parse_mail
from connectors.email.sending.composer import MAX_REFERENCES, Composer, OutboundMail

MAILBOXES = ("appeals@okno.example", "bounces@okno.example")
NOW = datetime(2025, 3, 3, 10, tzinfo=UTC)


async def _no_blob(_: str) -> bytes:
    raise AssertionError


def _message(**changes: Any) -> OutboundMessage:
    reply_id = uuid7()
    values: dict[str, Any] = {
        "reply_id": reply_id,
        "kind": ReplyKind.ANSWER,
        "appeal_number": "482-719-3561",
        "recipient": ContactPoint(kind=ContactPointKind.EMAIL, value="ivan@example.org"),
        "subject": "Re: Отопление",
        "text": "Здравствуйте!",
        "language": "ru",
        "message_id": f"{reply_id.hex}@okno.example",
        "reply_token": "t0ken",
        "read_blob": _no_blob,
        **changes,
    }
    return OutboundMessage(**values)


def _compose(message: OutboundMessage, **options: Any) -> OutboundMail:
    return Composer("Office <appeals@okno.example>", mailboxes=MAILBOXES, **options).compose(message, (), now=NOW)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=400))
@example("From here on\nFrom there\n")
@example("word " * 300)
@example("trailing spaces   \n\t\n.\n..\nend")
@example("Ж" * 500)
@example("a=b=3D\n=\n")
@example("x" * 5000)
def test_any_text_arrives_as_it_was_written(text: str):
    """Whatever an agent writes is read again as it was, over lines that every relay passes on unchanged."""
    mail = _compose(_message(text=text))
    assert mail.content.isascii()
    lines = mail.content.split(b"\r\n")
    assert all(len(line) <= 78 for line in lines)
    assert not any(line.startswith(b"From ") or line.endswith((b" ", b"\t")) for line in lines)
    assert b"\n" not in mail.content.replace(b"\r\n", b"")
    expected = parse_mail(b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + text.encode("utf-8", "replace")).text
    assert parse_mail(mail.content).text == expected


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Plain words.", "7bit"),
        ("One long line" + " of English words" * 30, "quoted-printable"),
        ("Mostly English with one é in a fairly long sentence.", "quoted-printable"),
        ("Здравствуйте, уважаемый Иван Иванович!", "base64"),
        ("From me", "quoted-printable"),
    ],
)
def test_the_shortest_encoding(text: str, encoding: str):
    """Plain text stays plain; other text goes in the encoding that takes less room."""
    mail = message_from_bytes(_compose(_message(text=text)).content, policy=policy.default)
    assert mail["Content-Transfer-Encoding"] == encoding
    assert mail.get_content().replace("\r\n", "\n").rstrip("\n") == text.rstrip()


@pytest.mark.parametrize(
    ("kind", "submitted"),
    [
        (ReplyKind.ACKNOWLEDGEMENT, "auto-replied"),
        (ReplyKind.NOTICE, "auto-generated"),
        (ReplyKind.ANSWER, None),
    ],
)
def test_what_says_that_a_machine_wrote(kind: ReplyKind, submitted: str | None):
    """Machines' mails say so and ask for no vacation notes; a person's does not; none pretends to be a list's."""
    mail = message_from_bytes(_compose(_message(kind=kind)).content)
    assert mail["Auto-Submitted"] == submitted
    assert (mail["X-Auto-Response-Suppress"] == "All") is (submitted is not None)
    assert not [name for name in mail if name.lower().startswith("list-") or name.lower() == "precedence"]
    if submitted:
        assert parse_mail(_compose(_message(kind=kind)).content).automatic


def test_our_mark_survives_a_new_message_id():
    """Every mail carries its id twice, so that it is known even if a relay replaces its Message-ID."""
    message = _message()
    content = _compose(message).content
    replaced = content.replace(f"Message-ID: <{message.message_id}>".encode(), b"Message-ID: <new@relay.example>", 1)
    assert parse_mail(replaced).own_message_id == message.message_id
    assert parse_mail(replaced).message_id == "new@relay.example"


def test_references_are_trimmed():
    """Of a long thread the first message and the newest stay; ids that are none are left out."""
    ids = tuple(f"{number}@example.org" for number in range(100))
    mail = message_from_bytes(_compose(_message(in_reply_to=("bad id", *ids, "ж@x"))).content)
    references = mail["References"].split()
    assert references == ["<0@example.org>", *(f"<{item}>" for item in ids[1 - MAX_REFERENCES :])]
    assert mail["In-Reply-To"].strip() == "<99@example.org>"
    long_ids = tuple(f"{number}{'x' * 900}@example.org" for number in range(20))
    mail = message_from_bytes(_compose(_message(in_reply_to=long_ids)).content)
    kept = mail["References"].split()
    assert kept[0] == f"<{long_ids[0]}>"
    assert kept[-1] == f"<{long_ids[-1]}>"
    assert len(mail["References"]) < 5000
    one = message_from_bytes(_compose(_message(in_reply_to=("1@x",))).content)
    assert one["References"].split() == ["<1@x>"]


def test_the_return_path():
    """The return path is the sender, or as configured; with VERP its plus-part names the mail."""
    message = _message()
    assert _compose(message).mail_from == "appeals@okno.example"
    assert _compose(message, return_path="bounces@okno.example").mail_from == "bounces@okno.example"
    hex_id = message.message_id.partition("@")[0]
    verp = _compose(message, return_path="bounces@okno.example", verp=True)
    assert verp.mail_from == f"bounces+b-{hex_id}@okno.example"
    with pytest.raises(ConfigurationError, match=r"email\.return_path"):
        _compose(message, return_path="elsewhere@okno.example")
    with pytest.raises(ConfigurationError, match=r"email\.verp"):
        Composer("x@elsewhere.example", mailboxes=MAILBOXES, verp=True)


def test_read_receipts_are_asked_for_with_answers_only():
    """If the office wants receipts, answers ask for them; acknowledgements never do."""
    answer = message_from_bytes(_compose(_message(), read_receipts=True).content)
    assert answer["Disposition-Notification-To"] == "appeals@okno.example"
    receipt = message_from_bytes(_compose(_message(kind=ReplyKind.ACKNOWLEDGEMENT), read_receipts=True).content)
    assert receipt["Disposition-Notification-To"] is None
    assert message_from_bytes(_compose(_message()).content)["Disposition-Notification-To"] is None


def test_international_addresses():
    """A Cyrillic domain goes in its ASCII form; a Cyrillic local part makes the header UTF-8 (RFC 6532)."""
    recipient = ContactPoint(kind=ContactPointKind.EMAIL, value="ivan@почта.рф")
    mail = _compose(_message(recipient=recipient))
    assert (mail.rcpt_to, mail.needs_smtputf8) == ("ivan@xn--80a1acny.xn--p1ai", False)
    assert b"To: ivan@xn--80a1acny.xn--p1ai\r\n" in mail.content
    recipient = ContactPoint(kind=ContactPointKind.EMAIL, value="иван@почта.рф")
    mail = _compose(_message(recipient=recipient))
    assert mail.needs_smtputf8
    assert "To: иван@xn--80a1acny.xn--p1ai\r\n".encode() in mail.content


def test_the_senders_name():
    """A name in Cyrillic is an encoded word; quotes within one stay within one."""
    for name in ("Администрация города", 'The "Office", 1st', "Office"):
        composer = Composer(f'"{name.replace(chr(34), chr(92) + chr(34))}" <appeals@okno.example>', mailboxes=MAILBOXES)
        content = composer.compose(_message(), (), now=NOW).content
        sender = parse_mail(content).sender
        assert sender is not None
        assert (sender.name, sender.address) == (name, "appeals@okno.example")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200), st.lists(st.text(max_size=50), max_size=5), st.text(max_size=40), st.text(max_size=20))
def test_no_value_adds_a_field(subject: str, ids: list[str], token: str, language: str):
    """Whatever subject, ids, token and language are, the header has the fields we wrote and no other."""
    message = _message(subject=subject, in_reply_to=tuple(ids), reply_token=token, language=language)
    header, _, body = _compose(message).content.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in header.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    known = {
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "X-Okno-Message-ID",
        "Reply-To",
        "In-Reply-To",
        "References",
    }
    known |= {"Content-Language", "Content-Type", "MIME-Version", "Content-Transfer-Encoding"}
    assert {name.decode() for name in names} <= known
    assert len(names) == len(set(names))
    assert body.isascii()


def test_the_check_of_mail_out(tmp_path: Path):
    """`okno check` refuses a key that is none and a return path that is not ours, and warns of what is odd."""
    assert check_mail_out(EmailSettings()) == []
    (odd,) = check_mail_out(EmailSettings(sender="office@elsewhere.example"))
    assert "email.return_path" in odd
    (odd,) = check_mail_out(EmailSettings(relay_host="smtp.example", relay_password="x"))
    assert "email.relay_tls" in odd
    with pytest.raises(ConfigurationError, match=r"email\.dkim\.0\.key_file"):
        check_mail_out(EmailSettings(dkim=(DkimKey(selector="s", key_file=tmp_path / "none.pem"),)))
