"""Compare-and-set on appeals, one or many in a transaction: the only way an appeal changes (P7)."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select

from appeals import tables
from appeals.appeal import Appeal, AppealState, check_transition
from appeals.appeal_rows import write_changed
from appeals.errors import NotFoundError, NotHolderError, StaleVersionError
from appeals.event_chain import Event
from appeals.registry import Transaction
from appeals.rows import to_appeal

_LOCK = (
    select(tables.appeals)
    .where(tables.appeals.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(tables.appeals.c.id)  # all writers lock in one order: no deadlock
    .with_for_update()
)


class AppealChanges:
    """Appeals as one transaction changes them: `lock` or `adopt`, `change` any number of times, `write` once."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._base: dict[UUID, Appeal] = {}
        self._current: dict[UUID, Appeal] = {}

    async def lock(self, ids: Collection[UUID]) -> Mapping[UUID, Appeal]:
        """Read appeals so that nobody else can change them before the commit (SQLite holds its one write lock)."""
        rows = await self._transaction.connection.execute(_LOCK, {"ids": list(ids)})
        for row in rows:
            self.adopt(to_appeal(row))
        return self._current

    async def lock_one(self, appeal_id: UUID, *, version: int | None = None) -> Appeal:
        """Lock one appeal. Raises NotFoundError, or StaleVersionError if it is no longer at `version`."""
        appeal = (await self.lock([appeal_id])).get(appeal_id)
        if appeal is None:
            raise NotFoundError(f"no appeal with id {appeal_id}")
        if version is not None and appeal.version != version:
            raise StaleVersionError(f"appeal {appeal.number} was changed in the meantime")
        return appeal

    def adopt(self, appeal: Appeal) -> None:
        """Take in an appeal read without a lock: `write` notices if somebody changed it since."""
        self._base[appeal.id] = self._current[appeal.id] = appeal

    def get(self, appeal_id: UUID) -> Appeal:
        """Return the appeal as changed so far."""
        return self._current[appeal_id]

    def change(
        self,
        appeal_id: UUID,
        kind: str,
        *,
        actor: str,
        data: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> Appeal:
        """Note one event and the values it sets. All changes of one transaction are one new version.

        Raises IllegalTransitionError if `values` has a state that the table of transitions does not allow.
        """
        appeal = self._current[appeal_id]
        new = dict(values or {})
        state: AppealState | None = new.get("state")
        if state is not None and state is not appeal.state:
            check_transition(appeal.state, state)
            new["changed_at"] = self._transaction.now
        new["version"] = self._base[appeal_id].version + 1
        self._current[appeal_id] = changed = replace(appeal, **new)
        details = {**(data or {}), "state": changed.state.value}
        self._transaction.events.append(
            Event(kind=kind, actor=actor, appeal_id=appeal_id, appeal_version=changed.version, data=details)
        )
        return changed

    async def write(self) -> None:
        """Write what changed, each row where its version is still the one it was read at, or nothing at all."""
        changed = [item for key, item in self._current.items() if item.version != self._base[key].version]
        if not changed:
            return
        await write_changed(
            self._transaction.connection, [(appeal, self._base[appeal.id].version) for appeal in changed]
        )


def check_holder(
    appeal: Appeal,
    agent_id: str,
    *,
    states: Collection[AppealState] = (AppealState.ASSIGNED, AppealState.ANSWERED),
) -> None:
    """Raise NotHolderError unless the agent holds the appeal, StaleVersionError if nobody can hold it now."""
    if appeal.state not in states:
        raise StaleVersionError(f"appeal {appeal.number} is {appeal.state.value}")
    if appeal.agent_id != agent_id:
        raise NotHolderError(f"appeal {appeal.number} is not held by {agent_id}")
