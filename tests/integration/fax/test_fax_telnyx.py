"""The gateway Telnyx: signed calls in, pages that expire, answers out."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from uuid import uuid4

import aiohttp
import pypdfium2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from appeals.errors import ConfigurationError, PermanentError, TransientError
from appeals.reply import DeliveryState
from config.channel_settings import FaxSettings, TelnyxFaxSettings
from connectors.fax import build, media_download, telnyx
from connectors.fax.connector import FaxConnector
from connectors.fax.sinch import SinchGateway
from connectors.fax.telnyx import TelnyxGateway
from okno.outside.fax_gateway import make_fax_document
from okno.outside.telnyx_fax import TelnyxFaxServer
from tests.integration.fax.conftest import CITIZEN, OURS, MemoryCursors
from tests.integration.fax.test_fax_send import make_message
from tests.integration.kiosk.recording_intake import RecordingIntake, RecordingReports, make_ports, serving

DEADLINE_S = 10
PAGES = make_fax_document(["В доме холодно."])
TIFF_PAGES = make_fax_document(["В доме холодно."], "tiff")


class Clock:
    """The time as the connector sees it; tests move it on."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass(frozen=True, kw_only=True)
class TelnyxSite:
    """Everything a test of this gateway talks to."""

    connector: FaxConnector
    gateway: TelnyxFaxServer
    intake: RecordingIntake
    reports: RecordingReports
    cursors: MemoryCursors
    clock: Clock

    async def tell(self, fax_id: str, **more: object) -> int:
        """Post fax.received once; returns the hook's answer."""
        return await self.gateway.post(self.gateway.received_event(fax_id, sender=CITIZEN, recipient=OURS, **more))

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "the condition did not become true in time"
            await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run the connector's own loop."""
        work = asyncio.create_task(self.connector.work())
        try:
            yield
        finally:
            await self.connector.stop()
            await work


@pytest.fixture
async def site() -> AsyncIterator[TelnyxSite]:
    """Run connector, hook and gateway."""
    intake, reports, cursors, clock = RecordingIntake(), RecordingReports(), MemoryCursors(), Clock()
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(TelnyxFaxServer())
        own_settings = TelnyxFaxSettings(
            api_url=gateway.url,
            api_key=gateway.api_key,
            connection_id=gateway.connection_id,
            public_key=gateway.public_key,
            media_hosts=("127.0.0.1",),
        )
        fax_settings = FaxSettings(enabled=True, gateway="telnyx", telnyx=own_settings, number=OURS)
        ports = make_ports(intake, reports=reports, public_url="http://127.0.0.1:1")
        ports = replace(ports, cursors=cursors, now=clock.now)
        gateways = (
            SinchGateway(fax_settings, public_url=ports.public_url),
            TelnyxGateway(fax_settings, public_url=ports.public_url, now=ports.now),
        )
        connector = FaxConnector(fax_settings, ports, gateways=gateways, fetch_retry_s=0.05)
        url = await stack.enter_async_context(serving(connector))
        gateways[1]._webhook_url = gateway.webhook_url = f"{url}/hooks/fax/telnyx"
        yield TelnyxSite(
            connector=connector, gateway=gateway, intake=intake, reports=reports, cursors=cursors, clock=clock
        )


# ---- faxes in


@pytest.mark.parametrize("document", [PAGES, TIFF_PAGES], ids=["pdf", "tiff"])
async def test_registers_a_fax_with_its_pages(site: TelnyxSite, document: bytes):
    """fax.received: the pages are fetched before the answer 200; sender, our number and time are the gateway's."""
    assert await site.tell(site.gateway.store(document, fax_id="f-1")) == 200
    envelope = site.intake.only
    assert (envelope.external_id, envelope.sender.value, envelope.recipients[0].value) == ("f-1", CITIZEN, OURS)
    assert (envelope.recognise, envelope.marks) == (True, ())
    assert envelope.authenticity[0].method == "webhook_signature"
    assert document in site.intake.contents.values()
    assert json.loads(site.intake.contents[envelope.raw.sha256])["data"]["event_type"] == "fax.received"


