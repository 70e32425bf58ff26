"""Reports that a real Postfix writes, which is our relay and our front at once."""

import asyncio
import time
from pathlib import Path

import pytest

from appeals.reply import DeliveryState, Reply
from tests.postfix import DOMAIN, PostfixServer

from .mail_office import MailOffice, citizens_mail, mail_office

APPEALS = f"appeals@{DOMAIN}"
PATIENCE_S = 30.0


async def _reported(office: MailOffice, state: DeliveryState) -> Reply:
    """Wait until the only reply is in `state`, and the report itself is on the appeal."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        conversation = await office.conversation()
        (reply,) = conversation.replies
        if reply.state is state and len(conversation.envelopes) > 1:
            return reply
        assert time.monotonic() < deadline, f"still {reply.state}: {reply.error}"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("recipient", "dsn", "state", "mark"),
    [
        (f"nobody@{DOMAIN}", ("failure", "delay"), DeliveryState.FAILED, "bounce"),
        ("ivan@example.org", ("success", "failure"), DeliveryState.DELIVERED, "delivery_report"),
    ],
)
@pytest.mark.parametrize("verp", [False, True])
async def test_what_postfix_reports(
    tmp_path: Path,
    postfix_server: PostfixServer,
    recipient: str,
    dsn: tuple[str, ...],
    state: DeliveryState,
    mark: str,
    verp: bool,  # noqa: FBT001
):
    """Postfix takes our mail with our envelope id, and its report comes back by LMTP: the reply's state, on its appeal."""
    async with mail_office(
        tmp_path,
        relay_port=postfix_server.port,
        lmtp_port=postfix_server.lmtp_port,
        mailboxes=(APPEALS,),
        sender=APPEALS,
        dsn=dsn,
        verp=verp,
    ) as office:
        await office.write(citizens_mail(sender=recipient), mail_from=recipient, to=APPEALS)
        await office.deliver_all()
        reply = await _reported(office, state)
        if state is DeliveryState.FAILED:
            assert reply.error.startswith(
                "mailbox_unknown: the recipient's mailbox does not exist (550 5.1.1 No such mailbox"
            )
        report = (await office.conversation()).envelopes[-1]
        assert (report.marks, report.automatic) == ((mark,), True)
        assert f"Original-Envelope-Id: {reply.message_id}".encode() in await office.registry.read_blob(
            report.raw.sha256
        )
        assert await office.deliver() == 0
        assert await office.quarantined() == []
