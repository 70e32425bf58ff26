"""The office's frame around answers."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from appeals.envelope import Channel, ContactPoint, ContactPointKind
from appeals.reply import Reply, ReplyKind
from config.settings import OfficeSettings
from config.templates import default_templates
from connectors.letterhead import Letterhead

LETTERHEAD = Letterhead(
    templates=default_templates(), office=OfficeSettings(name="Администрация"), public_url="https://okno.example"
)
APPEAL: Any = SimpleNamespace(number="482-719-3561")
REPLY = Reply(
    id=uuid7(),
    appeal_id=uuid7(),
    kind=ReplyKind.ANSWER,
    agent_id="anna",
    channel=Channel.EMAIL,
    connector="email",
    recipient=ContactPoint(kind=ContactPointKind.EMAIL, value="ivan@example.org"),
    subject="Re: x",
    text="Отопление включат {завтра}.\n\n",
    language="ru",
    message_id="1@okno.example",
    next_attempt_at=datetime.now(UTC),
    created_at=datetime.now(UTC),
)


def test_an_answer_by_mail_is_framed():
    """The agent's words come first, as they are; office, number and page follow below the usual signature line."""
    text = LETTERHEAD.frame(REPLY, APPEAL)
    assert text.startswith("Отопление включат {завтра}.\n\n-- \nАдминистрация\n")
    assert "482-719-3561" in text
    assert "https://okno.example/status#n=482-719-3561" in text
    assert "c=" not in text  # the secret code is in the acknowledgement alone


@pytest.mark.parametrize("channel", [Channel.SMS, Channel.TELEGRAM, Channel.FAX, Channel.KIOSK])
def test_other_channels_get_the_words_alone(channel: Channel):
    """Where every character costs, or the page has a letterhead of its own, nothing is added."""
    assert LETTERHEAD.frame(replace(REPLY, channel=channel), APPEAL) == REPLY.text.rstrip()


def test_acknowledgements_have_texts_of_their_own():
    """An acknowledgement is not framed again."""
    assert LETTERHEAD.frame(replace(REPLY, kind=ReplyKind.ACKNOWLEDGEMENT), APPEAL) == REPLY.text


@pytest.mark.parametrize(
    ("language", "words"), [("en-GB", "Appeal No."), ("und", "Обращение №"), ("de", "Обращение №")]
)
def test_the_citizens_language(language: str, words: str):
    """The frame is in the citizen's language, or in the office's where there is none."""
    assert words in LETTERHEAD.frame(replace(REPLY, language=language), APPEAL)
