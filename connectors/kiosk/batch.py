"""Stored forms in one go: a kiosk that was offline delivers hundreds at once."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import IO

import orjson
import structlog
from aiohttp import web

from appeals.errors import TransientError
from config.settings import KioskSettings
from connectors.in_hand import InHand
from connectors.kiosk.batch_items import ArrayTooLargeError, BatchItem, batch_items, next_chunk
from connectors.kiosk.devices import Kiosk
from connectors.kiosk.gate import KioskGate
from connectors.kiosk.multipart import RawForm
from connectors.kiosk.receiver import FormReceiver, Held, Taken, taken_answer
from connectors.kiosk.signature import SignatureCheck, SignatureRefusedError
from connectors.problem import BROKEN_BODY, DEFAULT_RETRY_AFTER_S

IN_FLIGHT = 128  # two groups of the intake: one is committed while the next is decoded
SPOOL_MEMORY_BYTES = 4 * 1024 * 1024  # a larger batch goes to a file
PIECE_BYTES = 1024 * 1024
NDJSON = "application/x-ndjson"

logger = structlog.get_logger(__name__)


class BatchReceiver:
    """Takes a batch in. Each form stands for itself: a bad one is quarantined and blocks none of the others.

    The answer is NDJSON, a line a form as soon as it is committed, so what was answered before a connection broke is
    known to be kept. The same batch again gets the same numbers (P2).
    """

    def __init__(self, settings: KioskSettings, gate: KioskGate, receiver: FormReceiver, in_hand: InHand) -> None:
        self._settings = settings
        self._gate = gate
        self._receiver = receiver
        self._in_hand = in_hand

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer `POST /hooks/kiosk/{kiosk_id}/batch`."""
        kiosk = await self._gate.find(request)
        if (request.content_length or 0) > self._settings.max_batch_bytes:
            raise web.HTTPRequestEntityTooLarge(
                max_size=self._settings.max_batch_bytes, actual_size=request.content_length or 0
            )
        try:
            check = self._gate.begin(kiosk, request)
        except SignatureRefusedError as error:
            raise await self._gate.refusal(kiosk, error) from error
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY_BYTES) as spool:
            await self._fill(spool, request, check)
            await self._gate.finish(kiosk, check)
            items = batch_items(spool, max_item_bytes=self._settings.max_body_bytes)
            try:
                first = await asyncio.to_thread(next_chunk, items)
            except ArrayTooLargeError as error:
                raise web.HTTPRequestEntityTooLarge(max_size=0, actual_size=0) from error
            return await self._answer(request, kiosk, first, items)

    async def _fill(self, spool: IO[bytes], request: web.Request, check: SignatureCheck) -> None:
        """Put the body into the spool, and through the signature's check."""
        size = 0
        piece = bytearray()

        def put(content: bytes) -> None:
            check.update(content)
            spool.write(content)

        try:
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > self._settings.max_batch_bytes:
                    raise web.HTTPRequestEntityTooLarge(max_size=self._settings.max_batch_bytes, actual_size=size)
                piece += chunk
                if len(piece) >= PIECE_BYTES:
                    await asyncio.to_thread(put, bytes(piece))
                    piece.clear()
        except BROKEN_BODY as error:
            raise web.HTTPBadRequest(reason="Broken body") from error
        put(bytes(piece))

    async def _answer(
        self, request: web.Request, kiosk: Kiosk, chunk: list[BatchItem], items: Iterator[BatchItem]
    ) -> web.StreamResponse:
        """Register all and stream the results. A kiosk that hangs up gets its forms registered all the same."""
        response = _Results(request)
        await response.begin()
        room = asyncio.Semaphore(IN_FLIGHT)

        async def take(item: BatchItem) -> None:
            try:
                await response.write(await self._take(kiosk, item))
            finally:
                room.release()

        async with asyncio.TaskGroup() as group:
            while chunk:
                for item in chunk:
                    await room.acquire()
                    group.create_task(take(item))
                chunk = await asyncio.to_thread(next_chunk, items)
        logger.info("connector.batch_taken", kiosk=kiosk.id, **response.counts)
        return await response.end()

    async def _take(self, kiosk: Kiosk, item: BatchItem) -> dict[str, object]:
        head: dict[str, object] = {"index": item.index}
        if item.body is None:
            return head | {"status": HTTPStatus.REQUEST_ENTITY_TOO_LARGE.value}
        try:
            async with self._in_hand.hold():
                taken = await self._receiver.take(kiosk, RawForm(body=item.body), in_batch=True)
        except TransientError as error:
            wait_s = error.retry_after_s or DEFAULT_RETRY_AFTER_S
            return head | {"status": HTTPStatus.SERVICE_UNAVAILABLE.value, "retry_after_s": wait_s}
        except Exception:
            logger.exception("connector.batch_item_failed", kiosk=kiosk.id, index=item.index)
            return head | {"status": HTTPStatus.SERVICE_UNAVAILABLE.value}
        if isinstance(taken, Held):
            return head | {"status": HTTPStatus.ACCEPTED.value, "quarantined": str(taken.entry_id)}
        if isinstance(taken, Taken):
            return head | {"id": taken.form_id, "status": HTTPStatus.OK.value} | taken_answer(taken)
        raise TypeError("only live forms are refused for their fields' sake")


class _Results:
    """The streamed answer."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse(status=HTTPStatus.MULTI_STATUS, headers={"Content-Type": NDJSON})
        self._gone = False
        self.counts: Counter[str] = Counter()

    async def begin(self) -> None:
        await self._response.prepare(self._request)

    async def write(self, result: dict[str, object]) -> None:
        kind = {200: "registered", 202: "quarantined", 413: "too_large"}.get(int(str(result["status"])), "unavailable")
        self.counts["items"] += 1
        self.counts["duplicates" if result.get("duplicate") else kind] += 1
        await self._send(result)

    async def end(self) -> web.StreamResponse:
        await self._send({"summary": dict(self.counts)})
        if not self._gone:
            await self._response.write_eof()
        return self._response

    async def _send(self, line: dict[str, object]) -> None:
        if self._gone:
            return
        try:
            await self._response.write(orjson.dumps(line) + b"\n")
        except (ConnectionError, RuntimeError):  # it hung up: it asks again and gets the same numbers
            self._gone = True
