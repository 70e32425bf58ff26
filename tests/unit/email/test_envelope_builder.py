"""Mailboxes, plus-tokens, and the appeal envelope of a mail."""

from datetime import UTC, datetime

import pytest

from appeals.envelope import AppealEnvelope
from appeals.numbering import new_number
from connectors.email.envelope_builder import SmtpEnvelope, build_envelope
from connectors.email.mailboxes import Delivery, Mailboxes
from connectors.email.parsing.message_parser import parse_mail
from connectors.email.smtp.smtp_replies import enhanced

MAILBOXES = Mailboxes(("Appeals@okno.localhost", "приём@почта.рф"), sender="office@okno.localhost")


def _build(raw: bytes, **smtp: object) -> AppealEnvelope:
    known = SmtpEnvelope(**smtp)  # type: ignore[arg-type]
    mail = parse_mail(raw, mail_from=known.mail_from)
    now = datetime(2025, 3, 3, tzinfo=UTC)
    return build_envelope(mail, raw, smtp=known, mailboxes=MAILBOXES, connector="email", received_at=now)[0]


@pytest.mark.parametrize(
    ("address", "delivery"),
    [
        ("appeals@okno.localhost", Delivery(mailbox="Appeals@okno.localhost")),
        ("APPEALS+t0k@OKNO.LOCALHOST", Delivery(mailbox="Appeals@okno.localhost", token="t0k")),
        ("appeals+@okno.localhost", Delivery(mailbox="Appeals@okno.localhost")),
        ("appeals+a/b@okno.localhost", Delivery(mailbox="Appeals@okno.localhost")),
        ("приём@xn--80a1acny.xn--p1ai", Delivery(mailbox="приём@почта.рф")),
        ("office@okno.localhost", None),
        ("appeals@okno.localhost.evil.example", None),
        ("xappeals@okno.localhost", None),
        ("", None),
        ("@", None),
    ],
)
def test_mailboxes(address: str, delivery: Delivery | None):
    """Ours are found in any case, with a plus-part, and with an international domain in either form; others not."""
    assert MAILBOXES.find(address) == delivery


def test_the_token_comes_from_smtp_before_headers():
    """A token in RCPT wins; one in To or Delivered-To is used without it; of a stranger's address it is none."""
    raw = b"To: appeals+header@okno.localhost\r\n\r\n"
    assert _build(raw, rcpt_to=("appeals+rcpt@okno.localhost",)).threading.reply_token == "rcpt"
    assert _build(raw, rcpt_to=("appeals@okno.localhost",)).threading.reply_token == "header"
    assert _build(b"Delivered-To: appeals+d@okno.localhost\r\n\r\n").threading.reply_token == "d"
    assert _build(b"To: someone+t@else.example\r\n\r\n").threading.reply_token is None


def test_the_number_in_the_subject_is_found():
    """A well-formed number in the subject is handed on; its trust is the registry's matter."""
    number = new_number()
    assert _build(f"Subject: Re: [{number}] heating\r\n\r\n".encode()).threading.appeal_number == number
    assert _build(b"Subject: call 495-123-4567\r\n\r\n").threading.appeal_number is None


def test_sender_falls_back_to_the_smtp_sender():
    """Without a usable From the SMTP sender is the sender; without both there is none and nothing answers it."""
    assert _build(b"From: nonsense\r\n\r\n", mail_from="ivan@Example.org").sender.value == "ivan@example.org"
    nobody = _build(b"\r\n", mail_from="")
    assert nobody.sender is None
    assert nobody.automatic


def test_reply_to_is_kept_only_if_it_differs():
    """Reply-To is where answers go; the same address as From says nothing."""
    assert _build(b"From: a@b.ru\r\nReply-To: A <a@b.ru>\r\n\r\n").reply_to is None
    assert _build(b"From: a@b.ru\r\nReply-To: c@d.ru\r\n\r\n").reply_to.value == "c@d.ru"


def test_smtp_envelope_survives_quarantine():
    """What a retry needs comes back from the quarantine item's context, and strings in it are clean."""
    smtp = SmtpEnvelope(
        mail_from="", rcpt_to=("a@b.ru", "\udcff\x00@c"), peer="127.0.0.1", helo="x\x00", protocol="lmtp"
    )
    again = SmtpEnvelope.from_context(smtp.to_context())
    assert (again.mail_from, again.rcpt_to[0], again.peer, again.protocol) == ("", "a@b.ru", "127.0.0.1", "lmtp")
    "".join(smtp.to_context().values()).encode("utf-8")
    assert SmtpEnvelope.from_context({}) == SmtpEnvelope()
    assert SmtpEnvelope.from_context({"rcpt_to": "no json"}).rcpt_to == ()


@pytest.mark.parametrize(
    ("reply", "sent"),
    [
        ("250 OK", "250 2.0.0 OK"),
        ("503 Error: nested MAIL command", "503 5.5.1 nested MAIL command"),
        ("550 5.1.1 x", "550 5.1.1 x"),
        ("354 go", "354 go"),
        ("250-SIZE 1", "250-SIZE 1"),
        ('500 Error: command "\x1b[2J" not recognized', "500 5.5.1 Command not recognized"),
        ("552 Error: too big", "552 5.3.4 too big"),
    ],
)
def test_replies_have_an_enhanced_status(reply: str, sent: str):
    """Replies of aiosmtpd's own get an enhanced status; what a client sent is not repeated to it."""
    assert enhanced(reply) == sent
