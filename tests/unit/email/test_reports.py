"""Reports about our mail: what each sample of each system must yield."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appeals.reply import DeliveryState
from connectors.email.parsing.message_parser import ParsedMail, parse_mail
from connectors.email.reports.delivery_report import DeliveryReport
from connectors.email.reports.failure_reason import WORDS, FailureReason, describe_failure, failure_reason
from connectors.email.reports.read_receipt import ReadReceipt

SAMPLES = Path(__file__).parents[2] / "data" / "mail_reports"
MIKEL = Path(__file__).parents[2] / "data" / "mail" / "mikel"
OURS = "01a20359bbb075b98ab7b54e2dbff492@okno.example"


def _parse(path: Path, *, mail_from: str | None = None) -> ParsedMail:
    return parse_mail(path.read_bytes(), mail_from=mail_from)


def _report(name: str) -> DeliveryReport | ReadReceipt:
    report = _parse(SAMPLES / f"{name}.eml").report
    assert report is not None
    return report


@pytest.mark.parametrize(
    ("name", "state", "reason", "says"),
    [
        ("postfix_failed", DeliveryState.FAILED, "mailbox_unknown", "User unknown"),
        ("postfix_delayed", DeliveryState.SENT, "delayed", "Connection timed out"),
        ("postfix_delivered", DeliveryState.DELIVERED, "delivered", ""),
        ("exim_plain", DeliveryState.FAILED, "mailbox_full", "Mailbox full"),
        ("exim_delayed", DeliveryState.SENT, "delayed", "450 4.2.0"),
        ("qmail", DeliveryState.FAILED, "mailbox_unknown", "Unknown user"),
        ("exchange_online", DeliveryState.FAILED, "mailbox_unknown", "RecipientNotFound"),
        ("exchange_2003", DeliveryState.FAILED, "mailbox_unknown", "not recognized"),
        ("gmail", DeliveryState.FAILED, "not_authenticated", "DMARC"),
        ("yandex", DeliveryState.FAILED, "mailbox_unknown", "user is terminated"),
        ("mailru", DeliveryState.FAILED, "mailbox_unknown", "invalid mailbox"),
        ("amazon_ses", DeliveryState.FAILED, "expired", "Message expired"),
        ("global_status", DeliveryState.FAILED, "mailbox_unknown", "нет такого пользователя"),
    ],
)
def test_delivery_reports(name: str, state: DeliveryState, reason: str, says: str):
    """Each system's report names our mail, its state, a reason as code and words, and what the server said."""
    report = _report(name)
    assert isinstance(report, DeliveryReport)
    assert OURS in report.message_ids
    assert report.state is state
    code, _, words = report.detail.partition(": ")
    assert code == reason
    assert says in words
    assert len(words) > 10


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.eml")), ids=lambda path: path.stem)
def test_reports_are_automatic_and_marked(path: Path):
    """No report is answered, each says by one mark what it is, and whose it is does not depend on the SMTP envelope."""
    for mail_from in (None, "", "mailer-daemon@example.org"):
        mail = _parse(path, mail_from=mail_from)
        assert mail.automatic
        assert mail.report is not None
        assert mail.marks == (mail.report.mark,)
        assert mail.marks[0] in {"bounce", "delivery_report", "read_receipt"}


@pytest.mark.parametrize(
    ("name", "state", "disposition"),
    [
        ("mdn_displayed", DeliveryState.READ, "displayed"),
        ("mdn_exchange_class", DeliveryState.READ, "displayed"),
        ("mdn_deleted", DeliveryState.DELIVERED, "deleted"),
    ],
)
def test_read_receipts(name: str, state: DeliveryState, disposition: str):
    """A receipt of a displayed mail says that it was read; any other says no more than that it has arrived."""
    receipt = _report(name)
    assert isinstance(receipt, ReadReceipt)
    assert receipt.message_ids == (OURS,)
    assert (receipt.state, receipt.disposition) == (state, disposition)


@pytest.mark.parametrize(
    ("name", "status", "message_id", "state"),
    [
        ("multi_address_bounce1", "5.1.1", "118707422.15521266992174819.JavaMail.root@lvmail01", DeliveryState.FAILED),
        (
            "multipart_report_multiple_status",
            "5.3.0",
            "4c2a146147ac8_61ff157c4ec1652df@s.h.c.mail",
            DeliveryState.FAILED,
        ),
        (
            "report_422",
            "4.2.2",
            "15655788.13.1200472642578.JavaMail.Administrator@mail.ttttt.com.au",
            DeliveryState.SENT,
        ),
        ("report_530", "5.3.0", "200712232303.lBNN3jDq002941@mail12.rrrr.com.au", DeliveryState.FAILED),
    ],
)
def test_real_reports(name: str, status: str, message_id: str, state: DeliveryState):
    """Real reports of Postfix, InterMail and Sendmail yield their status and the id of the mail they are about."""
    report = _parse(MIKEL / f"{name}.eml").report
    assert isinstance(report, DeliveryReport)
    assert (report.status, report.message_ids[0], report.state) == (status, message_id, state)


