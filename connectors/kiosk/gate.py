"""Who knocks: finds the kiosk of a request and checks that it signed it."""

from collections.abc import Mapping

import structlog
from aiohttp import web

from appeals.errors import TransientError
from connectors.base import ConnectorPorts
from connectors.kiosk.devices import Kiosk, KioskDevices
from connectors.kiosk.health import KioskHealthBook
from connectors.kiosk.receiver import run_sized
from connectors.kiosk.signature import ClockRefusedError, SignatureCheck, SignatureRefusedError, Signed, check_signature
from connectors.problem import read_body

logger = structlog.get_logger(__name__)

CLOCK_REFUSED = "Clock refused"  # titles of our problems: the kiosk page reads them
SIGNATURE_REFUSED = "Signature refused"
REVOKED = "Revoked kiosk"
UNKNOWN = "Unknown kiosk"


class KioskGate:
    """Lets known kiosks in. Refusals are aiohttp's exceptions; `answering_problems` makes problems of them."""

    def __init__(self, devices: KioskDevices, book: KioskHealthBook, ports: ConnectorPorts) -> None:
        self._devices = devices
        self._book = book
        self._ports = ports

    async def find(self, request: web.Request) -> Kiosk:
        """Return the kiosk that the path names. Raises HTTPNotFound, HTTPForbidden (revoked), TransientError."""
        kiosk = await self._devices.find(request.match_info["kiosk_id"], now=self._ports.now())
        if kiosk is None:
            raise web.HTTPNotFound(reason=UNKNOWN)
        if kiosk.revoked:
            logger.warning("connector.kiosk_revoked", kiosk=kiosk.id)
            raise web.HTTPForbidden(reason=REVOKED)
        return kiosk

    async def admit(self, request: web.Request, *, max_bytes: int) -> tuple[Kiosk, bytes, Signed]:
        """Read a request whole and return (the kiosk, the body, who signed). Raises as `find`, and HTTPUnauthorized."""
        kiosk = await self.find(request)
        body = await read_body(request, max_bytes=max_bytes)
        headers: Mapping[str, str] = dict(request.headers)
        try:
            signed = await run_sized(
                len(body), lambda: check_signature(kiosk.keys, headers, body, now=self._ports.now())
            )
        except SignatureRefusedError as error:
            raise await self.refusal(kiosk, error) from error
        await self._admitted(kiosk, signed)
        return kiosk, body, signed

    def begin(self, kiosk: Kiosk, request: web.Request) -> SignatureCheck:
        """Begin the check of a body that is too large to be held. Raises SignatureRefusedError."""
        return SignatureCheck(kiosk.keys, dict(request.headers), now=self._ports.now())

    async def finish(self, kiosk: Kiosk, check: SignatureCheck) -> Signed:
        """End that check. Raises HTTPUnauthorized."""
        try:
            signed = check.finish()
        except SignatureRefusedError as error:
            raise await self.refusal(kiosk, error) from error
        await self._admitted(kiosk, signed)
        return signed

    async def refusal(self, kiosk: Kiosk, error: SignatureRefusedError) -> web.HTTPException:
        """Return the 401 for a refused signature. A right key with a wrong clock is told so, and noted."""
        logger.warning("connector.signature_refused", kiosk=kiosk.id, reason=str(error))
        if isinstance(error, ClockRefusedError):
            await self._book.note_clock_refused(kiosk, skew_s=error.skew_s, now=self._ports.now())
            return web.HTTPUnauthorized(reason=CLOCK_REFUSED)
        return web.HTTPUnauthorized(reason=SIGNATURE_REFUSED)

    async def _admitted(self, kiosk: Kiosk, signed: Signed) -> None:
        logger.info("connector.kiosk_admitted", kiosk=kiosk.id, key=signed.key_id, skew_s=round(signed.skew_s, 1))
        try:
            await self._book.note_seen(kiosk, key_id=signed.key_id, skew_s=signed.skew_s, now=self._ports.now())
        except TransientError as error:  # a form must not be refused for the sake of a note
            logger.warning("connector.kiosk_seen_not_noted", kiosk=kiosk.id, error=str(error))
