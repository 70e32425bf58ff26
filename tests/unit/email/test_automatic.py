"""Which mail a machine wrote, and of which sort."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.email.parsing.headers import Headers
from connectors.email.parsing.message_parser import parse_mail
from connectors.email.reports.automatic import automatic_kind
from connectors.email.reports.own_mail import (
    find_own_ids,
    is_own_form,
    own_message_id,
    read_return_token,
    return_token,
)

OURS = "01a20359bbb075b98ab7b54e2dbff492@okno.example"


def _marks(
    header: str, *, mail_from: str | None = "ivan@example.org", sender: str = "ivan@example.org"
) -> tuple[str, ...]:
    raw = f"From: {sender}\nMessage-ID: <a@example.org>\n{header}\n\nHello".encode()
    mail = parse_mail(raw, mail_from=mail_from)
    assert mail.automatic is bool(mail.marks)
    return mail.marks


@pytest.mark.parametrize(
    "header",
    [
        "Auto-Submitted: auto-replied",
        'Auto-Submitted: auto-replied; owner-email="ivan@example.org"',
        "Auto-Submitted: auto-replied (vacation)",
        "X-Autoreply: yes",
        "X-Autorespond: vacation",
        "X-Autoreply-From: ivan@example.org",
        "X-Mail-Autoreply: 1",
        "Precedence: auto_reply",
        "X-Auto-Response-Suppress: All\nX-MS-Exchange-Inbox-Rules-Loop: ivan@example.org",
        "X-Auto-Response-Suppress: DR, RN, NRN, OOF, AutoReply\nSubject: Automatic reply: Appeal",
        "Auto-Submitted: auto-generated\nSubject: =?utf-8?b?0JDQstGC0L7QvtGC0LLQtdGCOiDQntCx0YDQsNGJ0LXQvdC40LU=?=",
        f"In-Reply-To: <{OURS}>\nSubject: Автоответ: Обращение № 482-719-3561 зарегистрировано",
        f"References: <x@y> <{OURS}>\nSubject: Out of office: Appeal No. 482-719-3561",
        f"In-Reply-To: <{OURS}>\nSubject: Автоматический ответ: обращение",
    ],
)
def test_auto_replies(header: str):
    """Vacation notes and machine's answers are told by RFC 3834, by vendors' headers, and by subjects with evidence."""
    assert _marks(header) == ("auto_reply",)


def test_a_null_sender_that_answers_us_is_an_auto_reply():
    """RFC 3834 lets responders use the null sender: with a reference to our mail it is an answer, else a robot's own."""
    assert _marks(f"In-Reply-To: <{OURS}>", mail_from="") == ("auto_reply",)
    assert _marks("Subject: Alarm", mail_from="") == ("auto_generated",)
    assert _marks("Return-Path: <>\nSubject: Alarm", mail_from=None) == ("auto_generated",)


@pytest.mark.parametrize(
    ("header", "mark"),
    [
        ("Auto-Submitted: auto-generated", "auto_generated"),
        ("Auto-Submitted: auto-notified; owner-email=x", "auto_generated"),
        ("X-RT-Loop-Prevention: example", "auto_generated"),
        ("X-OTRS-Loop: yes", "auto_generated"),
        ("X-Zammad-Is-Auto-Response: true", "auto_generated"),
        ("X-Loop: helpdesk@example.org", "auto_generated"),
        ("X-Cron-Env: <SHELL=/bin/sh>", "auto_generated"),
        ("X-Auto-Response-Suppress: OOF", "auto_generated"),
        ("List-Id: <news.example.org>", "mailing_list"),
        ("List-Unsubscribe: <mailto:off@example.org>", "mailing_list"),
        ("Precedence: bulk", "mailing_list"),
        ("Precedence: list", "mailing_list"),
    ],
)
def test_other_machines(header: str, mark: str):
    """Robots, ticket systems, lists and newsletters are told apart from answers."""
    assert _marks(header) == (mark,)