async def test_partial_content_is_marked(site: TelnyxSite):
    """The call broke off: what came is registered, and says that pages may be missing."""
    assert await site.tell(site.gateway.store(PAGES), partial_content=True) == 200
    assert site.intake.only.marks == ("truncated",)
    assert "Передача прервалась" in site.intake.only.text


async def test_redelivery_is_the_same_appeal(site: TelnyxSite):
    """Calls come more than once, also at the same moment."""
    fax_id = site.gateway.store(PAGES)
    assert await asyncio.gather(*(site.tell(fax_id) for _ in range(3))) == [200, 200, 200]
    assert len(site.intake.envelopes) == 1


async def test_events_of_a_fax_on_its_way_in_are_let_by(site: TelnyxSite):
    """fax.receiving.started tells nothing that we keep."""
    for name in ("fax.receiving.started", "fax.media.processing.started"):
        event = site.gateway.event(name, {"fax_id": "f", "direction": "inbound", "from": CITIZEN, "to": OURS})
        assert await site.gateway.post(event) == 200
    assert site.intake.nothing_kept


# ---- who calls


async def test_unsigned_and_wrongly_signed_calls_are_401(site: TelnyxSite):
    """Another key's signature, another body's, none, and garbage keep nothing."""
    body = json.dumps(site.gateway.received_event(site.gateway.store(PAGES), sender=CITIZEN, recipient=OURS)).encode()
    good = site.gateway.sign(body)
    wrong = [
        {},
        TelnyxFaxServer().sign(body),
        site.gateway.sign(body + b" "),
        {**good, "telnyx-timestamp": str(int(good["telnyx-timestamp"]) + 1)},
        {**good, "telnyx-timestamp": "soon"},
        {**good, "telnyx-signature-ed25519": "%%%"},
        {**good, "telnyx-signature-ed25519": ""},
    ]
    assert [await site.gateway.post_body(body, headers) for headers in wrong] == [401] * len(wrong)
    assert site.intake.nothing_kept
    assert await site.gateway.post_body(body, good) == 200


@pytest.mark.parametrize("age_s", [-3600, 3600])
async def test_a_recorded_call_cannot_be_played_again_later(site: TelnyxSite, age_s: int):
    """Rightly signed, but for another time than now, tolerance included."""
    event = site.gateway.received_event(site.gateway.store(PAGES), sender=CITIZEN, recipient=OURS)
    assert await site.gateway.post(event, at=time.time() - age_s) == 401
    assert await site.gateway.post(event, at=time.time() - 60) == 200


async def test_both_gateways_receive_at_once(site: TelnyxSite):
    """Only the gateway without credentials has no hook."""
    url = site.gateway.webhook_url.replace("telnyx", "sinch")
    assert await site.gateway.post({}, url=url) == 404
    both = {**site.connector._settings.model_dump(), "webhook_username": "u", "webhook_password": "p"}
    connector = build(FaxSettings.model_validate(both), make_ports(RecordingIntake()))
    assert [address.rpartition("/")[2] for address in connector.health().addresses] == ["sinch", "telnyx"]


def test_a_key_that_is_none_is_a_configuration_error():
    """The setting is named."""
    with pytest.raises(ConfigurationError, match=r"fax\.telnyx\.public_key"):
        build(FaxSettings(telnyx=TelnyxFaxSettings(public_key="abc")), make_ports(RecordingIntake()))


# ---- pages that cannot be had


async def test_an_expired_address_is_made_anew(site: TelnyxSite):
    """The address of the call has expired (403): a fresh one is asked for, and the fax registered."""
    fax_id = site.gateway.store(PAGES)
    event = site.gateway.received_event(fax_id, sender=CITIZEN, recipient=OURS)
    site.gateway.stored[fax_id].address = "another-one-by-now"
    assert await site.gateway.post(event) == 200
    assert site.intake.only.recognise


