"""Keywords, and who has opted out."""

from datetime import UTC, datetime

import pytest

from connectors.sms.opt_out import KEYWORDS, OptOuts, keyword_answer, keyword_of
from connectors.sms.provider import OptOut
from tests.integration.sms.recording_intake import RecordingCursors

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("STOP", OptOut.STOP),
        (" стоп. ", OptOut.STOP),
        ("«Стоп!»", OptOut.STOP),
        ("Start", OptOut.START),
        ("помощь", OptOut.HELP),
        ("Помощь нужна на Мира, 5", None),
        ("Стоп, так нельзя", None),
        ("", None),
    ],
)
def test_a_keyword_is_the_whole_message(text: str, meaning: OptOut | None):
    """Case, quotes and punctuation around it do not matter; any other word makes it an ordinary message."""
    assert KEYWORDS.get(keyword_of(text)) is meaning


def test_answers_are_in_the_keywords_language():
    """Who writes in Russian is answered in Russian."""
    assert "СТАРТ" in keyword_answer(OptOut.STOP, "Стоп", office="Окно")
    assert "START" in keyword_answer(OptOut.STOP, "stop", office="Окно")
    assert keyword_answer(OptOut.HELP, "помощь", office="{Окно}").startswith("{Окно}:")


async def test_repetitions_do_not_undo_what_came_after():
    """A STOP that is posted again after a START changes nothing; a new one does."""
    opt_outs = OptOuts(RecordingCursors(), connector="sms")
    for sid, keyword in (("1", OptOut.STOP), ("2", OptOut.START), ("1", OptOut.STOP), ("3", OptOut.HELP)):
        await opt_outs.apply("+7", keyword, sid=sid, at=NOW)
    assert not (await opt_outs.of("+7")).out
    await opt_outs.apply("+7", OptOut.STOP, sid="4", at=NOW)
    assert (await opt_outs.of("+7")).out
    assert not (await opt_outs.of("+8")).out
