"""A fax connector, its HTTP hook and the gateway beside it, all on loopback."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import aiohttp
import pytest

from config.channel_settings import FaxSettings
from connectors.fax import build
from connectors.fax.connector import FaxConnector
from connectors.http_outcome import basic_authorization
from okno.outside.fax_gateway import FaxGatewayServer
from tests.integration.kiosk.recording_intake import RecordingIntake, RecordingReports, make_ports, serving

OURS = "+78120000000"
CITIZEN = "+78121234567"


@dataclass
class MemoryCursors:
    """Positions as the registry keeps them: what was put last."""

    values: dict[tuple[str, str], str] = field(default_factory=dict)

    async def get(self, connector: str, name: str) -> str | None:
        return self.values.get((connector, name))

    async def put(self, connector: str, name: str, value: str) -> None:
        self.values[connector, name] = value


@dataclass(frozen=True, kw_only=True)
class FaxSite:
    """Everything a fax test talks to."""

    connector: FaxConnector
    gateway: FaxGatewayServer
    intake: RecordingIntake
    reports: RecordingReports
    hook_url: str
    session: aiohttp.ClientSession

    async def post(self, body: bytes, content_type: str) -> tuple[int, str]:
        """Post to the hook as the gateway would; returns status and media type."""
        async with self.session.post(
            self.hook_url,
            data=body,
            headers={"Content-Type": content_type, "Authorization": basic_authorization("hook", "hook-pass")},
        ) as response:
            await response.read()
            return response.status, response.content_type


@pytest.fixture
async def fax_site() -> AsyncIterator[FaxSite]:
    """Run connector, hook and gateway."""
    intake, reports = RecordingIntake(), RecordingReports()
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(
            FaxGatewayServer(
                project_id="p1",
                key_id="key",
                key_secret="secret",
                webhook_username="hook",
                webhook_password="hook-pass",
            )
        )
        settings = FaxSettings(
            enabled=True,
            api_url=gateway.url,
            project_id="p1",
            key_id="key",
            key_secret="secret",
            webhook_username="hook",
            webhook_password="hook-pass",
            number=OURS,
            max_pages=10,
        )
        # The hook's address is needed to build the connector, whose routes the server needs: the port is chosen first.
        connector = build(
            settings,
            replace(make_ports(intake, reports=reports, public_url="http://127.0.0.1:1"), cursors=MemoryCursors()),
        )
        url = await stack.enter_async_context(serving(connector))
        connector._sender._callback_url = f"http://hook:hook-pass@{url.removeprefix('http://')}/hooks/fax/sinch"
        gateway.webhook_url = f"{url}/hooks/fax/sinch"
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield FaxSite(
            connector=connector,
            gateway=gateway,
            intake=intake,
            reports=reports,
            hook_url=gateway.webhook_url,
            session=session,
        )
