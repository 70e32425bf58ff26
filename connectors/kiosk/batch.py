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
from config.channel_settings import KioskSettings
from connectors.in_hand import InHand
from connectors.kiosk.batch_items import MAX_ARRAY_BYTES, ArrayTooLargeError, BatchItem, batch_items, next_chunk
from connectors.kiosk.devices import Kiosk
from connectors.kiosk.gate import KioskGate
from connectors.kiosk.multipart import RawForm
from connectors.kiosk.receiver import FormReceiver, Held, Taken, taken_answer
from connectors.kiosk.signature import SignatureCheck, SignatureRefusedError
from connectors.problem import BROKEN_BODY, DEFAULT_RETRY_AFTER_S

FORMS_IN_FLIGHT = 128  # two groups of the intake: one is committed while the next is decoded
BYTES_IN_FLIGHT = 32 * 1024 * 1024  # decoded, a form with photos takes a few times its size
BATCHES_OF_A_KIOSK = 2  # at a time: a body is held on the disk before its signature can be checked
BODY_TIMEOUT_S = 900.0  # the largest batch over 5 Mbit/s
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
        self._running: Counter[str] = Counter()  # batches by kiosk

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer `POST /hooks/kiosk/{kiosk_id}/batch`."""
        kiosk = await self._gate.find(request)
        if self._running[kiosk.id] >= BATCHES_OF_A_KIOSK:
            raise TransientError(f"kiosk {kiosk.id} delivers {BATCHES_OF_A_KIOSK} batches already")
        self._running[kiosk.id] += 1
        try:
            return await self._receive(kiosk, request)
        finally:
            self._running[kiosk.id] -= 1

    async def _receive(self, kiosk: Kiosk, request: web.Request) -> web.StreamResponse:
        limit = self._settings.max_batch_bytes
        if (request.content_length or 0) > limit:
            raise web.HTTPRequestEntityTooLarge(max_size=limit, actual_size=request.content_length or 0)
        try:
            check = self._gate.begin(kiosk, request)
        except SignatureRefusedError as error:
            raise await self._gate.refusal(kiosk, error) from error
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY_BYTES) as spool:
            try:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    await self._fill(spool, request, check)
            except TimeoutError as error:
                raise web.HTTPRequestTimeout from error
            await self._gate.finish(kiosk, check)
            items = batch_items(spool, max_item_bytes=self._settings.max_body_bytes)
            try:
                first = await asyncio.to_thread(next_chunk, items)
            except ArrayTooLargeError as error:
                raise web.HTTPRequestEntityTooLarge(max_size=MAX_ARRAY_BYTES, actual_size=0) from error
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
        room = _Room()

        async def take(item: BatchItem) -> None:
            try:
                await response.write(await self._take(kiosk, item))
            finally:
                await room.leave(item)

        async with asyncio.TaskGroup() as group:
            while chunk:
                for item in chunk:
                    await room.enter(item)
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


class _Room:
    """Lets so many forms, and so many bytes of them, be worked on at a time; a single one of any size."""

    def __init__(self) -> None:
        self._forms = 0
        self._bytes = 0
        self._left = asyncio.Condition()

    async def enter(self, item: BatchItem) -> None:
        size = len(item.body or b"")
        async with self._left:
            await self._left.wait_for(
                lambda: not self._forms or (self._forms < FORMS_IN_FLIGHT and self._bytes + size <= BYTES_IN_FLIGHT)
            )
            self._forms += 1
            self._bytes += size

    async def leave(self, item: BatchItem) -> None:
        async with self._left:
            self._forms -= 1
            self._bytes -= len(item.body or b"")
            self._left.notify_all()


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
        try:
            await self._response.write_eof()
        except (ConnectionError, RuntimeError):
            self._gone = True
        return self._response

    async def _send(self, line: dict[str, object]) -> None:
        if self._gone:
            return
        try:
            await self._response.write(orjson.dumps(line) + b"\n")
        except (ConnectionError, RuntimeError):  # it hung up: it asks again and gets the same numbers
            self._gone = True
