"""States, deadlines, envelope, acknowledgement: the pure parts of the domain."""

import json
from datetime import UTC, datetime, timedelta

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from appeals.acknowledgement import acknowledgement, guess_language
from appeals.appeal import TRANSITIONS, AppealState, check_transition
from appeals.deadlines import answer_deadline, is_working_day
from appeals.envelope import AppealEnvelope, BlobRef, Channel, envelope_json_schema
from appeals.errors import IllegalTransitionError
from appeals.offer import OFFER_TRANSITIONS, OfferState, check_offer_transition

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize("old", AppealState)
@pytest.mark.parametrize("new", AppealState)
def test_only_the_table_has_transitions(old: AppealState, new: AppealState):
    """A transition that the table lacks raises."""
    if new in TRANSITIONS[old]:
        check_transition(old, new)
    else:
        with pytest.raises(IllegalTransitionError, match=old.value):
            check_transition(old, new)


def test_every_state_leads_to_the_end():
    """No state is a trap: each can be closed, and what is closed can be opened again."""
    assert all(AppealState.CLOSED in TRANSITIONS[state] for state in AppealState if state is not AppealState.CLOSED)
    assert TRANSITIONS[AppealState.CLOSED]


def test_resolved_offers_stay_resolved():
    """Only a pending offer changes."""
    assert [state for state in OfferState if OFFER_TRANSITIONS[state]] == [OfferState.PENDING]
    with pytest.raises(IllegalTransitionError):
        check_offer_transition(OfferState.DECLINED, OfferState.ACCEPTED)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)), st.integers(1, 90))  # noqa: DTZ001
def test_a_deadline_is_a_working_day_not_later_than_the_law_says(registered_at: datetime, days: int):
    """The day is a working one, never after the last calendar day, and its computation is shown."""
    found = answer_deadline(registered_at, days=days, timezone="Europe/Moscow", region="RU-MOW")
    assert is_working_day(found.moved_to, "RU-MOW")
    assert found.moved_to <= found.last_day == found.counted_from + timedelta(days=days)
    assert str(days) in found.reason


def test_new_year_holidays_move_a_deadline_back():
    """An answer due in the New Year holidays is due on the last working day before them."""
    found = answer_deadline(datetime(2025, 12, 3, 9, tzinfo=UTC), days=30, timezone="Europe/Moscow", region="RU-MOW")
    assert found.last_day.isoformat() == "2026-01-02"
    assert found.moved_to.isoformat() in {"2025-12-30", "2025-12-31"}
    assert "no working day" in found.reason


def _envelope(**values: object) -> AppealEnvelope:
    given_: dict[str, object] = {
        "channel": Channel.EMAIL,
        "connector": "email",
        "external_id": "x",
        "received_at": NOON,
        "raw": BlobRef.of(b"raw"),
    }
    return AppealEnvelope.model_validate(given_ | values)


def test_the_published_schema_takes_what_we_write():
    """An envelope's JSON is valid by `okno.envelope/1`, and comes back as it was."""
    envelope = _envelope(subject="Нет <script>alert(1)</script> тепла")
    document = envelope.model_dump_json(by_alias=True)
    jsonschema.validate(json.loads(document), envelope_json_schema())
    assert json.loads(document)["schema"] == "okno.envelope/1"
    assert AppealEnvelope.model_validate_json(document) == envelope


def test_an_envelope_is_immutable_and_strict():
    """Nobody changes an envelope, adds a field or gives a time without zone."""
    envelope = _envelope()
    with pytest.raises(ValidationError):
        envelope.subject = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="extra"):
        _envelope(surprise=1)
    with pytest.raises(ValidationError, match="timezone"):
        _envelope(received_at=datetime(2026, 1, 1))  # noqa: DTZ001
    assert _envelope().id.version == 7


def test_acknowledgements_name_number_code_and_deadline():
    """In Russian and English, long and short, the citizen gets what opens the citizen's page."""
    for language, short in (("ru", False), ("en", False), ("ru", True), ("de", True)):
        subject, text = acknowledgement(
            language=language,
            number="482-719-3561",
            code="K7QM-2XRD",
            deadline_at=NOON,
            timezone="Europe/Moscow",
            url="https://okno.example",
            office="Office",
            short=short,
        )
        assert "482-719-3561" in subject
        assert "482-719-3561" in text
        assert "K7QM-2XRD" in text
        assert "https://okno.example/status#n=482-719-3561" in text


@pytest.mark.parametrize(
    ("text", "language"), [("Нет тепла в доме", "ru"), ("No heating", "en"), ("12345 !!", "ru"), ("", "ru")]
)
def test_the_language_of_a_form_letter_is_guessed_by_letters(text: str, language: str):
    """Letters decide; where there are none, the office's language."""
    assert guess_language(text, default="ru") == language
