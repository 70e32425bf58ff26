"""Bounces, receipts, auto-replies and our own mail: what becomes of the reply, of the appeal, and of loops."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appeals.appeal import AppealState
from appeals.reply import DeliveryState, ReplyKind

from .mail_office import MAILBOX, MailOffice, back_into, citizens_mail, mail_office

SAMPLES = Path(__file__).parents[2] / "data" / "mail_reports"
SAMPLE_ID = b"01a20359bbb075b98ab7b54e2dbff492@okno.example"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.eml"))


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[MailOffice]:
    async with mail_office(tmp_path) as opened:
        yield opened


def _sample(name: str, message_id: str) -> bytes:
    """Return a sample report about the mail `message_id`."""
    raw = (SAMPLES / f"{name}.eml").read_bytes()
    if name == "mailru":  # its body is base64
        head, _, body = raw.partition(b"\n\n")
        return head + b"\n\n" + base64.encodebytes(base64.b64decode(body).replace(SAMPLE_ID, message_id.encode()))
    return raw.replace(SAMPLE_ID, message_id.encode())


async def _sent_acknowledgement(office: MailOffice) -> str:
    """Register a citizen's mail and send its acknowledgement; returns our message id."""
    await office.write(citizens_mail())
    await office.deliver_all()
    (reply,) = (await office.conversation()).replies
    assert reply.state is DeliveryState.SENT
    return reply.message_id


@pytest.mark.parametrize("name", NAMES)
async def test_every_report_finds_its_reply(office: MailOffice, name: str):
    """Each system's report becomes the state of the reply, joins its appeal marked and unanswered, and opens nothing."""
    message_id = await _sent_acknowledgement(office)
    await office.write(_sample(name, message_id), mail_from="")
    conversation = await office.conversation()
    (reply,) = conversation.replies
    expected = {
        "postfix_delayed": DeliveryState.SENT,
        "exim_delayed": DeliveryState.SENT,
        "postfix_delivered": DeliveryState.DELIVERED,
        "mdn_displayed": DeliveryState.READ,
        "mdn_exchange_class": DeliveryState.READ,
        "mdn_deleted": DeliveryState.DELIVERED,
    }.get(name, DeliveryState.FAILED)
    assert reply.state is expected
    report = conversation.envelopes[-1]
    assert report.automatic
    assert report.marks[0] in {"bounce", "delivery_report", "read_receipt"}
    assert report.threading.in_reply_to[0] == message_id
    assert (reply.error != "") is (expected in (DeliveryState.FAILED, DeliveryState.SENT))
    assert await office.deliver() == 0
    assert await office.quarantined() == []


async def test_a_repeated_report_changes_nothing(office: MailOffice):
    """The same bounce twice is one envelope, and a delay that comes after the failure does not undo it."""
    message_id = await _sent_acknowledgement(office)
    for name in ("postfix_failed", "postfix_failed", "postfix_delayed"):
        await office.write(_sample(name, message_id), mail_from="")
    conversation = await office.conversation()
    assert conversation.replies[0].state is DeliveryState.FAILED
    assert len(conversation.envelopes) == 3
    assert not (await office.registry.check_history()).faults


@pytest.mark.parametrize("name", ["postfix_failed", "qmail", "mdn_displayed"])
async def test_a_report_about_no_mail_of_ours(office: MailOffice, name: str):
    """A report that names a mail we did not send (forged, or another's) marks nothing, and is held for a person."""
    await _sent_acknowledgement(office)
    await office.write(_sample(name, SAMPLE_ID.decode()), mail_from="")
    conversation = await office.conversation()
    assert conversation.replies[0].state is DeliveryState.SENT
    assert len(conversation.envelopes) == 1
    (entry,) = await office.quarantined()
    assert entry.stage == "report"
    assert "about no mail that we sent" in entry.reason


async def test_a_bounce_by_its_return_path(tmp_path: Path):
    """With VERP, a bounce that names nothing is known by the address it is sent to, and joins the appeal."""
    async with mail_office(tmp_path, verp=True) as office:
        await _sent_acknowledgement(office)
        return_path = office.relay.messages[0].mail_from
        assert "+b-" in return_path
        bounce = (
            b"From: MAILER-DAEMON@mx.example.org\r\nTo: x\r\nSubject: failure notice\r\nMessage-ID: <b@mx>\r\n\r\n"
            b"Hi. This is the qmail-send program at mx.example.org.\r\n<ivan@example.org>: mailbox is full (#5.2.2)\r\n"
        )
        await office.write(bounce, mail_from="", to=return_path)
        conversation = await office.conversation()
        assert conversation.replies[0].state is DeliveryState.FAILED
        assert conversation.replies[0].error.startswith("mailbox_full: ")
        assert conversation.envelopes[-1].marks == ("bounce",)