@pytest.mark.parametrize(
    "sender", ["noreply@bank.example", "no-reply+1@x.example", "mailer-daemon@x.example", "form.noreply@x.example"]
)
def test_robots_addresses(sender: str):
    """An address that takes no answers is a machine's."""
    assert _marks("Subject: x", sender=sender) == ("auto_generated",)


@pytest.mark.parametrize(
    "header",
    [
        "Subject: Автоответ",
        "Subject: Out of office hours the lift does not work",
        "Subject: Automatic reply wanted",
        f"In-Reply-To: <{OURS}>\nSubject: Re: Обращение № 482-719-3561 зарегистрировано",
        "Auto-Submitted: no",
        "Auto-Submitted: NO (person)",
        "X-Autoreply: no",
        "X-Zammad-Is-Auto-Response: false",
        "X-MS-Exchange-Inbox-Rules-Loop: forwarder@example.org",
        "X-Auto-Response-Suppress: DR",
        "Precedence: normal",
        "X-Mailer: Microsoft Outlook 16.0",
    ],
)
def test_persons(header: str):
    """A subject alone, a rule that passed the mail on, and headers that say `no` make nothing automatic."""
    assert _marks(header) == ()


def test_our_own_mail_is_recognised_by_either_header():
    """Our mail coming back is known by its Message-ID, or by our own header where a relay has replaced that."""
    assert _marks(f"X-Okno-Message-ID: <{OURS}>") == ("own_mail",)
    raw = f"From: x@okno.example\nMessage-ID: <{OURS}>\n\nx".encode()
    mail = parse_mail(raw)
    assert (mail.own_message_id, mail.automatic, mail.marks) == (OURS, True, ("own_mail",))
    answer = parse_mail(f"From: x@y.example\nMessage-ID: <1@y>\nIn-Reply-To: <{OURS}>\n\nThanks".encode())
    assert (answer.own_message_id, answer.automatic) == (None, False)


def test_anothers_id_of_our_form_is_not_ours():
    """Where our domain is known, a mail of another system with ids like ours is a person's; our own header needs none."""
    raw = f"From: x@y.example\nMessage-ID: <{OURS}>\n\nx".encode()
    assert parse_mail(raw, own_domain="OKNO.example").own_message_id == OURS
    other = parse_mail(raw, own_domain="office.example")
    assert (other.own_message_id, other.automatic) == (None, False)
    marked = f"X-Okno-Message-ID: <{OURS}>\n".encode() + raw
    assert parse_mail(marked, own_domain="office.example").own_message_id == OURS


@pytest.mark.parametrize(
    ("message_id", "own"),
    [
        (OURS, True),
        (OURS.upper(), True),
        ("01a20359bbb045b98ab7b54e2dbff492@okno.example", False),  # a UUID of version 4
        ("01a20359-bbb0-75b9-8ab7-b54e2dbff492@okno.example", False),
        ("1@okno.example", False),
        (OURS + ">", False),
        ("x" + OURS, False),
    ],
)
def test_the_form_of_our_ids(message_id: str, own: bool):  # noqa: FBT001
    """Only a UUID of version 7 in hexadecimal before the @ may be ours."""
    assert is_own_form(message_id) is own


def test_return_paths_carry_the_id():
    """A return path names the mail it belongs to, and nothing that was not made so is read as one."""
    token = return_token(OURS)
    assert read_return_token(token, hostname="okno.example") == OURS
    assert return_token("1@okno.example") == ""
    for broken in ("", None, "b-", token[:-1], "b-" + "z" * 32, "x" + token):
        assert read_return_token(broken, hostname="okno.example") is None


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["auto-submitted", "precedence", "x-okno-message-id", "message-id", "subject", "x-loop", "return-path"]
        ),
        st.lists(st.text(max_size=60), min_size=1, max_size=3),
    )
)
def test_any_header(values: dict[str, list[str]]):
    """Whatever a header says, it is judged without an error."""
    headers = Headers(values)
    automatic_kind(headers, media_type="text/plain", sender=None, mail_from=None, answers_us=True)
    own_message_id(headers)
    find_own_ids(" ".join(item for items in values.values() for item in items))