async def test_no_address_in_the_call_is_asked_for(site: TelnyxSite):
    """A call without media_url: the API knows it."""
    assert await site.tell(site.gateway.store(PAGES), media_url=None) == 200
    assert site.intake.only.recognise


@pytest.mark.parametrize("fault", ["error", "truncated", "html"])
async def test_a_passing_fault_is_503_and_we_fetch_by_ourselves(site: TelnyxSite, fault: str):
    """The store is down, cuts the document off or shows another page: nothing is acknowledged, we try again alone."""
    fax_id = site.gateway.store(PAGES, fault)
    assert await site.tell(fax_id) == 503
    assert site.intake.nothing_kept
    assert site.connector.health().state == "degraded"
    async with site.working():
        await site.until(lambda: bool(site.intake.envelopes))
        assert site.intake.only.recognise
        await site.until(lambda: site.connector.health().state == "up")
    assert not json.loads(site.cursors.values["fax", "unfetched"])["waiting"]


async def test_the_gateways_repetition_registers_it_too(site: TelnyxSite):
    """Without our own loop the next call does, and what was remembered is forgotten."""
    fax_id = site.gateway.store(PAGES, "error", "error")
    event = site.gateway.received_event(fax_id, sender=CITIZEN, recipient=OURS)
    assert await site.gateway.deliver(event) == 200
    assert site.gateway.webhook_statuses == [503, 503, 200]
    assert not json.loads(site.cursors.values["fax", "unfetched"])["waiting"]


async def test_a_killed_process_fetches_after_its_restart(site: TelnyxSite):
    """What was remembered is in the registry: another connector over the same cursors goes on."""
    fax_id = site.gateway.store(PAGES, "error")
    assert await site.tell(fax_id) == 503
    ports = replace(site.connector._ports, cursors=site.cursors)
    gateways = tuple(site.connector._gateways.values())
    other = FaxConnector(site.connector._settings, ports, gateways=gateways, fetch_retry_s=0.05)
    work = asyncio.create_task(other.work())
    await site.until(lambda: bool(site.intake.envelopes))
    await other.stop()
    await work
    assert site.intake.only.external_id == fax_id


@pytest.mark.parametrize("fault", ["expired", "missing", "gone"])
async def test_pages_gone_for_good_are_registered_as_missing(site: TelnyxSite, fault: str):
    """The store refuses, the API knows the fax no more: an agent gets number, time and fax id, and can call back."""
    fax_id = site.gateway.store(PAGES, fault)
    site.gateway.stored[fax_id].known = False
    assert await site.tell(fax_id) == 200
    envelope = site.intake.only
    assert (envelope.marks, envelope.recognise, envelope.attachments) == (("pages_missing",), False, ())
    assert envelope.sender.value == CITIZEN
    assert all(part in envelope.text for part in (fax_id, CITIZEN, "Позвоните отправителю"))


async def test_pages_that_come_after_all_join_the_appeal(site: TelnyxSite):
    """Registered as missing, then the gateway tells again and has them: they join that appeal instead of being lost."""
    fax_id = site.gateway.store(PAGES, "gone")
    site.gateway.stored[fax_id].known = False
    assert await site.tell(fax_id) == 200
    site.gateway.stored[fax_id].known = True
    assert await site.tell(fax_id) == 200
    assert await site.tell(fax_id) == 200
    notice, pages = site.intake.envelopes.values()
    assert (pages.revises, pages.recognise, notice.revises) == (fax_id, True, None)


