"""Faxes whose pages could not be fetched yet: remembered durably, so that we try again by ourselves."""

import asyncio
import base64
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from connectors.base import Cursors

logger = structlog.get_logger(__name__)

CURSOR = "unfetched"  # one value for all: {"waiting": {key: …}, "given_up": {key: when}}
FIRST_RETRY_S = 30.0
MAX_RETRY_S = 900.0
MAX_WAITING = 1_000  # more are left to the gateway's own repetitions
MAX_CALL_BYTES = 8 * 1024  # a call without a document has 1 KB
MAX_GIVEN_UP = 500  # the newest are kept


@dataclass(frozen=True, kw_only=True, slots=True)
class UnfetchedFax:
    """One fax that waits for its pages. Times are aware UTC."""

    gateway: str
    fax_id: str
    content_type: str
    body: bytes  # the gateway's call
    since: datetime
    next_try_at: datetime
    tries: int
    reason: str

    @property
    def key(self) -> str:
        """Name it among all."""
        return f"{self.gateway}/{self.fax_id}"


class UnfetchedFaxes:
    """The memory. Every change is committed before it returns; methods raise TransientError as `Cursors` does.

    One process changes it at a time; two that do so in the same moment may forget one another's newest entry, which
    the gateway's own repetition brings back.
    """

    def __init__(self, cursors: Cursors, *, connector: str, first_retry_s: float = FIRST_RETRY_S) -> None:
        self._cursors = cursors
        self._connector = connector
        self._first_retry_s = first_retry_s
        self._lock = asyncio.Lock()
        self.changed = asyncio.Event()  # somebody waits since

    async def note_failure(self, fax: UnfetchedFax, *, now: datetime) -> UnfetchedFax:
        """Remember that the pages could not be had; returns it with its tries and since when it waits."""
        async with self._lock:
            state = await self._load()
            known = state["waiting"].get(fax.key)
            if known is not None:
                before = _from_json(known)
                fax = replace(fax, since=before.since, tries=before.tries + 1)
            delay_s = min(MAX_RETRY_S, self._first_retry_s * 2 ** min(fax.tries - 1, 16))
            fax = replace(fax, next_try_at=now + timedelta(seconds=delay_s))
            if known is None and (len(state["waiting"]) >= MAX_WAITING or len(fax.body) > MAX_CALL_BYTES):
                logger.warning("connector.fax_not_remembered", connector=self._connector, waiting=len(state["waiting"]))
                return fax
            state["waiting"][fax.key] = _to_json(fax)
            await self._save(state)
        self.changed.set()
        return fax

    async def settle(self, key: str, *, given_up_at: datetime | None = None) -> None:
        """Forget a fax that is registered; `given_up_at`: without its pages, should they come after all."""
        async with self._lock:
            state = await self._load()
            waited = state["waiting"].pop(key, None) is not None
            if given_up_at is not None:
                state["given_up"].pop(key, None)
                state["given_up"][key] = given_up_at.isoformat()
                state["given_up"] = dict(list(state["given_up"].items())[-MAX_GIVEN_UP:])
            if waited or given_up_at is not None:
                await self._save(state)

    async def was_given_up(self, key: str) -> bool:
        """Tell whether a fax was registered without its pages."""
        return key in (await self._load())["given_up"]

    async def waiting(self) -> list[UnfetchedFax]:
        """Return all that wait, the next to be tried first."""
        state = await self._load()
        return sorted((_from_json(entry) for entry in state["waiting"].values()), key=lambda fax: fax.next_try_at)

    async def _load(self) -> dict[str, dict[str, Any]]:
        value = await self._cursors.get(self._connector, CURSOR)
        state = json.loads(value) if value else {}
        return {"waiting": state.get("waiting", {}), "given_up": state.get("given_up", {})}

    async def _save(self, state: dict[str, dict[str, Any]]) -> None:
        await self._cursors.put(self._connector, CURSOR, json.dumps(state))


def _to_json(fax: UnfetchedFax) -> dict[str, Any]:
    return {
        "gateway": fax.gateway,
        "fax_id": fax.fax_id,
        "content_type": fax.content_type,
        "body": base64.b64encode(fax.body).decode("ascii"),
        "since": fax.since.isoformat(),
        "next_try_at": fax.next_try_at.isoformat(),
        "tries": fax.tries,
        "reason": fax.reason,
    }


def _from_json(entry: dict[str, Any]) -> UnfetchedFax:
    return UnfetchedFax(
        gateway=entry["gateway"],
        fax_id=entry["fax_id"],
        content_type=entry["content_type"],
        body=base64.b64decode(entry["body"]),
        since=datetime.fromisoformat(entry["since"]),
        next_try_at=datetime.fromisoformat(entry["next_try_at"]),
        tries=entry["tries"],
        reason=entry["reason"],
    )
