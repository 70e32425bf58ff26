"""Stored forms in one go: each by itself, each once, whatever breaks in between."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appeals.blobs import open_blob_store
from appeals.cursors import RegistryCursors
from appeals.database import registry_url
from appeals.errors import TransientError
from appeals.intake import Intake
from appeals.intake_policy import IntakePolicy
from appeals.notify import SilentNotifier
from appeals.outbox import Outbox
from appeals.registration import Contents, Registration
from appeals.registry import Registry
from config.channel_settings import KioskDevice, KioskSettings
from config.settings import DeadlineSettings, OfficeSettings, RegistrySettings
from connectors.base import ConnectorPorts
from connectors.kiosk import build
from okno.outside.kiosk import KioskClient, make_submission, sign
from tests.integration.kiosk.recording_intake import RecordingIntake, make_ports, serving

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
DEVICE = KioskDevice(id="hall-1", name="Главный зал", secrets=(SECRET,))
KIOSKS = KioskSettings(enabled=True, devices=(DEVICE,), max_body_bytes=64 * 1024)
WEEK_AGO = datetime.now(UTC) - timedelta(days=7)


def stored(number: int, **more):
    return make_submission(
        f"Форма {number}", submission_id=f"f-{number}", created_at=WEEK_AGO + timedelta(minutes=number), **more
    )


@pytest.fixture
def intake() -> RecordingIntake:
    return RecordingIntake()


@pytest.fixture
async def kiosk(intake: RecordingIntake) -> AsyncIterator[KioskClient]:
    async with serving(build(KIOSKS, make_ports(intake))) as url, aiohttp.ClientSession() as session:
        yield KioskClient(hook_url=f"{url}/hooks/kiosk/hall-1", secret=SECRET, session=session)


async def test_each_form_gets_its_answer_and_keeps_its_time(kiosk: KioskClient, intake: RecordingIntake):
    """Delivered a week later, signed now: every form counts from when it was handed in, and is marked offline."""
    status, results = await kiosk.deliver_batch([stored(number) for number in range(5)])
    *results, summary = results
    assert status == 207
    assert [(result["index"], result["id"], result["status"]) for result in results] == [
        (number, f"f-{number}", 200) for number in range(5)
    ]
    assert all(result["number"] and result["code"] for result in results)
    assert summary == {"summary": {"items": 5, "registered": 5}}
    for number, envelope in enumerate(sorted(intake.envelopes.values(), key=lambda one: one.external_id)):
        assert envelope.received_at == envelope.sent_at == WEEK_AGO + timedelta(minutes=number)
        assert envelope.marks == ("offline",)


async def test_bad_items_block_none_of_the_others(kiosk: KioskClient, intake: RecordingIntake):
    """Rubbish is quarantined line by line, too large a form is named; all others are registered."""
    lines = [stored(1), "not JSON", "", stored(2, subject="x" * 70_000), '{"id": "\\ud800"}', "[" * 5000, stored(3)]
    _, results = await kiosk.deliver_batch(lines)
    assert [result.get("status") for result in results] == [200, 202, 413, 202, 202, 200, None]
    assert results[-1] == {"summary": {"items": 6, "registered": 2, "quarantined": 3, "too_large": 1}}
    assert sorted(envelope.text for envelope in intake.envelopes.values()) == ["Форма 1", "Форма 3"]
    assert sorted(content for _, content in intake.quarantined.values()) == sorted(
        [b"not JSON", b'{"id": "\\ud800"}', b"[" * 5000]
    )


async def test_the_same_batch_again_doubles_nothing(kiosk: KioskClient, intake: RecordingIntake):
    """Again under another webhook-id, with a form twice in it: the same numbers, nothing new."""
    forms = [stored(number) for number in range(4)]
    _, first = await kiosk.deliver_batch(forms)
    _, again = await kiosk.deliver_batch([*forms, forms[0]])
    numbers = [result["number"] for result in first[:-1]]
    assert [result["number"] for result in again[:-1]] == [*numbers, numbers[0]]
    assert again[-1] == {"summary": {"items": 5, "duplicates": 5}}
    assert len(intake.envelopes) == 4


async def test_an_array_is_a_batch_too(kiosk: KioskClient, intake: RecordingIntake):
    """A JSON array; where it breaks off, what came before is registered and the rest is kept as one item."""
    body = json.dumps([stored(1), stored(2)], ensure_ascii=False, indent=1)
    status, _ = await post_batch(kiosk, body.encode())
    assert (status, len(intake.envelopes)) == (207, 2)
    _, results = await post_batch(kiosk, body.encode()[:-30])
    assert [result.get("status") for result in results] == [200, 202, None]
    ((_, content),) = intake.quarantined.values()
    assert content.startswith(b'{\n  "schema"')


async def test_a_stored_form_with_faults_is_registered_and_marked(kiosk: KioskClient, intake: RecordingIntake):
    """Nobody can put it right any more: a citizen's words are never lost for a missing field."""
    fields = {"message": "Кратко", "photos": "?"}
    form = stored(1, fields=fields, form_version=1) | {"text": ""}
    _, (result, _) = await kiosk.deliver_batch([form])
    assert result["status"] == 200
    assert (intake.only.text, intake.only.marks) == ("Кратко", ("offline", "incomplete"))


