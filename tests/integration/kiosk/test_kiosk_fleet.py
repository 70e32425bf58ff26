"""Kiosks that come, change their keys, go, and tell how they are."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appeals.errors import ConfigurationError, NotFoundError, TransientError
from config.channel_settings import KioskDevice, KioskSettings
from connectors.kiosk import build
from connectors.kiosk.devices import KioskDevices
from connectors.kiosk.enrolment import KioskAdministration
from okno.outside.kiosk import KioskClient, make_submission
from tests.integration.kiosk.recording_intake import MemoryCursors, RecordingIntake, make_ports, serving

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
KIOSKS = KioskSettings(enabled=True, devices=(KioskDevice(id="hall-1", secrets=(SECRET,)),))
SIGNING_KEY = b"k" * 32  # that of make_ports
DAY = timedelta(days=1)


class Fleet:
    """A running connector, and the command's side of it."""

    def __init__(self, url: str, session: aiohttp.ClientSession, cursors: MemoryCursors, connector) -> None:
        self.url, self.session, self.cursors, self.connector = url, session, cursors, connector

    def office(self, *, at: datetime | None = None) -> KioskAdministration:
        devices = KioskDevices(KIOSKS, self.cursors, signing_key=SIGNING_KEY)
        return KioskAdministration(devices, self.cursors, signing_key=SIGNING_KEY, now=at or datetime.now(UTC))

    def client(self, kiosk_id: str, secret: str) -> KioskClient:
        return KioskClient(hook_url=f"{self.url}/hooks/kiosk/{kiosk_id}", secret=secret, session=self.session)

    async def enrol(self, code: str) -> tuple[int, dict]:
        async with self.session.post(f"{self.url}/kiosk/enrol", json={"code": code}) as response:
            return response.status, await response.json(content_type=None)


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    cursors = MemoryCursors()
    connector = build(KIOSKS, make_ports(RecordingIntake(), cursors=cursors))
    async with serving(connector) as url, aiohttp.ClientSession() as session:
        yield Fleet(url, session, cursors, connector)


async def test_a_kiosk_is_added_enrolled_revoked_and_let_in_again(fleet: Fleet):
    """All while the daemon runs: what the command commits holds for the next request."""
    await fleet.office().add("hall-2", name="Второй зал")
    code = await fleet.office().enrol("hall-2")
    status, given_key = await fleet.enrol(code.code.lower().replace("-", " "))
    assert (status, given_key["kiosk_id"], given_key["name"]) == (200, "hall-2", "Второй зал")
    kiosk = fleet.client("hall-2", given_key["secret"])
    assert (await kiosk.deliver(make_submission("Текст")))[0] == 200
    await fleet.office().revoke("hall-2")
    for hook in ("", "/batch", "/health", "/receipt"):
        status, answer = await kiosk.post(hook, "{}", message_id="m")
        assert (status, answer["title"]) == (403, "Revoked kiosk")
    await fleet.office().reinstate("hall-2")
    assert (await kiosk.deliver(make_submission("Текст")))[0] == 200


async def test_a_kiosk_of_the_settings_can_be_revoked_too(fleet: Fleet):
    """Without touching the settings, and without a restart."""
    kiosk = fleet.client("hall-1", SECRET)
    assert (await kiosk.beat())[0] == 200
    await fleet.office().revoke("hall-1")
    assert (await kiosk.beat())[0] == 403


async def test_a_code_opens_once_and_not_for_ever(fleet: Fleet):
    """A used, an expired, a guessed code and one of a revoked kiosk are all the same 404."""
    office = fleet.office()
    await office.add("hall-2")
    used = await office.enrol("hall-2")
    assert (await fleet.enrol(used.code))[0] == 200
    old = await fleet.office(at=datetime.now(UTC) - 2 * DAY).enrol("hall-2")
    late = await office.enrol("hall-2")
    for code in (used.code, old.code, "AAAA-AAAA-AAAA"):
        assert (await fleet.enrol(code))[0] == 404
    await fleet.office().revoke("hall-2")
    assert (await fleet.enrol(late.code))[0] == 404


async def test_codes_cannot_be_guessed_at_pace(fleet: Fleet):
    """After ten tries in a minute an address is told to wait."""
    statuses = [(await fleet.enrol(f"AAAA-AAAA-{number:04}"))[0] for number in range(11)]
    assert statuses == [404] * 10 + [429]


async def test_a_rotated_key_opens_beside_the_old_one_until_that_ends(fleet: Fleet):
    """Old and new open for the overlap, those of the settings too; then only the new one. The key used is known."""
    key = await fleet.office().rotate("hall-1", overlap=DAY)
    old, new = fleet.client("hall-1", SECRET), fleet.client("hall-1", key.text)
    assert [(await client.beat())[0] for client in (old, new)] == [200, 200]
    (view,) = await fleet.connector.fleet()
    assert view.last_key == key.id
    assert len(view.keys) == 2
    devices = KioskDevices(KIOSKS, fleet.cursors, signing_key=SIGNING_KEY)
    later = await devices.find("hall-1", now=datetime.now(UTC) + 2 * DAY)
    assert later is not None
    assert [known.id for known in later.keys] == [key.id]
    again = await fleet.office().rotate("hall-1", overlap=timedelta(0))
    assert [(await client.beat())[0] for client in (old, new)] == [401, 401]
    assert (await fleet.client("hall-1", again.text).beat())[0] == 200


