"""Transcripts: words that came as pictures are read after registration, by recognition or by an agent."""

from uuid import uuid4

import pytest

from appeals.appeal import AppealState
from appeals.envelope import Channel, ContactPoint, ContactPointKind
from appeals.errors import NotFoundError, NotHolderError, PermanentError
from appeals.transcript import TranscriptSource, TranscriptState
from appeals.transcripts import Transcripts
from tests.integration.appeals.conftest import assign

FAX = {"channel": Channel.FAX, "connector": "fax", "subject": "", "recognise": True}
SENDER = ContactPoint(kind=ContactPointKind.FAX, value="+74951234567")


@pytest.fixture
def transcripts(registry, notifier) -> Transcripts:
    return Transcripts(registry, notifier=notifier)


@pytest.fixture
def fax(intake, message):
    """Register a fax; returns its registration."""

    async def register(external_id: str = "f1", **values):
        envelope, contents = message(external_id, text="", **{**FAX, "sender": None, **values})
        envelope = envelope.model_copy(update={"sender": SENDER})
        return await intake.register(envelope, contents)

    return register


async def test_a_fax_is_registered_first_and_read_afterwards(fax, transcripts, registry, notifier):
    """It has its number at once, waits for recognition, and is classified only by what recognition found."""
    registration = await fax()
    assert notifier.all("recognise") == [registration.envelope_id]
    assert notifier.all("classify") == []
    assert await transcripts.pending(limit=10) == [registration.envelope_id]
    assert await registry.stale_appeals(AppealState.REGISTERED, before=registry.now(), limit=10) == []
    (found,) = await transcripts.open([registration.envelope_id])
    assert found.envelope.id == registration.envelope_id
    await transcripts.recognised(found.envelope.id, text="В подъезде нет света", confidence=0.9, accepted=True)
    assert notifier.all("classify") == [registration.appeal_id]
    (text,) = await registry.texts([registration.appeal_id])
    assert "В подъезде нет света" in text.text
    appeal = await registry.appeal(registration.appeal_id)
    assert (appeal.attributes["transcription"], appeal.subject) == ("done", "В подъезде нет света")
    assert await transcripts.pending(limit=10) == []
    assert not (await registry.check_history()).faults


async def test_recognition_may_say_its_result_twice(fax, transcripts, registry):
    """The second word of a slow worker changes nothing."""
    registration = await fax()
    for words in ("first", "second"):
        await transcripts.recognised(registration.envelope_id, text=words, confidence=0.9, accepted=True)
    (kept,) = await transcripts.of_appeal(registration.appeal_id)
    assert (kept.text, kept.state, kept.source) == ("first", TranscriptState.DONE, TranscriptSource.OCR)


async def test_what_recognition_is_not_sure_of_an_agent_types_in(fax, transcripts, registry, lifecycle, notifier):
    """Rules can ask for it; the draft is kept; once typed, the appeal is tagged anew by the words, its age kept."""
    registration = await fax()
    await transcripts.recognised(registration.envelope_id, text="В п0д", confidence=0.3, accepted=False, detail="low")
    appeal = await registry.appeal(registration.appeal_id)
    assert appeal.attributes["transcription"] == "needed"
    held = await assign(registration.appeal_id, lifecycle, registry)
    typed = {"envelope_id": registration.envelope_id, "version": held.version, "text": "Нет света", "pass_on": True}
    with pytest.raises(NotHolderError):
        await transcripts.typed(held.id, agent_id="boris", **typed)
    with pytest.raises(PermanentError):
        await transcripts.typed(held.id, agent_id="anna", **{**typed, "text": " "})
    with pytest.raises(NotFoundError):
        await transcripts.typed(held.id, agent_id="anna", **{**typed, "envelope_id": uuid4()})
    passed_on = await transcripts.typed(held.id, agent_id="anna", **typed)
    assert (passed_on.state, passed_on.agent_id, passed_on.queue) == (AppealState.REGISTERED, None, None)
    assert passed_on.waiting_since == held.waiting_since
    assert passed_on.attributes["transcription"] == "done"
    assert notifier.all("classify")[-1] == held.id
    (kept,) = (await registry.conversation(held.id)).transcripts
    assert (kept.text, kept.source, kept.agent_id) == ("Нет света", TranscriptSource.AGENT, "anna")
    assert not (await registry.check_history()).faults


async def test_an_agent_may_keep_what_they_typed_in(fax, transcripts, registry, lifecycle):
    """Without passing on, the appeal stays in the agent's hands."""
    registration = await fax()
    await transcripts.recognised(registration.envelope_id, text="", confidence=None, accepted=False, detail="no OCR")
    held = await assign(registration.appeal_id, lifecycle, registry)
    kept = await transcripts.typed(
        held.id,
        envelope_id=registration.envelope_id,
        agent_id="anna",
        version=held.version,
        text="Нет света",
        pass_on=False,
    )
    assert (kept.state, kept.agent_id) == (AppealState.ASSIGNED, "anna")


async def test_a_second_fax_of_an_assigned_appeal_is_read_beside_it(fax, transcripts, registry, lifecycle, notifier):
    """The appeal stays where it is; the agent's console hears of the words."""
    talk = {"threading": {"conversation": "fax:+74951234567"}}
    first = await fax("f1", **talk)
    await transcripts.recognised(first.envelope_id, text="one", confidence=0.9, accepted=True)
    held = await assign(first.appeal_id, lifecycle, registry)
    second = await fax("f2", **talk)
    assert second.joined
    await transcripts.recognised(second.envelope_id, text="two", confidence=0.9, accepted=True)
    appeal = await registry.appeal(held.id)
    assert (appeal.state, appeal.agent_id) == (AppealState.ASSIGNED, "anna")
    assert notifier.all("agent_messages")[-1][0] == "anna"
    assert {item.text for item in await transcripts.of_appeal(held.id)} == {"one", "two"}
