"""Telegram out: python-telegram-bot against the local Bot API server."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest

from appeals.envelope import ContactPoint, ContactPointKind
from appeals.errors import PermanentError, TransientError
from appeals.reply import ReplyKind
from config.channel_settings import TelegramSettings
from connectors.base import Connector, OutboundMessage
from connectors.media import describe_attachment
from connectors.telegram import build
from okno.outside.bot_api import BotApi, IncomingFile
from tests.integration.sms.recording_intake import RecordingIntake, make_ports

FILES = {"акт.pdf": b"%PDF-1.7\n", "b.txt": b"b"}
ATTACHMENTS = tuple(describe_attachment(name, "text/plain", content) for name, content in FILES.items())
CONTENTS = {attachment.sha256: FILES[attachment.name] for attachment in ATTACHMENTS}


async def read_blob(sha256: str) -> bytes:
    return CONTENTS[sha256]


ABOUT = "Обращение № 482-719-3561\n\n"
RATE = "\n\nОцените ответ: 1 — не помог, 5 — помог полностью."


def outbound(text: str = "Ваш номер 123", **changes: Any) -> OutboundMessage:
    return OutboundMessage(
        **{
            "reply_id": uuid4(),
            "kind": ReplyKind.ANSWER,
            "appeal_number": "482-719-3561",
            "recipient": ContactPoint(kind=ContactPointKind.TELEGRAM, value="700001"),
            "subject": "",
            "text": text,
            "language": "ru",
            "message_id": f"{uuid4()}@okno",
            "read_blob": read_blob,
            **changes,
        }
    )


@pytest.fixture
async def connector(telegram_settings: Callable[..., TelegramSettings]) -> AsyncIterator[Connector]:
    connector = build(telegram_settings(), make_ports(RecordingIntake()))
    await connector.start()
    yield connector
    await connector.stop()


async def test_answer_and_files_arrive_in_order(api: BotApi, connector: Connector):
    """The text comes first, then each file under its name; markup is not interpreted."""
    receipt = await connector.send(outbound("Ответ <b>*_ 🙂", attachments=ATTACHMENTS))
    text, first, second = api.sent
    assert (text.method, text.chat_id, text.text) == ("sendMessage", 700001, f"{ABOUT}Ответ <b>*_ 🙂{RATE}")
    assert (first.method, first.file_name, first.content) == ("sendDocument", "акт.pdf", b"%PDF-1.7\n")
    assert (second.file_name, second.content) == ("b.txt", b"b")
    assert receipt.external_id == f"700001:{text.message_id}"


async def test_files_without_text(api: BotApi, connector: Connector):
    """An answer may be a file alone; what it is about is its caption."""
    await connector.send(outbound("", attachments=ATTACHMENTS[:1]))
    (sent,) = api.sent
    assert (sent.method, sent.text) == ("sendDocument", f"{ABOUT.strip()}{RATE}")


async def test_short_text_is_the_caption_of_an_only_file(api: BotApi, connector: Connector):
    """Up to 1,024 units text and file are one message; a longer text goes before the file."""
    await connector.send(outbound("Акт", attachments=ATTACHMENTS[:1]))
    await connector.send(outbound("я" * 1024, attachments=ATTACHMENTS[:1]))
    assert [sent.method for sent in api.sent] == ["sendDocument", "sendMessage", "sendDocument"]
    assert "Акт" in api.sent[0].text
    assert api.sent[2].text == ""


async def test_reply_is_shown_under_the_citizens_newest_message(api: BotApi, connector: Connector):
    """References of other chats and channels are passed over."""
    await connector.send(outbound(in_reply_to=("700001:4", "700001:7", "5:9", "x@okno")))
    assert api.sent[0].answers == 7


async def test_group_that_became_a_supergroup(api: BotApi, connector: Connector):
    """The reply goes to the new chat, and its id says so."""
    api.moved[700001] = -100900
    receipt = await connector.send(outbound())
    assert api.sent[0].chat_id == -100900
    assert receipt.external_id.startswith("-100900:")


async def test_flood_control_holds_for_the_whole_bot(api: BotApi, connector: Connector):
    """After a 429 nothing is asked of Telegram until the time is over, for any chat."""
    api.fail_next("sendMessage", 429, retry_after_s=30)
    for value in ("700001", "700002"):
        with pytest.raises(TransientError) as caught:
            await connector.send(outbound(recipient=ContactPoint(kind=ContactPointKind.TELEGRAM, value=value)))
        assert caught.value.retry_after_s is not None
        assert 20 < caught.value.retry_after_s <= 30
    assert api.calls["sendmessage"] == 1


async def test_long_answer_is_split_in_utf16_units(api: BotApi, connector: Connector):
    """Emoji count double; the server, which counts as Telegram does, takes every part."""
    await connector.send(outbound("🙂🙂🙂 " * 2000))
    assert len(api.sent) == 4
    joined = " ".join(sent.text for sent in api.sent)
    assert joined.split() == [*ABOUT.split(), *["🙂🙂🙂"] * 2000, *RATE.split()]


async def test_parts_already_taken_are_not_sent_again(api: BotApi, connector: Connector):
    """When a file fails, the next try begins with that file."""
    message = outbound(attachments=ATTACHMENTS)
    api.fail_next("sendDocument", 502)
    with pytest.raises(TransientError):
        await connector.send(message)
    await connector.send(message)
    assert [sent.method for sent in api.sent] == ["sendMessage", "sendDocument", "sendDocument"]


@pytest.mark.parametrize(("status", "retry_after_s"), [(429, 23), (500, None), (502, None), (401, None)])
async def test_trouble_that_passes_is_transient(
    api: BotApi, connector: Connector, status: int, retry_after_s: int | None
):
    """Flood control, server errors and a refused token are tried again; retry_after is honoured."""
    api.fail_next("sendMessage", status, retry_after_s=retry_after_s)
    with pytest.raises(TransientError) as caught:
        await connector.send(outbound())
    assert caught.value.retry_after_s == retry_after_s
    assert not api.sent
    assert api.token not in str(caught.value)


@pytest.mark.parametrize("status", [400, 413])
async def test_refusal_is_permanent(api: BotApi, connector: Connector, status: int):
    """What Telegram will never take is shown to the agent."""
    api.fail_next("sendMessage", status, description="Bad Request: chat not found")
    with pytest.raises(PermanentError):
        await connector.send(outbound())


async def test_blocked_bot_is_named_as_such(api: BotApi, connector: Connector):
    """A citizen who blocked the bot cannot be reached, and the agent reads so."""
    api.blocked.add(700001)
    with pytest.raises(PermanentError, match="blocked"):
        await connector.send(outbound())


async def test_server_out_of_reach_is_transient(api: BotApi, connector: Connector):
    """A closed port is tried again later, and the token is not in the reason."""
    await api.stop()
    with pytest.raises(TransientError) as caught:
        await connector.send(outbound())
    assert api.token not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"text": " \n"},
        {"recipient": ContactPoint(kind=ContactPointKind.TELEGRAM, value="@someone")},
        {"attachments": (ATTACHMENTS[0].model_copy(update={"size_bytes": 60 * 1024 * 1024}),)},
    ],
)
async def test_what_telegram_cannot_do_is_refused_before_sending(
    api: BotApi, connector: Connector, changes: dict[str, Any]
):
    """Nothing to say, no chat, a file too large: permanent, and nothing goes out in part."""
    with pytest.raises(PermanentError):
        await connector.send(outbound(**changes))
    assert not api.sent


async def test_quarantined_update_with_a_file_can_be_retried_by_a_process_that_only_sends(
    api: BotApi, telegram_settings: Callable[..., TelegramSettings]
):
    """`open` is enough to fetch files: the command that retries does not receive."""
    api.inject_message("А", document=IncomingFile(content=b"x", name="a.bin"))
    (content,) = await api.updates.poll(offset=0, limit=1, timeout_s=1)
    intake = RecordingIntake()
    connector = build(telegram_settings(), make_ports(intake))
    await connector.open()
    await connector.open()
    await connector.retry(content, {})
    await connector.stop()
    assert len(intake.only.attachments) == 1