async def test_a_repetition_after_the_pages_are_gone_changes_nothing(site: TelnyxSite):
    """Registered with its pages; the call comes again when they are gone: the same number, nothing new."""
    fax_id = site.gateway.store(PAGES)
    assert await site.tell(fax_id) == 200
    site.gateway.stored[fax_id].faults[:] = ["gone"]
    site.gateway.stored[fax_id].known = False
    assert await site.tell(fax_id) == 200
    assert site.intake.only.recognise


async def test_after_a_day_of_faults_the_fax_is_registered_without_pages(site: TelnyxSite):
    """The store is down for longer than fax.fetch_for_hours: then the fact is registered, and nobody waits on."""
    fax_id = site.gateway.store(PAGES, *["error"] * 50)
    assert await site.tell(fax_id) == 503
    site.clock.ahead = timedelta(hours=25)
    async with site.working():
        await site.until(lambda: bool(site.intake.envelopes))
    assert site.intake.only.marks == ("pages_missing",)
    assert "503" in site.intake.only.text


async def test_what_is_no_document_is_kept_beside_the_fact(site: TelnyxSite):
    """Three times the same unreadable bytes: registered as such, the bytes attached, the number there to call."""
    fax_id = site.gateway.store(b"%PDF-1.4 nothing")
    assert [await site.tell(fax_id) for _ in range(3)] == [503, 503, 200]
    envelope = site.intake.only
    assert envelope.marks == ("pages_unreadable",)
    assert site.intake.contents[envelope.attachments[0].sha256] == b"%PDF-1.4 nothing"


async def test_a_slow_store_does_not_hold_the_gateway_for_ever(site: TelnyxSite, monkeypatch: pytest.MonkeyPatch):
    """No bytes within the time-out: 503, and tried again."""
    monkeypatch.setattr(media_download, "FETCH_TIMEOUT", aiohttp.ClientTimeout(sock_read=0.2))
    fax_id = site.gateway.store(PAGES, "hangs")
    assert await site.tell(fax_id) == 503
    assert await site.tell(fax_id) == 200


async def test_pages_are_fetched_from_the_gateways_hosts_alone(site: TelnyxSite):
    """Another host is waited with, and named to the operator; a file address never is fetched."""
    site.connector._gateways["telnyx"]._own = site.connector._settings.telnyx.model_copy(
        update={"media_hosts": ("*.telnyx.com",)}
    )
    assert await site.tell(site.gateway.store(PAGES)) == 503
    assert "fax.telnyx.media_hosts does not name 127.0.0.1" in site.connector.health().detail
    fax_id = site.gateway.store(PAGES)
    site.gateway.stored[fax_id].known = False
    assert await site.tell(fax_id, media_url="file:///etc/passwd") == 200
    assert site.intake.only.marks == ("pages_missing",)


async def test_a_document_too_large_is_registered_without_pages(site: TelnyxSite):
    """More than fax.max_body_bytes is never taken, and says so."""
    small = site.connector._settings.model_copy(update={"max_body_bytes": 1024})
    site.connector._gateways["telnyx"]._settings = small
    fax_id = site.gateway.store(PAGES)
    site.gateway.stored[fax_id].known = False
    assert await site.tell(fax_id) == 200
    assert site.intake.only.marks == ("pages_missing",)


async def test_registry_down_is_503_and_nothing_is_forgotten(site: TelnyxSite):
    """Neither registered nor remembered: the gateway keeps it."""
    site.intake.failure = TransientError("down")
    fax_id = site.gateway.store(PAGES)
    assert await site.tell(fax_id) == 503
    site.intake.failure = None
    assert await site.tell(fax_id) == 200
    assert len(site.intake.envelopes) == 1


async def test_a_quarantined_call_can_be_retried(site: TelnyxSite):
    """A fax of too many pages is kept; after the limit was raised `retry` fetches and registers it."""
    event = site.gateway.event("fax.received", {"fax_id": ["x"], "from": CITIZEN})
    assert await site.gateway.post(event) == 200
    ((item, content),) = site.intake.quarantined.values()
    with pytest.raises(PermanentError):
        await site.connector.retry(content, item.context)
    fixed = json.dumps(site.gateway.received_event(site.gateway.store(PAGES), sender=CITIZEN, recipient=OURS))
    await site.connector.retry(fixed.encode(), item.context)
    assert site.intake.only.recognise


