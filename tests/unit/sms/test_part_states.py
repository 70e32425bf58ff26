"""States of a reply's parts as one state of the whole."""

from hypothesis import given
from hypothesis import strategies as st

from appeals.reply import DeliveryState
from connectors.sms.part_states import MAX_PARTS, PartStates, part_of
from tests.integration.sms.recording_intake import RecordingCursors

REPORTS = [
    (part, state) for part in (1, 2) for state in (DeliveryState.SENT, DeliveryState.DELIVERED, DeliveryState.READ)
]


@given(st.permutations([*REPORTS, *REPORTS[:2]]))
async def test_any_order_ends_in_the_same_state(reports: list[tuple[int, DeliveryState]]):
    """However call-backs are ordered and doubled, the whole is read in the end, and never goes back."""
    states = PartStates(RecordingCursors(), connector="sms")
    said = [await states.combine("SM1", state, part=part, of=2) for part, state in reports]
    order = [None, DeliveryState.SENT, DeliveryState.DELIVERED, DeliveryState.READ]
    assert said[-1] is DeliveryState.READ
    assert [order.index(state) for state in said] == sorted(order.index(state) for state in said)


async def test_a_single_message_is_its_own_whole():
    """Nothing is kept of replies that were one message."""
    cursors = RecordingCursors()
    states = PartStates(cursors, connector="sms")
    assert await states.combine("SM1", DeliveryState.SENT, part=1, of=1) is DeliveryState.SENT
    assert not cursors.values


@given(st.text(max_size=8), st.text(max_size=8))
def test_any_query_is_a_part_or_a_single_message(part: str, of: str):
    """What we did not write is read as one message."""
    number, total = part_of(part, of)
    assert 1 <= number <= total <= MAX_PARTS