async def test_no_secret_is_kept(fleet: Fleet):
    """The registry's copy tells neither a key nor a code."""
    await fleet.office().add("hall-2")
    code = await fleet.office().enrol("hall-2")
    _, given_key = await fleet.enrol(code.code)
    kept = json.dumps(list(fleet.cursors.values.items()))
    for secret in (given_key["secret"].removeprefix("whsec_"), code.code, code.code.replace("-", "")):
        assert secret not in kept


async def test_health_is_seen(fleet: Fleet):
    """What a kiosk reports is shown; a silent one, low paper and a clock that is off are named."""
    kiosk = fleet.client("hall-1", SECRET)
    report = {"version": "1.2", "stored_forms": 3, "oldest_stored_at": "2026-01-02T03:04:05Z", "paper": "out"}
    signed_at = datetime.now(UTC) - timedelta(seconds=200)
    status, answer = await kiosk.beat(signed_at=signed_at, battery_percent=9, **report)
    assert status == 200
    assert answer["skew_s"] == pytest.approx(-200, abs=10)
    (view,) = await fleet.connector.fleet()
    assert (view.state, view.stored_forms, view.version) == ("up", 3, "1.2")
    assert view.troubles[0].startswith("its clock is -20")
    assert view.troubles[1:] == ("paper out", "battery 9 %")

    assert (await kiosk.beat(signed_at=datetime.now(UTC) - timedelta(hours=3)))[1]["title"] == "Clock refused"
    (view,) = await fleet.connector.fleet()
    assert "set it" in view.troubles[0]
    assert fleet.connector.health().state == "degraded"
    assert "hall-1: refused: its clock" in fleet.connector.health().detail
    assert (await kiosk.beat())[0] == 200
    (view,) = await fleet.connector.fleet()
    assert view.troubles == ()
    assert fleet.connector.health().state == "up"


async def test_a_silent_kiosk_is_named_after_a_while(fleet: Fleet):
    """One that has reported before and does so no more; one that never reported is not expected to."""
    await fleet.client("hall-1", SECRET).beat(stored_forms=2)
    connector = build(
        KIOSKS.model_copy(update={"silent_after_s": 1e-6}), make_ports(RecordingIntake(), cursors=fleet.cursors)
    )
    (view,) = await connector.fleet()
    assert view.state == "silent"
    assert "2 forms stored there" in view.troubles
    await fleet.office().add("hall-2")
    assert (await connector.fleet())[1].state == "new"


async def test_an_unknown_state_of_the_kiosks_is_no_admission(fleet: Fleet):
    """The registry is away: 503 with Retry-After, nobody is let in unchecked, nothing is kept."""
    fleet.cursors.failure = TransientError("away")
    status, _ = await fleet.client("hall-1", SECRET).deliver(make_submission("Текст"))
    assert status == 503


@given(body=st.binary(max_size=200), hook=st.sampled_from(["/health", "/receipt"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_signed_bytes_are_answered(fleet: Fleet, body: bytes, hook: str):
    """Any heartbeat and any question for a receipt is taken, or refused with a 4xx."""
    status, _ = await fleet.client("hall-1", SECRET).post(hook, body, message_id="m")
    assert status == 200 or 400 <= status < 500


@given(
    body=st.binary(max_size=200),
    hook=st.sampled_from(["", "/batch", "/health", "/receipt"]),
    headers=st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "content-type"]),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30),
    ),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_unsigned_bytes_are_refused(fleet: Fleet, body: bytes, hook: str, headers: dict[str, str]):
    """401 as a problem at each hook, whatever the headers say; only the refusal of a right key's clock is noted."""
    async with fleet.session.post(f"{fleet.url}/hooks/kiosk/hall-1{hook}", data=body, headers=headers) as response:
        assert (response.status, response.content_type) == (401, "application/problem+json")
    assert fleet.cursors.values == {}


@given(body=st.binary(max_size=200) | st.sampled_from([b'{"code": ""}', b'{"code": 5}', b'{"code": "\\ud800"}']))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_bytes_enrol_nobody(fleet: Fleet, body: bytes):
    """Never a key, never a 5xx."""
    async with fleet.session.post(f"{fleet.url}/kiosk/enrol", data=body) as response:
        assert 400 <= response.status < 500


async def test_mistakes_of_the_administrator_are_named(fleet: Fleet):
    """A doubled id, a wrong id, an unknown kiosk."""
    with pytest.raises(ConfigurationError, match="already"):
        await fleet.office().add("hall-1")
    with pytest.raises(ConfigurationError, match="small letters"):
        await fleet.office().add("Зал")
    with pytest.raises(NotFoundError, match="okno kiosk list"):
        await fleet.office().revoke("nowhere")


async def test_the_page_is_served_strictly(fleet: Fleet):
    """No inline script, a policy on every file, the forms with an ETag that spares their second fetch."""
    for path in ("", "app.js", "style.css", "sw.js", "forms.json", "manifest.webmanifest"):
        async with fleet.session.get(f"{fleet.url}/kiosk/{path}") as response:
            text = await response.text()
            assert response.status == 200
            assert "script-src 'self'" in response.headers["Content-Security-Policy"]
            assert "__VERSION__" not in text
            etag = response.headers["ETag"]
        headers = {"If-None-Match": etag}
        async with fleet.session.get(f"{fleet.url}/kiosk/{path}", headers=headers) as response:
            assert response.status == 304
    for path in ("nothing.js", "..%2Fconnector.py", "%2e%2e/connector.py", "texts"):
        async with fleet.session.get(f"{fleet.url}/kiosk/{path}") as response:
            assert response.status == 404