def test_another_mails_bounce_in_our_thread_is_not_ours():
    """A bounce names the mail that it returns; that this one refers to a mail of ours does not make it ours."""
    raw = (SAMPLES / "gmail.eml").read_bytes()
    head, _, returned = raw.rpartition(b"Content-Type: message/rfc822")
    returned = returned.replace(f"Message-ID: <{OURS}>".encode(), b"Message-ID: <other@office.example>")
    head = head.replace(f"X-Original-Message-ID: <{OURS}>\n".encode(), b"")
    report = parse_mail(head + b"Content-Type: message/rfc822" + returned).report
    assert report is not None
    assert report.message_ids == ("other@office.example",)


PERSONS = [
    b"From: ivan@example.org\nSubject: Undelivered pension\n\nThe post could not be delivered to one or more houses.",
    b"From: postmaster@example.org\nSubject: Delivery problem\n\nOur street gets no letters since Monday.",
    b"From: postmaster@example.org\nSubject: Post\n\nMy parcel could not be delivered to the following address.",
    b"From: i@example.org\nIn-Reply-To: <"
    + OURS.encode()
    + b">\nSubject: Re: x\n\nThe mail system at host x is broken",
    b"From: i@example.org\nSubject: Fwd\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nLook at this bounce.\n--b\n"
    b"Content-Type: message/rfc822\n\n" + (SAMPLES / "postfix_failed.eml").read_bytes() + b"\n--b--\n",
]


@pytest.mark.parametrize("raw", PERSONS)
def test_a_persons_mail_is_no_report(raw: bytes):
    """Words about delivery, or a bounce that somebody passes on, make no report of a person's mail."""
    mail = parse_mail(raw, mail_from="ivan@example.org")
    assert mail.report is None
    assert "bounce" not in mail.marks


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        ("5.1.1", "", "mailbox_unknown"),
        ("5.0.0", "550 5.1.2 Host unknown", "domain_unknown"),
        ("5.2.2", "552 quota", "mailbox_full"),
        ("4.4.1", "no answer", "host_unreachable"),
        ("5.4.6", "", "mail_loop"),
        ("4.4.7", "", "expired"),
        ("5.3.4", "", "message_too_big"),
        ("5.7.1", "550 5.7.1 Message rejected as spam by Content Filtering", "refused_as_spam"),
        ("5.7.1", "550 5.7.1 user unknown", "mailbox_unknown"),
        ("5.7.1", "550 5.7.1 go away", "refused_by_policy"),
        ("5.7.23", "", "not_authenticated"),
        ("5.1.10", "556 5.1.10 Recipient address has null MX", "domain_unknown"),
        ("5.4.1", "550 5.4.1 Recipient address rejected: Access denied", "host_unreachable"),
        ("", "550 Message was not accepted: greylisted", "too_much_mail"),
        ("", "", "other"),
        ("nonsense", "?", "other"),
    ],
)
def test_reasons(status: str, said: str, reason: str):
    """Codes say why; where they say little, or servers misuse them, the server's words do."""
    assert failure_reason(status, said) == reason
    assert describe_failure(status, said).startswith(f"{reason}: ")


def test_every_reason_has_words():
    """No code is shown bare."""
    assert set(WORDS) == set(FailureReason)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(path.name for path in SAMPLES.glob("*.eml"))),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 300), st.binary(max_size=40)), min_size=1, max_size=5),
)
def test_broken_reports(name: str, edits: list[tuple[int, int, bytes]]):
    """However a report is cut and garbled, reading it raises nothing, and what it says is clean text."""
    raw = (SAMPLES / name).read_bytes()
    for start, length, instead in edits:
        raw = raw[:start] + instead + raw[start + length :]
    report = parse_mail(raw, mail_from="").report
    if report is not None:
        assert report.state in DeliveryState
        assert report.detail.isprintable()
        assert all(item.isprintable() and len(item) <= 998 for item in report.message_ids)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_any_words_have_a_reason(status: str, said: str):
    """Any text of another server gives one of the known reasons."""
    assert failure_reason(status, said) in FailureReason
