"""The identity of a mail: the same for every redelivery, different for everything else."""

import pytest

from connectors.email.parsing.message_parser import parse_mail

MAIL = (
    b"From: Ivan <ivan@example.org>\r\nTo: appeals@okno.localhost\r\nSubject: Heating\r\n"
    b"Date: Mon, 03 Mar 2025 10:00:00 +0300\r\nMessage-ID: <one@example.org>\r\n\r\nNo heating.\r\n"
)
TRACE = (
    b"Return-Path: <ivan@example.org>\r\nDelivered-To: appeals@okno.localhost\r\nReceived: from a by b; now\r\n"
    b"DKIM-Signature: v=1; b=abc\r\nX-Spam-Score: 0.1\r\nAuthentication-Results: mx; spf=pass\r\n"
)


def _id(raw: bytes) -> str:
    return parse_mail(raw).external_id


@pytest.mark.parametrize(
    "again",
    [
        MAIL,
        TRACE + MAIL,
        MAIL.replace(b"\r\n", b"\n"),
        MAIL + b"\r\n\r\n",
        MAIL.replace(b"Subject: Heating", b"Subject:\r\n Heating"),
        MAIL.replace(b"Message-ID: <", b"Message-Id:   <"),
        MAIL.replace(b"To: appeals@", b"To: housing@"),
    ],
)
def test_a_redelivery_has_the_same_identity(again: bytes):
    """What relays do to a mail on its way does not change its identity (P2)."""
    assert _id(again) == _id(MAIL)


@pytest.mark.parametrize(
    "other",
    [
        MAIL.replace(b"No heating", b"No water"),
        MAIL.replace(b"Subject: Heating", b"Subject: Water"),
        MAIL.replace(b"ivan@example.org>\r\nTo", b"petr@example.org>\r\nTo"),
        MAIL.replace(b"10:00:00", b"10:00:01"),
        MAIL.replace(b"one@", b"two@"),
    ],
)
def test_another_mail_under_the_same_message_id_is_another(other: bytes):
    """A sender that reuses a Message-ID loses nothing (P1)."""
    assert _id(other) != _id(MAIL)


def test_without_message_id_the_date_and_the_body_tell():
    """Without a Message-ID a redelivery over a relay is still recognised, and another body is another mail."""
    bare = MAIL.replace(b"Message-ID: <one@example.org>\r\n", b"")
    assert _id(TRACE + bare) == _id(bare)
    assert _id(bare.replace(b"No heating", b"No water")) != _id(bare)


def test_without_both_received_tells_two_alarms_apart():
    """A machine that names neither id nor date: the same bytes are one mail, another Received is another."""
    alarm = b"Subject: alarm\r\n\r\nDoor open\r\n"
    first, second = b"Received: at 10:00\r\n" + alarm, b"Received: at 11:00\r\n" + alarm
    assert _id(first) == _id(b"Delivered-To: a@b.ru\r\n" + first)
    assert _id(first) != _id(second)


def test_bytes_without_any_header():
    """Bytes that are no mail have their own identity each."""
    assert len({_id(raw) for raw in (b"", b"a", b"b", b"\r\n\r\na\r\n\r\nb", b"\x00")}) == 5
