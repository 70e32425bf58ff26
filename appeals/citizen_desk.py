"""What citizens may ask over a channel: where their own appeals are. Nobody learns of another's."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from appeals import tables
from appeals.appeal import Appeal, AppealState
from appeals.envelope import ContactPoint
from appeals.numbering import normalise_number
from appeals.registry import Registry
from appeals.rows import contact_key, to_appeal

MAX_OPEN_APPEALS = 10  # what fits into one chat message


@dataclass(frozen=True, kw_only=True, slots=True)
class AppealStatus:
    """Where an appeal is, as far as its citizen may know. Times are aware UTC."""

    number: str
    state: AppealState
    subject: str
    registered_at: datetime
    deadline_at: datetime
    answered_at: datetime | None
    closed_at: datetime | None

    @classmethod
    def of(cls, appeal: Appeal) -> "AppealStatus":
        """Return what the citizen may know of `appeal`."""
        return cls(
            number=appeal.number,
            state=appeal.state,
            subject=appeal.subject,
            registered_at=appeal.registered_at,
            deadline_at=appeal.deadline_at,
            answered_at=appeal.answered_at,
            closed_at=appeal.closed_at,
        )


class RegistryDesk:
    """The `connectors.base.CitizenDesk` over the registry. Methods may raise TransientError."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def status(self, number: str, asker: ContactPoint) -> AppealStatus | None:
        """Return the asker's appeal of that number, however it is written; None for another's or an unknown one."""
        normalised = normalise_number(number)
        if normalised is None:
            return None
        found = await self._appeals(asker, number=normalised)
        return found[0] if found else None

    async def open_appeals(self, asker: ContactPoint) -> list[AppealStatus]:
        """Return the asker's appeals that are not closed, newest first, at most MAX_OPEN_APPEALS."""
        return await self._appeals(asker, number=None)

    async def _appeals(self, asker: ContactPoint, *, number: str | None) -> list[AppealStatus]:
        column = tables.appeals.c
        query = (
            select(tables.appeals)
            .join(tables.contact_points, tables.contact_points.c.citizen_id == column.citizen_id)
            .where(tables.contact_points.c.key == contact_key(asker))
        )
        if number is not None:
            query = query.where(column.number == number)
        else:
            query = query.where(column.state != AppealState.CLOSED.value)
        query = query.order_by(column.registered_at.desc(), column.id.desc()).limit(MAX_OPEN_APPEALS)
        async with self._registry.database.read() as connection:
            return [AppealStatus.of(to_appeal(row)) for row in await connection.execute(query)]