async def test_a_failed_incoming_call_is_kept_for_a_person(site: TelnyxSite):
    """fax.failed of an incoming call: no page came; quarantine says why in words."""
    payload = {
        "fax_id": "f",
        "direction": "inbound",
        "from": CITIZEN,
        "to": OURS,
        "failure_reason": "sender_call_dropped",
    }
    assert await site.gateway.post(site.gateway.event("fax.failed", payload)) == 200
    ((item, _),) = site.intake.quarantined.values()
    assert "the sender hung up (sender_call_dropped)" in item.reason


# ---- calls that never came


async def test_faxes_of_an_outage_are_asked_for(site: TelnyxSite):
    """Their calls were given up while we were down: they are listed, fetched and registered; those known are not."""
    site.cursors.values["fax", "caught_up_to/telnyx"] = (site.clock.now() - timedelta(days=2)).isoformat()
    known = site.gateway.store(PAGES)
    assert await site.tell(known) == 200
    missed = [site.gateway.store(PAGES), site.gateway.store(PAGES, "error")]
    site.gateway.stored[site.gateway.store(PAGES, fax_id="coming")].status = "receiving"
    site.gateway.stored[site.gateway.store(PAGES, fax_id="old")].created_at = site.clock.now() - timedelta(days=9)
    async with site.working():
        await site.until(lambda: len(site.intake.envelopes) == 3)
        await site.until(lambda: site.connector.health().state == "up")
    assert {envelope.external_id for envelope in site.intake.envelopes.values()} == {known, *missed}
    assert site.gateway.stored[known].fetched == 1
    assert site.cursors.values["fax", "caught_up_to/telnyx"] > (site.clock.now() - timedelta(minutes=1)).isoformat()


async def test_a_long_list_is_read_to_its_end(site: TelnyxSite, monkeypatch: pytest.MonkeyPatch):
    """More faxes than a page of the list holds; another application's are let alone."""
    monkeypatch.setattr(telnyx, "LIST_PAGE", 3)
    site.cursors.values["fax", "caught_up_to/telnyx"] = (site.clock.now() - timedelta(hours=1)).isoformat()
    for _ in range(7):
        site.gateway.store(PAGES)
    gateway = site.connector._gateways["telnyx"]
    assert await site.connector._catch_up.catch_up(gateway) == 7
    assert await site.connector._catch_up.catch_up(gateway) == 0
    site.gateway.connection_id = "another"
    site.gateway.store(PAGES)
    assert await site.connector._catch_up.catch_up(gateway) == 0
    assert len(site.intake.envelopes) == 7


async def test_while_the_list_cannot_be_had_the_cursor_stays(site: TelnyxSite):
    """The next time covers the same ground; the very first time there is nothing to miss."""
    gateway = site.connector._gateways["telnyx"]
    site.gateway.store(PAGES)
    assert await site.connector._catch_up.catch_up(gateway) == 0
    before = dict(site.cursors.values)
    site.gateway.refusals.append(503)
    with pytest.raises(TransientError):
        await site.connector._catch_up.catch_up(gateway)
    assert site.cursors.values == before
    assert await site.connector._catch_up.catch_up(gateway) == 1


# ---- answers out


