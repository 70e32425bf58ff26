"""Buttons' data and the pace of sending, without a network."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.taxonomy import load_taxonomy
from connectors.telegram.buttons import MAX_DATA_BYTES, Action, Buttons
from connectors.telegram.pacing import CHAT_BURST, PER_SECOND, Pacer

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
NUMBER = "482-719-3566"
TAXONOMY = load_taxonomy(None)


def buttons(*, now: datetime = NOW, key: bytes = b"k" * 32) -> Buttons:
    return Buttons(key, taxonomy=TAXONOMY, now=lambda: now)


def test_every_topic_has_a_button_that_can_be_read():
    """Data fits Telegram's limit and says topic and number."""
    keyboard = buttons().topics(5, NUMBER, "ru")
    data = [str(button.callback_data) for row in keyboard.inline_keyboard for button in row]
    assert len(data) == len(TAXONOMY.topics) - 1  # all but "unknown"
    assert all(len(item.encode()) <= MAX_DATA_BYTES for item in data)
    pressed = [buttons().read(item, 5) for item in data]
    assert {button.value for button in pressed if button} == set(TAXONOMY.topics) - {"unknown"}
    assert all(button and button.action is Action.TOPIC and button.number == NUMBER for button in pressed)


def test_buttons_of_other_chats_keys_and_times_say_nothing():
    """Signed for one chat, by one key, for less than a month."""
    data = str(buttons().ratings(5, NUMBER).inline_keyboard[0][0].callback_data)
    assert buttons().read(data, 5)
    assert buttons(now=NOW + timedelta(days=28)).read(data, 5)
    assert buttons().read(data, 6) is None
    assert buttons(key=b"x" * 32).read(data, 5) is None
    assert buttons(now=NOW + timedelta(days=31)).read(data, 5) is None


@given(st.text(max_size=64))
def test_any_data_is_refused(data: str):
    """What we did not sign is nothing, whatever it holds."""
    assert buttons().read(data, 5) is None


def test_a_chat_gets_a_burst_and_then_one_message_a_second():
    """Five at once, then each a second later than the one before."""
    pacer = Pacer()
    waits = [pacer.take(1, 100.0) for _ in range(8)]
    assert waits[: int(CHAT_BURST)] == [0.0] * int(CHAT_BURST)
    assert waits[int(CHAT_BURST) :] == [1.0, 2.0, 3.0]
    assert pacer.take(1, 200.0) == 0.0


def test_all_chats_together_get_thirty_a_second():
    """A hundred chats at once are spread over some three seconds."""
    pacer = Pacer()
    waits = [pacer.take(chat, 100.0) for chat in range(100)]
    assert max(wait for wait in waits if wait is not None) == pytest.approx((100 - 20) / PER_SECOND)


def test_the_impatient_take_no_place():
    """Who will not wait gets nothing, and the others wait no longer for it."""
    pacer = Pacer()
    for _ in range(int(CHAT_BURST) + 1):
        pacer.take(1, 100.0)
    assert pacer.take(1, 100.0, patience_s=1.5) is None
    assert pacer.take(1, 100.0) == 2.0


def test_a_block_is_for_all_and_ends():
    """Telegram's wish holds until its time is over."""
    pacer = Pacer()
    pacer.block(7.0, 100.0)
    assert pacer.blocked_s(103.0) == 4.0
    assert pacer.blocked_s(107.5) == 0.0
