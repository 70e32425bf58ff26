"""To whom an answer goes."""

from datetime import UTC, datetime
from typing import Any

import pytest

from appeals.answer import answer_target
from appeals.answer_route import AnswerRoutes
from appeals.envelope import AppealEnvelope, BlobRef, Channel, ContactPoint, ContactPointKind


def _envelope(sender: str | None, **values: Any) -> AppealEnvelope:
    point = None if sender is None else ContactPoint(kind=ContactPointKind.EMAIL, value=sender)
    if reply_to := values.pop("reply_to", None):
        values["reply_to"] = ContactPoint(kind=ContactPointKind.EMAIL, value=reply_to)
    given = {"channel": Channel.EMAIL, "connector": "email", "external_id": str(values), "sender": point}
    return AppealEnvelope(received_at=datetime.now(UTC), raw=BlobRef.of(b""), **{**given, **values})


PERSON = _envelope("ivan@example.org")
FORM = _envelope("noreply@portal.example", automatic=True, marks=("auto_generated",), reply_to="olga@example.org")
VACATION = _envelope("ivan@example.org", automatic=True, marks=("auto_reply",))
BOUNCE = _envelope("mailer-daemon@example.org", automatic=True, marks=("bounce",))
OURS = _envelope("appeals@okno.localhost", automatic=True, marks=("own_mail",))


@pytest.mark.parametrize(
    ("envelopes", "address"),
    [
        ([PERSON], "ivan@example.org"),
        ([PERSON, VACATION, BOUNCE], "ivan@example.org"),
        ([FORM], "olga@example.org"),
        ([FORM, BOUNCE, OURS], "olga@example.org"),
        ([FORM, PERSON], "ivan@example.org"),
        ([PERSON, FORM], "ivan@example.org"),
        ([BOUNCE], None),
        ([OURS], None),
        ([_envelope(None)], None),
    ],
)
def test_who_is_answered(envelopes: list[AppealEnvelope], address: str | None):
    """A person first; else the address that another system's form names; never a bounce or ourselves."""
    target = answer_target(envelopes, AnswerRoutes())
    assert (target.recipient.value if target else None) == address
