"""Answers out by fax: the letter, the gateway's answers, and the outcome that comes back by the hook."""

import asyncio
import hashlib
import time
from uuid import UUID, uuid4

import pypdfium2
import pytest

from appeals.envelope import Attachment, ContactPoint, ContactPointKind
from appeals.errors import PermanentError, TransientError
from appeals.reply import DeliveryState, ReplyKind
from connectors.base import OutboundMessage
from connectors.fax.sinch_event import LABEL
from connectors.media import describe_attachment
from tests.integration.fax.conftest import CITIZEN, OURS, FaxSite

DEADLINE_S = 10


def make_message(
    *,
    to: str = CITIZEN,
    reply_id: UUID | None = None,
    files: tuple[tuple[str, bytes], ...] = (),
    text: str = "Тепло дадут 1 октября.",
):
    contents = {hashlib.sha256(content).hexdigest(): content for _, content in files}
    attachments: tuple[Attachment, ...] = tuple(describe_attachment(name, "", content) for name, content in files)

    async def read_blob(sha256: str) -> bytes:
        return contents[sha256]

    return OutboundMessage(
        reply_id=reply_id or uuid4(),
        kind=ReplyKind.ANSWER,
        appeal_number="482-719-3561",
        recipient=ContactPoint(kind=ContactPointKind.FAX, value=to),
        subject="Ответ на обращение",
        text=text,
        language="ru",
        message_id="m1@okno",
        attachments=attachments,
        read_blob=read_blob,
    )


async def until_reported(site: FaxSite) -> tuple[str, DeliveryState, str]:
    deadline = time.monotonic() + DEADLINE_S
    while not site.reports.states:
        assert time.monotonic() < deadline, "no outcome was reported"
        await asyncio.sleep(0.02)
    return site.reports.states[0]


async def test_answer_arrives_as_readable_pages(fax_site: FaxSite):
    """The gateway gets a PDF with the number, the subject and the Cyrillic text, for the citizen's number."""
    reply_id = uuid4()
    receipt = await fax_site.connector.send(make_message(reply_id=reply_id, files=(("план.txt", "План".encode()),)))
    (sent,) = fax_site.gateway.sent
    pdf = pypdfium2.PdfDocument(sent.documents[0])
    try:
        text = pdf[0].get_textpage().get_text_range()
    finally:
        pdf.close()
    assert (sent.fax["to"], sent.fax["from"]) == (CITIZEN, OURS)
    assert (receipt.external_id, receipt.state) == (sent.fax["id"], DeliveryState.SENT)
    assert sent.fax["labels"] == {LABEL: str(reply_id)}
    assert all(part in text for part in ("Обращение № 482-719-3561", "Ответ на обращение", "Тепло дадут 1 октября."))
    assert sent.documents[1].decode() == "План"


@pytest.mark.parametrize(
    ("outcome", "state"), [("COMPLETED", DeliveryState.DELIVERED), ("FAILURE", DeliveryState.FAILED)]
)
async def test_outcome_is_reported_even_if_it_overtakes_our_commit(
    fax_site: FaxSite, outcome: str, state: DeliveryState
):
    """FAX_COMPLETED that comes before the reply's external id is known is answered 503 and taken at the repetition."""
    fax_site.gateway.outcome = outcome
    receipt = await fax_site.connector.send(make_message())
    deadline = time.monotonic() + DEADLINE_S
    while 503 not in fax_site.gateway.webhook_statuses:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    fax_site.reports.known.add(receipt.external_id)  # our commit
    reported = await until_reported(fax_site)
    assert reported[:2] == (receipt.external_id, state)
    assert ("No answer" in reported[2]) == (outcome == "FAILURE")


async def test_outcome_of_a_fax_that_is_not_ours_is_let_by(fax_site: FaxSite):
    """Others send from the same project: their outcomes are answered 200 and change nothing."""
    body = b'{"event": "FAX_COMPLETED", "fax": {"id": "theirs", "direction": "OUTBOUND", "status": "COMPLETED"}}'
    status, _ = await fax_site.post(body, "application/json")
    assert status == 200
    assert not fax_site.reports.states
    assert fax_site.intake.nothing_kept


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_gateway_busy_or_down_is_transient(fax_site: FaxSite, status: int):
    """Tried again later, after as long as the gateway asked for; health shows it until it is over."""
    fax_site.gateway.refusals.append(status)
    with pytest.raises(TransientError) as caught:
        await fax_site.connector.send(make_message())
    assert caught.value.retry_after_s == 9
    assert fax_site.connector.health().state == "degraded"
    await fax_site.connector.send(make_message())
    assert fax_site.connector.health().state == "up"


async def test_gateway_out_of_reach_is_transient(fax_site: FaxSite):
    """A refused connection is tried again."""
    fax_site.connector._sender._faxes_url = "http://127.0.0.1:1/v3/projects/p1/faxes"
    with pytest.raises(TransientError):
        await fax_site.connector.send(make_message())


async def test_refusal_is_permanent(fax_site: FaxSite):
    """4xx is shown to the agent, not tried again."""
    fax_site.gateway.refusals.append(400)
    with pytest.raises(PermanentError, match="400"):
        await fax_site.connector.send(make_message())


async def test_wrong_key_is_permanent(fax_site: FaxSite):
    """The gateway checks our key."""
    fax_site.gateway.key_secret = "another"
    with pytest.raises(PermanentError, match="401"):
        await fax_site.connector.send(make_message())


async def test_what_cannot_be_faxed_is_permanent(fax_site: FaxSite):
    """A recipient without a number and a file of a type no fax carries are refused before anything is sent."""
    with pytest.raises(PermanentError, match="number"):
        await fax_site.connector.send(make_message(to="somebody@example.org"))
    with pytest.raises(PermanentError, match="application/zip"):
        await fax_site.connector.send(make_message(files=(("a.zip", b"PK\x03\x04" + bytes(30)),)))
    assert not fax_site.gateway.sent


async def test_any_text_can_be_sent(fax_site: FaxSite):
    """Control characters, emoji, other scripts, very long words and lone surrogates do not stop a letter."""
    await fax_site.connector.send(
        make_message(text="\x00\ud800😀 한국어\t" + "щ" * 5_000 + "\r\n\n" + "слово " * 3_000)
    )
    pdf = pypdfium2.PdfDocument(fax_site.gateway.sent[0].documents[0])
    try:
        assert len(pdf) > 5
    finally:
        pdf.close()