async def test_a_bounce_before_the_relay_has_answered(office: MailOffice):
    """A bounce that comes while the mail is still being sent is kept; the relay's late "taken" does not hide it."""

    async def bounce_at_once(mail) -> None:
        message_id = mail.parsed()["Message-ID"].strip("<>")
        await office.write(_sample("postfix_failed", message_id), mail_from="")

    office.relay.on_mail = bounce_at_once
    await office.write(citizens_mail())
    await office.deliver()
    (reply,) = (await office.conversation()).replies
    assert reply.state is DeliveryState.FAILED
    assert await office.deliver() == 0


VACATION = {
    "rfc3834": {"Auto_Submitted": "auto-replied"},
    "exchange": {"X_Auto_Response_Suppress": "All", "Subject": "Automatic reply: x"},
    "subject": {"Subject": "Автоответ: x"},
}


@pytest.mark.parametrize("form", sorted(VACATION))
async def test_an_auto_reply_joins_and_is_not_answered(office: MailOffice, form: str):
    """A vacation note to our acknowledgement is stored on the appeal, marked, and nobody writes back."""
    message_id = await _sent_acknowledgement(office)
    headers = dict(VACATION[form])
    note = citizens_mail(
        headers.pop("Subject", "Re: x"), message_id="<note@example.org>", In_Reply_To=f"<{message_id}>", **headers
    )
    await office.write(note)
    conversation = await office.conversation()
    assert conversation.envelopes[-1].marks == ("auto_reply",)
    assert conversation.appeal.state is AppealState.REGISTERED
    assert await office.deliver() == 0


async def test_a_form_of_another_system_is_an_appeal(office: MailOffice):
    """A robot's mail that threads nowhere may carry a citizen's words: an appeal, without an acknowledgement."""
    form = citizens_mail("Форма на сайте", sender="noreply@portal.example", Auto_Submitted="auto-generated")
    await office.write(form, mail_from="noreply@portal.example")
    conversation = await office.conversation()
    assert conversation.envelopes[0].marks == ("auto_generated",)
    assert conversation.replies == ()


async def test_a_relay_that_delivers_back_to_us(office: MailOffice):
    """Mail from one of our mailboxes to another, with all we send coming straight back, ends: nothing is answered twice."""
    office.relay.on_mail = back_into(office)
    await office.write(citizens_mail())
    for _ in range(5):
        await office.deliver_all()
    conversation = await office.conversation()
    (acknowledgement,) = conversation.replies
    assert acknowledgement.kind is ReplyKind.ACKNOWLEDGEMENT
    assert len(office.relay.messages) == 1
    assert [item.marks for item in conversation.envelopes] == [(), ("own_mail",)]
    answer = await office.answer("Отопление включат завтра.")
    for _ in range(5):
        await office.deliver_all()
    assert (await office.reply(answer.id)).state is DeliveryState.SENT
    assert len(office.relay.messages) == 2
    conversation = await office.conversation()
    assert [item.marks for item in conversation.envelopes] == [(), ("own_mail",), ("own_mail",)]


async def test_our_own_address_writes_to_us(office: MailOffice):
    """A mail from one of our mailboxes is registered and never acknowledged: we would write to ourselves."""
    await office.write(citizens_mail(sender=MAILBOX), mail_from=MAILBOX)
    conversation = await office.conversation()
    assert (conversation.envelopes[0].marks, conversation.replies) == (("own_mail",), ())


async def test_two_offices_do_not_talk_for_ever(tmp_path: Path):
    """Two daemons whose mail goes to each other: the citizen of one is the office of the other; it ends after one round."""
    async with (
        mail_office(tmp_path / "a", mailboxes=("a@a.example",), sender="a@a.example", hostname="a.example") as a,
        mail_office(tmp_path / "b", mailboxes=("b@b.example",), sender="b@b.example", hostname="b.example") as b,
    ):

        async def to_b(mail) -> None:
            await b.write(mail.content, mail_from=mail.mail_from, to=mail.rcpt_to[0])

        async def to_a(mail) -> None:
            await a.write(mail.content, mail_from=mail.mail_from, to=mail.rcpt_to[0])

        a.relay.on_mail, b.relay.on_mail = to_b, to_a
        await a.write(citizens_mail(sender="b@b.example"), mail_from="b@b.example", to="a@a.example")
        for _ in range(6):
            await a.deliver_all()
            await b.deliver_all()
        assert (len(a.relay.messages), len(b.relay.messages)) == (1, 0)
        await a.answer("Кто вы?")  # a person writes: no machine's mark
        for _ in range(6):
            await a.deliver_all()
            await b.deliver_all()
        assert len(a.relay.messages) <= 3
        assert len(b.relay.messages) <= 1


async def test_a_loop_through_a_forwarder_that_strips_marks(office: MailOffice):
    """A machine that answers every mail with a new one, without any header that says so, gets no more than the limit."""
    count = 0

    async def answer_anew(mail) -> None:
        nonlocal count
        count += 1
        await office.write(citizens_mail(f"Заявка {count}", message_id=f"<new{count}@example.org>"))

    office.relay.on_mail = answer_anew
    await office.write(citizens_mail())
    for _ in range(40):
        await office.deliver_all()
    assert len(office.relay.messages) <= 10