async def test_an_outage_in_the_middle_keeps_the_rest_at_the_kiosk(kiosk: KioskClient, intake: RecordingIntake):
    """Items that could not be committed are 503, each with a time to wait; the whole batch again completes it."""
    register, count = intake.register, 0

    async def register_three(envelope, contents):
        nonlocal count
        count += 1
        if count > 3:
            raise TransientError("the registry is away", retry_after_s=7)
        return await register(envelope, contents)

    intake.register = register_three
    forms = [stored(number) for number in range(8)]
    status, results = await kiosk.deliver_batch(forms)
    assert status == 207
    assert sorted(result["status"] for result in results[:-1]) == [200] * 3 + [503] * 5
    assert {result.get("retry_after_s") for result in results if result.get("status") == 503} == {7}
    intake.register = register
    _, results = await kiosk.deliver_batch(forms)
    assert results[-1] == {"summary": {"items": 8, "registered": 5, "duplicates": 3}}


@pytest.mark.parametrize("body", [b"", b"\n\n", b"[]", b" [ ] ", b"\xff\xfe", b"{", b"[1, 2", b"null", b"[" * 60_000])
async def test_odd_batches_are_answered(kiosk: KioskClient, intake: RecordingIntake, body: bytes):
    """Empty ones hold nothing; rubbish is quarantined; never a 5xx."""
    status, results = await post_batch(kiosk, body)
    assert status == 207
    assert results[-1]["summary"].get("items", 0) == len(intake.quarantined)


async def test_large_forms_share_the_room(kiosk: KioskClient, intake: RecordingIntake, monkeypatch: pytest.MonkeyPatch):
    """With room for one form's bytes only, all of them still come in, one after the other."""
    monkeypatch.setattr("connectors.kiosk.batch.BYTES_IN_FLIGHT", 100)
    _, results = await kiosk.deliver_batch([stored(number) for number in range(20)])
    assert results[-1] == {"summary": {"items": 20, "registered": 20}}


async def test_a_kiosk_delivers_few_batches_at_a_time(intake: RecordingIntake):
    """Bodies lie on the disk before they can be checked: the third of one kiosk at a time is asked to wait."""
    finish = asyncio.Event()

    async def slowly():
        yield b"{"
        await finish.wait()
        yield b"}"

    connector = build(KIOSKS, make_ports(intake))
    async with serving(connector) as base, aiohttp.ClientSession() as session:
        kiosk = KioskClient(hook_url=f"{base}/hooks/kiosk/hall-1", secret=SECRET, session=session)
        headers, url = sign("{}", secret=SECRET, message_id="m"), f"{kiosk.hook_url}/batch"
        slow = [asyncio.create_task(session.post(url, data=slowly(), headers=headers)) for _ in range(2)]
        async with asyncio.timeout(10):
            while connector._batch._running["hall-1"] < 2:
                await asyncio.sleep(0)
        async with session.post(url, data="{}", headers=headers) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "10")
        finish.set()
        for response in await asyncio.gather(*slow):
            assert response.status == 207
            await response.read()
        assert (await post_batch(kiosk, b"{}"))[0] == 207


