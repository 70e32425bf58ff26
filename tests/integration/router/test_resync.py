"""Route items are lost on purpose: the leader finds by itself what they would have told (P3)."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from appeals.agent import AgentStatus
from appeals.appeal import Appeal, AppealState
from appeals.offer import Offer
from queues.memory import MemoryQueues
from queues.port import ROUTE
from router import resync
from tests.integration.router.conftest import Desk, eventually, open_desk

SOON_S = 0.1  # between two looks at the whole registry


class LossyQueues(MemoryQueues):
    """Queues in memory that drop what is added to the stream `route` while `loses` is true."""

    def __init__(self) -> None:
        super().__init__()
        self.loses = False
        self.lost = 0

    async def add(self, stream: str, items: Sequence[Mapping[str, str]]) -> None:
        if self.loses and stream == ROUTE:
            self.lost += len(items)
            return
        await super().add(stream, items)


@pytest.fixture
def queues() -> LossyQueues:
    return LossyQueues()


@pytest.fixture
async def lossy(tmp_path: Path, queues: LossyQueues) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, queues) as desk:
        yield desk


@pytest.fixture(params=["sqlite", "postgresql"])
async def lossy_anywhere(request: pytest.FixtureRequest, tmp_path: Path, queues: LossyQueues) -> AsyncIterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    async with open_desk(tmp_path, queues, url=url) as desk:
        yield desk


async def offer_to(desk: Desk, agent_id: str, appeal: Appeal) -> Offer:
    """Wait until the appeal is offered to the agent."""

    async def found() -> Offer | None:
        offers = await desk.registry.pending_offers(agent_id)
        return next((offer for offer in offers if offer.appeal_id == appeal.id), None)

    offer = await eventually(found, what=f"an offer to {agent_id}")
    assert offer is not None
    return offer


async def test_waiting_appeal_whose_item_was_lost_is_offered(lossy: Desk, queues: LossyQueues):
    """An appeal of which no item tells is found in the registry and offered."""
    async with lossy.leading(lossy.leader(resync_interval_s=SOON_S)):
        await lossy.join("anna")
        queues.loses = True
        await lossy.write(1)
        await lossy.in_state(AppealState.OFFERED, 1)
        assert queues.lost == 1


async def test_answer_whose_item_was_lost_frees_the_agent(lossy: Desk, queues: LossyQueues):
    """Accepting and answering go unheard; the agent's room is found free and the next appeal offered."""
    async with lossy.leading(lossy.leader(resync_interval_s=SOON_S)):
        await lossy.join("anna", capacity_units=1)
        first, second = await lossy.write(1), await lossy.write(2)
        offer = await offer_to(lossy, "anna", first)
        queues.loses = True
        held = await lossy.lifecycle.accept_offer(offer.id, "anna")
        await lossy.lifecycle.answer(first.id, agent_id="anna", version=held.version, text="Done.", close=True)
        await offer_to(lossy, "anna", second)
        assert queues.lost >= 2


async def test_decline_whose_item_was_lost_reaches_another_agent(lossy: Desk, queues: LossyQueues):
    """A decline that no item tells of does not leave the appeal standing."""
    async with lossy.leading(lossy.leader(resync_interval_s=SOON_S)):
        await lossy.join("anna")
        appeal = await lossy.write(1)
        offer = await offer_to(lossy, "anna", appeal)
        await lossy.join("boris")
        queues.loses = True
        await lossy.lifecycle.decline_offer(offer.id, "anna", "not mine")
        await offer_to(lossy, "boris", appeal)


async def test_release_whose_item_was_lost_is_offered_again(lossy: Desk, queues: LossyQueues):
    """An appeal given back unheard goes to somebody else."""
    async with lossy.leading(lossy.leader(resync_interval_s=SOON_S)):
        await lossy.join("anna")
        appeal = await lossy.write(1)
        offer = await offer_to(lossy, "anna", appeal)
        held = await lossy.lifecycle.accept_offer(offer.id, "anna")
        await lossy.join("boris")
        queues.loses = True
        await lossy.lifecycle.release(appeal.id, agent_id="anna", version=held.version, note="for Boris")
        await offer_to(lossy, "boris", appeal)


async def test_status_whose_item_was_lost_counts(lossy: Desk, queues: LossyQueues):
    """An agent who came back, or left, unheard is seen as they are."""
    async with lossy.leading(lossy.leader(resync_interval_s=SOON_S)):
        await lossy.join("anna")
        await lossy.lifecycle.set_status("anna", AgentStatus.AWAY)
        appeal = await lossy.write(1)
        await lossy.in_state(AppealState.WAITING, 1)
        queues.loses = True
        await lossy.lifecycle.set_status("anna", AgentStatus.AVAILABLE)
        await offer_to(lossy, "anna", appeal)
        await lossy.lifecycle.set_status("anna", AgentStatus.AWAY)
        await lossy.in_state(AppealState.WAITING, 1)


async def test_walk_goes_on_over_many_pages(lossy_anywhere: Desk, queues: LossyQueues, monkeypatch: pytest.MonkeyPatch):
    """A walk of many pages finds every lost appeal and no other is disturbed."""
    lossy = lossy_anywhere
    monkeypatch.setattr(resync, "PAGE", 3)
    async with lossy.leading(lossy.leader(resync_interval_s=SOON_S)) as leader:
        await lossy.join("anna", capacity_units=100)
        known = [await lossy.write(number) for number in range(10)]
        offers = {appeal.id: (await offer_to(lossy, "anna", appeal)).id for appeal in known}
        queues.loses = True
        for number in range(10, 20):
            await lossy.write(number)
        await lossy.in_state(AppealState.OFFERED, 20)

        async def all_known() -> bool:
            return leader.health().offered == len(known) * 2

        await eventually(all_known, what="a memory of all")
        assert await standing(lossy, "anna", offers) == offers


async def standing(desk: Desk, agent_id: str, offers: Mapping[UUID, UUID]) -> dict[UUID, UUID]:
    """Return which offers of those appeals stand."""
    pending = await desk.registry.pending_offers(agent_id)
    return {offer.appeal_id: offer.id for offer in pending if offer.appeal_id in offers}
