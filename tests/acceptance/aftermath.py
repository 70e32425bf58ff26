"""What must be true of a registry whatever was killed on the way to it."""

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import func, select

from appeals import tables
from appeals.appeal import AppealState
from appeals.envelope import AppealEnvelope
from appeals.offer import OfferState
from appeals.registry import Registry


async def check_registered_exactly_once(registry: Registry, accepted: Mapping[str, str]) -> None:
    """Check that each mail answered with 250 is there once, under the number that its sender was told (P1, P2)."""
    numbers = {appeal.id: appeal.number async for appeal in registry.iterate_appeals()}
    async with registry.database.read() as connection:
        columns = select(tables.envelopes.c.appeal_id, tables.envelopes.c.document)
        rows = (await connection.execute(columns)).all()
    registered: dict[str, list[str]] = {}
    for row in rows:
        message_id = AppealEnvelope.model_validate_json(row.document).threading.message_id or ""
        registered.setdefault(message_id, []).append(numbers[row.appeal_id])
    lost = accepted.keys() - registered.keys()
    assert not lost, f"{len(lost)} of {len(accepted)} mails answered with 250 are not registered: {sorted(lost)[:5]}"
    doubled = {message_id: found for message_id, found in registered.items() if len(found) > 1}
    assert not doubled, f"{len(doubled)} mails are registered more than once: {doubled}"
    told_otherwise = {
        message_id: (number, registered[message_id])
        for message_id, number in accepted.items()
        if registered[message_id] != [number]
    }
    assert not told_otherwise, f"senders were told other numbers: {told_otherwise}"
    assert len(numbers) == len(registered), "each of these mails is an appeal of its own"


async def check_all_with(registry: Registry, agent_id: str) -> None:
    """Check that each appeal is assigned to the agent, by one offer that was accepted once."""
    others = [
        (appeal.number, appeal.state.value, appeal.agent_id)
        async for appeal in registry.iterate_appeals()
        if (appeal.state, appeal.agent_id) != (AppealState.ASSIGNED, agent_id)
    ]
    assert not others, f"{len(others)} appeals are not assigned to {agent_id}: {others[:5]}"
    async with registry.database.read() as connection:
        query = select(tables.offers.c.appeal_id, tables.offers.c.state)
        offers = (await connection.execute(query)).all()
        query = select(func.count()).where(tables.events.c.kind == "appeal.registered")
    states = {OfferState(offer.state) for offer in offers}
    assert OfferState.PENDING not in states, "an offer is pending though all appeals are assigned"
    accepted = Counter(offer.appeal_id for offer in offers if offer.state == OfferState.ACCEPTED.value)
    assert set(accepted.values()) == {1}, "an appeal was accepted more than once"
    assert len(accepted) == sum((await registry.count_by_state()).values())


async def check_history_is_whole(registry: Registry) -> None:
    """Check the chain of events, and that each version of each appeal has its event (P9)."""
    report = await registry.check_history()
    assert report.faults == ()
    assert await registry.count_quarantined() == 0