async def test_an_unsigned_or_too_large_batch_is_refused_whole(kiosk: KioskClient, intake: RecordingIntake):
    """401 and 413 as problems; not one of its forms is kept."""
    body = json.dumps(stored(1)).encode()
    headers = sign(body.decode() + " ", secret=SECRET, message_id="m")
    async with kiosk.session.post(f"{kiosk.hook_url}/batch", data=body, headers=headers) as response:
        assert (response.status, response.content_type) == (401, "application/problem+json")
    connector = build(KIOSKS.model_copy(update={"max_batch_bytes": 1024}), make_ports(intake))
    async with serving(connector) as url:
        small = KioskClient(hook_url=f"{url}/hooks/kiosk/hall-1", secret=SECRET, session=kiosk.session)
        headers = sign("x" * 2000, secret=SECRET, message_id="m")
        async with kiosk.session.post(f"{small.hook_url}/batch", data=b"x" * 2000, headers=headers) as response:
            assert (response.status, response.content_type) == (413, "application/problem+json")
    assert intake.nothing_kept


@given(lines=st.lists(st.binary(max_size=60) | st.sampled_from([b'{"id": "a"}', b"[", b'{"id": 5}']), max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_signed_bytes_are_registered_or_quarantined_once(
    kiosk: KioskClient, intake: RecordingIntake, lines: list[bytes]
):
    """Every item of any bytes is answered 200 or 202, and the same again adds nothing."""
    body = b"\n".join(lines)
    for _ in range(2):
        status, results = await post_batch(kiosk, body)
        kept = (len(intake.envelopes), len(intake.quarantined))
        assert status == 207
        assert {result["status"] for result in results[:-1]} <= {200, 202}
    assert (len(intake.envelopes), len(intake.quarantined)) == kept


async def post_batch(kiosk: KioskClient, body: bytes) -> tuple[int, list[dict]]:
    headers = sign(body, secret=SECRET, message_id="m", content_type="application/x-ndjson")
    async with kiosk.session.post(f"{kiosk.hook_url}/batch", data=body, headers=headers) as response:
        return response.status, [json.loads(line) async for line in response.content]


class BreakingIntake:
    """The real intake; after `limit` registrations the connection breaks that the test gave it."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.registered = asyncio.Event()
        self.count = 0

    async def register(self, envelope, contents: Contents) -> Registration:
        registration = await self._intake.register(envelope, contents)
        self.count += 1
        if self.count == 100:
            self.registered.set()
        return registration

    async def quarantine(self, item, content):
        return await self._intake.quarantine(item, content)


async def test_a_thousand_forms_whose_connection_breaks_are_registered_once_each(tmp_path: Path):
    """With the real registry: the kiosk hangs up amid a thousand forms, sends all again, and has a thousand numbers."""
    registry = Registry(registry_url("", tmp_path), blobs=open_blob_store("", options={}, data_dir=tmp_path))
    await registry.migrate()
    policy = IntakePolicy(
        secret_key=b"k" * 32, public_url="http://localhost", office=OfficeSettings(), deadlines=DeadlineSettings()
    )
    forms = [stored(number) for number in range(1000)]
    async with Intake(registry, settings=RegistrySettings(), policy=policy, notifier=SilentNotifier()) as intake:
        breaking = BreakingIntake(intake)
        ports = ConnectorPorts(
            intake=breaking,
            cursors=RegistryCursors(registry),
            reports=Outbox(registry, notifier=SilentNotifier()),
            now=lambda: datetime.now(UTC),
            public_url="http://127.0.0.1",
        )
        async with serving(build(KIOSKS, ports)) as url, aiohttp.ClientSession() as session:
            kiosk = KioskClient(hook_url=f"{url}/hooks/kiosk/hall-1", secret=SECRET, session=session)
            delivery = asyncio.create_task(kiosk.deliver_batch(forms))
            await asyncio.wait_for(breaking.registered.wait(), timeout=30)
            delivery.cancel()
            _, results = await kiosk.deliver_batch(forms)
    numbers = {result["number"] for result in results[:-1]}
    assert len(numbers) == len(results) - 1 == 1000
    counts = await registry.count_by_state()
    assert sum(counts.values()) == 1000
    await registry.close()
