"""Looks for what the stream never told: lost items must not leave memory and registry apart for long (P3).

The registry's appeals are walked a page at a time; those whose version is not the remembered one, and those that are
remembered but not found, are to be read again. Reading is level-triggered, so one too many does no harm.
"""

from collections import deque
from itertools import islice
from uuid import UUID

from appeals.registry import Registry
from appeals.routing_views import ROUTED_STATES, RoutedVersion
from router.state import RouterState

PAGE = 500  # appeals a page: a few ms of reading


class Resync:
    """One walk after another over all appeals that want routing. `next_page` goes one page on."""

    def __init__(self, registry: Registry, state: RouterState) -> None:
        self._registry = registry
        self._state = state
        self._ahead = deque(ROUTED_STATES)
        self._last: RoutedVersion | None = None  # of the page before, None at the beginning of a state
        self._seen: set[int] = set()
        self._unseen: deque[UUID] | None = None  # remembered, not found on the walk; None while it lasts

    @property
    def finished(self) -> bool:
        """Tell whether the walk is over."""
        return not self._ahead and self._unseen is not None and not self._unseen

    async def next_page(self) -> list[UUID]:
        """Return which appeals to read again, at most PAGE. Raises TransientError; the page is then due again."""
        if self._ahead:
            return await self._walk_on()
        if self._unseen is None:
            known = self._state.appeals.values()
            self._unseen = deque(slot.view.appeal.id for slot in known if slot.order not in self._seen)
            self._seen.clear()
        page = list(islice(self._unseen, PAGE))
        for _ in page:
            self._unseen.popleft()
        return page

    async def _walk_on(self) -> list[UUID]:
        rows = await self._registry.routed_versions(self._ahead[0], after=self._last, limit=PAGE)
        self._last = rows[-1] if rows else None
        if len(rows) < PAGE:
            self._ahead.popleft()
            self._last = None
        self._seen.update(row.id.int for row in rows)
        return [row.id for row in rows if self._is_news(row)]

    def _is_news(self, row: RoutedVersion) -> bool:
        slot = self._state.appeals.get(row.id)
        return slot is None or slot.version != row.version
