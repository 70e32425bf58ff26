"""Ids of agent queue entries survive the way to a console and back; anything else is told apart."""

from hypothesis import given
from hypothesis import strategies as st

from queues.agent_queue_id import FROM_NOW, FROM_OLDEST, START, AgentQueueId, has_gap, new_epoch

PARTS = st.integers(min_value=0, max_value=2**64 - 1)
EPOCHS = st.text("0123456789abcdef", min_size=8, max_size=8)
IDS = st.builds(lambda epoch, first, second: AgentQueueId(epoch=epoch, place=(first, second)), EPOCHS, PARTS, PARTS)


@given(IDS)
def test_an_id_reads_back(entry_id: AgentQueueId) -> None:
    """Text and back is the same id."""
    assert AgentQueueId.parse(str(entry_id)) == entry_id


@given(st.text())
def test_any_text_is_an_id_or_none(text: str) -> None:
    """No text raises; what is taken for an id is one."""
    entry_id = AgentQueueId.parse(text)
    assert entry_id is None or AgentQueueId.parse(str(entry_id)) == entry_id


@given(IDS, st.tuples(PARTS, PARTS), st.booleans())
def test_another_life_is_always_a_gap(seen: AgentQueueId, oldest: tuple[int, int], trimmed: bool) -> None:  # noqa: FBT001 - hypothesis
    """An id of another epoch is a gap, whatever the queue holds now."""
    epoch = new_epoch()
    assert seen.epoch == epoch or has_gap(str(seen), epoch=epoch, oldest=oldest, trimmed=trimmed)


@given(EPOCHS, st.lists(PARTS, min_size=2, unique=True), st.data())
def test_a_gap_is_told_exactly_when_an_entry_may_be_missing(
    epoch: str, numbers: list[int], data: st.DataObject
) -> None:
    """Of entries seen and then trimmed: a gap if the one after the seen is gone, none if it is kept or the last."""
    numbers.sort()
    kept_from = data.draw(st.integers(min_value=0, max_value=len(numbers) - 1))
    seen = data.draw(st.integers(min_value=0, max_value=len(numbers) - 1))
    seen_id = str(AgentQueueId(epoch=epoch, place=(0, numbers[seen])))
    told = has_gap(seen_id, epoch=epoch, oldest=(0, numbers[kept_from]), trimmed=kept_from > 0)
    if seen + 1 < kept_from:
        assert told
    if seen >= kept_from:
        assert not told


def test_the_words_for_oldest_and_now() -> None:
    """Never a gap for "$"; one for "0" as soon as anything was trimmed."""
    assert not has_gap(FROM_NOW, epoch=new_epoch(), oldest=(5, 0), trimmed=True)
    assert not has_gap(FROM_OLDEST, epoch=new_epoch(), oldest=START, trimmed=False)
    assert has_gap(FROM_OLDEST, epoch=new_epoch(), oldest=(5, 0), trimmed=True)
