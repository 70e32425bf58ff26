"""Answers to kiosks: kept for pick-up by number and code, or posted, signed, to the kiosks' operator."""

import base64
import json
from datetime import datetime

import aiohttp

from appeals.envelope import ContactPointKind
from appeals.errors import PermanentError, TransientError
from connectors.base import OutboundMessage, Receipt
from connectors.http_outcome import check_outcome
from connectors.kiosk.devices import KioskDevices
from connectors.kiosk.signature import sign

POST_TIMEOUT_S = 30.0


class AnswerPoster:
    """Posts answers to `answer_url`; without one they are kept for pick-up."""

    def __init__(self, answer_url: str, devices: KioskDevices) -> None:
        self._answer_url = answer_url
        self._devices = devices
        self._session: aiohttp.ClientSession | None = None
        self.trouble = ""  # for the connector's health

    def open(self) -> None:
        """Open the HTTP client. Idempotent."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=POST_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()

    async def post(self, message: OutboundMessage, *, now: datetime) -> Receipt:
        """Post one answer, signed by the kiosk's keys. Raises TransientError or PermanentError.

        `webhook-id` is the reply's message id: a receiver recognises a second delivery by it.
        """
        if not self._answer_url:
            return Receipt(external_id=str(message.reply_id), detail="kept for pick-up at the kiosk or the status page")
        kiosk_id, _, submission_id = _origin_of(message).partition("/")
        kiosk = await self._devices.find(kiosk_id, now=now)
        if kiosk is None or not kiosk.keys:
            raise PermanentError(f"there is no kiosk {kiosk_id!r} with a key: the answer cannot be signed for it")
        payload = _payload(message, kiosk_id=kiosk_id, submission_id=submission_id)
        body = json.dumps(payload | {"attachments": await _attachments(message)}, ensure_ascii=False)
        await self._send(body, sign(kiosk.keys, body, message_id=message.message_id, at=now))
        return Receipt(external_id=str(message.reply_id), detail="posted to the kiosks' answer address")

    async def _send(self, body: str, headers: dict[str, str]) -> None:
        if self._session is None:
            raise TransientError("the kiosk connector has not been started")
        try:
            async with self._session.post(
                self._answer_url,
                data=body.encode(),
                headers={**headers, "Content-Type": "application/json"},
                allow_redirects=False,
            ) as response:
                check_outcome(response.status, response.headers, what="the kiosks' answer address")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.trouble = f"answers: {type(error).__name__}"
            raise TransientError(f"the kiosks' answer address: {type(error).__name__}") from error
        except TransientError as error:
            self.trouble = f"answers: {error}"
            raise
        self.trouble = ""


def _origin_of(message: OutboundMessage) -> str:
    """Return "<kiosk id>/<form id>": the recipient, or the form's own id if the answer is addressed to a contact."""
    if message.recipient.kind is ContactPointKind.KIOSK:
        return message.recipient.value
    return next((reference for reference in reversed(message.in_reply_to) if "/" in reference), "")


async def _attachments(message: OutboundMessage) -> list[dict[str, str]]:
    return [
        {
            "name": attachment.name,
            "media_type": attachment.detected_media_type,
            "content_base64": base64.b64encode(await message.read_blob(attachment.sha256)).decode("ascii"),
        }
        for attachment in message.attachments
    ]


def _payload(message: OutboundMessage, *, kiosk_id: str, submission_id: str) -> dict[str, object]:
    contact = message.recipient
    reachable = contact.kind is not ContactPointKind.KIOSK
    return {
        "schema": "okno.kiosk-answer/1",
        "reply_id": str(message.reply_id),
        "kind": message.kind.value,
        "number": message.appeal_number,
        "kiosk_id": kiosk_id,
        "submission_id": submission_id,
        "language": message.language,
        "subject": message.subject,
        "text": message.text,
        "contact": {"kind": contact.kind.value, "value": contact.value} if reachable else None,
    }