async def test_answer_goes_out_as_one_pdf_with_its_files(site: TelnyxSite):
    """Letter, PDF and picture are the pages of one document, sent to the citizen's number in high quality."""
    buffer = BytesIO()
    Image.new("RGB", (600, 400), "white").save(buffer, "PNG")
    site.gateway.completes = False
    reply_id = uuid4()
    receipt = await site.connector.send(
        make_message(reply_id=reply_id, files=(("plan.pdf", PAGES), ("photo.png", buffer.getvalue())))
    )
    (sent,) = site.gateway.sent
    assert (sent["to"], sent["from"], sent["id"]) == (CITIZEN, OURS, receipt.external_id)
    pdf = pypdfium2.PdfDocument(site.gateway.media[sent["media_name"]])
    try:
        assert len(pdf) == 3
        words = pdf[0].get_textpage().get_text_range()
    finally:
        pdf.close()
    assert all(part in words for part in ("Обращение № 482-719-3561", "Тепло дадут", f"Кому: факс {CITIZEN}"))


@pytest.mark.parametrize(
    ("reason", "state", "detail"),
    [
        ("", DeliveryState.DELIVERED, "1 pages"),
        ("user_busy", DeliveryState.FAILED, "the line was busy (user_busy)"),
        ("something_new", DeliveryState.FAILED, "something_new"),
    ],
)
async def test_outcome_is_reported_in_words(site: TelnyxSite, reason: str, state: DeliveryState, detail: str):
    """The webhooks queued, processed, sending and delivered or failed; those before our commit are answered 503."""
    site.gateway.failure_reason = reason
    receipt = await site.connector.send(make_message())
    await site.until(lambda: 503 in site.gateway.webhook_statuses)
    site.reports.known.add(receipt.external_id)  # our commit
    await site.until(lambda: (receipt.external_id, state, detail) in site.reports.states)
    assert {reported[1] for reported in site.reports.states[:-1]} == {DeliveryState.SENT}


async def test_others_faxes_are_let_by(site: TelnyxSite):
    """An outcome without our state, of a fax that somebody else sent from the account, is answered 200."""
    payload = {"fax_id": "theirs", "direction": "outbound", "from": OURS, "to": CITIZEN, "client_state": "aGk="}
    assert await site.gateway.post(site.gateway.event("fax.delivered", payload)) == 200
    assert not site.reports.states


@pytest.mark.parametrize("status", [429, 500])
async def test_gateway_busy_or_down_is_transient(site: TelnyxSite, status: int):
    """Tried again later, after as long as the gateway asked for."""
    site.gateway.refusals.append(status)
    with pytest.raises(TransientError) as caught:
        await site.connector.send(make_message())
    assert caught.value.retry_after_s == 9


async def test_what_it_cannot_send_is_told_to_the_agent(site: TelnyxSite):
    """A file that has no pages, one that is broken, a refused number."""
    for files in ((("letter.docx", b"PK\x03\x04 word/document.xml"),), (("broken.pdf", b"%PDF-1.4 nothing"),)):
        with pytest.raises(PermanentError):
            await site.connector.send(make_message(files=files))
    site.gateway.refusals.append(422)
    with pytest.raises(PermanentError):
        await site.connector.send(make_message())


# ---- anything else

EVENTS = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries(
            {
                "event_type": st.one_of(
                    st.text(max_size=10), st.sampled_from(["fax.received", "fax.failed", "fax.queued"])
                ),
                "payload": st.one_of(
                    st.none(),
                    st.dictionaries(
                        st.sampled_from(
                            ["fax_id", "from", "to", "media_url", "direction", "page_count", "client_state"]
                        ),
                        st.one_of(
                            st.none(), st.integers(), st.text(max_size=12), st.lists(st.text(max_size=2), max_size=2)
                        ),
                    ),
                ),
            }
        )
    }
)


@given(body=st.one_of(st.binary(max_size=200), EVENTS.map(lambda event: json.dumps(event).encode())))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_signed_bytes_end_in_an_answer(site: TelnyxSite, body: bytes):
    """Registered, quarantined, refused, or to be sent again because its pages are somewhere else: never a crash."""
    status = await site.gateway.post_body(body, site.gateway.sign(body))
    assert status in {200, 400, 503}
