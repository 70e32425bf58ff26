"""Fax media that expires, while the daemon is killed: nothing lost, nothing doubled."""

from pathlib import Path

from appeals.envelope import Channel
from okno.outside.fax_document import make_fax_document
from okno.outside.telnyx_fax import TelnyxFaxServer
from tests.acceptance.harness import DaemonProcess, eventually

WAIT_S = 90.0
CITIZEN, OURS = "+78121234567", "+78125550100"
PAGES = make_fax_document(["В доме 12 по Садовой улице третий день нет отопления."])


async def test_faxes_whose_pages_expire_survive_a_kill(tmp_path: Path):
    """Three faxes are told of while their pages cannot be had; the daemon is killed; the gateway calls no more.

    After the restart each is an appeal of its own: one by the fresh address, one fetched late, one whose pages are gone
    for good is there with its number and the mark.
    """
    async with TelnyxFaxServer() as gateway:
        fax = {
            "enabled": True,
            "gateway": "telnyx",
            "number": OURS,
            "telnyx": {
                "api_url": gateway.url,
                "api_key": gateway.api_key,
                "connection_id": gateway.connection_id,
                "public_key": gateway.public_key,
                "media_hosts": ["127.0.0.1"],
            },
        }
        settings = {"fax": fax, "recognition": {"enabled": False}}
        async with DaemonProcess(tmp_path, settings=settings) as daemon:
            gateway.webhook_url = f"{daemon.url}/hooks/fax/telnyx"
            faxes = {name: gateway.store(PAGES, "error", fax_id=f"fax-{name}") for name in ("late", "expired", "gone")}
            for fax_id in faxes.values():
                event = gateway.received_event(fax_id, sender=CITIZEN, recipient=OURS)
                assert await gateway.post(event) == 503
            daemon.kill()
            gateway.stored["fax-expired"].address = "fresh"
            gateway.stored["fax-gone"].faults = ["gone"] * 9
            gateway.stored["fax-gone"].known = False
            await daemon.restart()

            async def marks() -> dict[str, tuple[str, ...]]:
                async with daemon.registry() as registry:
                    found = {}
                    for appeal in await registry.list_appeals():
                        assert appeal.channel is Channel.FAX
                        (envelope,) = (await registry.conversation(appeal.id)).envelopes
                        assert envelope.sender is not None
                        assert envelope.sender.value == CITIZEN
                        found[envelope.external_id] = envelope.marks
                    return found

            async def all_there() -> bool:
                return len(await marks()) == len(faxes)

            await eventually(all_there, what="the three faxes", timeout_s=WAIT_S)
            assert await marks() == {"fax-late": (), "fax-expired": (), "fax-gone": ("pages_missing",)}
            assert await daemon.stop() == 0
        assert not daemon.errors()
