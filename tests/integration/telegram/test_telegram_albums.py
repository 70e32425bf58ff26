"""Albums: parts that come one by one end as one message, whatever happens in between."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from appeals.errors import PermanentError, TransientError
from config.channel_settings import TelegramSettings
from connectors.base import Connector
from connectors.telegram import build
from connectors.telegram.albums import MAX_PARTS, AlbumKey, AlbumStage, Taken
from connectors.telegram.updates import split_array
from okno.outside.bot_api import BotApi
from tests.integration.sms.recording_intake import RecordingCursors, RecordingIntake, make_ports, serving
from tests.integration.telegram.conftest import Polling

PHOTOS = tuple(b"\x89PNG\r\n\x1a\n" + bytes([at]) * 32 for at in range(3))
SECRET = "s3cret"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def webhook(
    telegram_settings: Callable[..., TelegramSettings], intake: RecordingIntake, cursors: RecordingCursors
) -> Callable[..., Any]:
    """Run a webhook connector for the length of a block."""

    @asynccontextmanager
    async def run(**changes: Any) -> AsyncIterator[Connector]:
        section = telegram_settings(mode="webhook", webhook_secret=SECRET, **changes)
        async with (
            serving(lambda url: build(section, make_ports(intake, cursors=cursors, public_url=url))) as (bot, _),
            asyncio.TaskGroup() as group,
        ):
            group.create_task(bot.work())
            try:
                yield bot
            finally:
                await bot.stop()

    return run


@pytest.mark.parametrize("way", ["polling", "webhook"])
async def test_album_is_one_envelope(
    api: BotApi, intake: RecordingIntake, polling: Polling, webhook: Polling, way: str
):
    """Three photos sent at once are one message with three files and the caption; its raw bytes are all updates."""
    api.inject_album(*PHOTOS, caption="Двор")
    raw = [json.loads(update.content) for update in api.updates._waiting]
    async with (polling if way == "polling" else webhook)(album_linger_s=0.3):
        await api.wait_until_confirmed()
        await until(lambda: bool(intake.envelopes))
    envelope = intake.only
    assert envelope.text == "Двор"
    assert [intake.contents[attachment.sha256] for attachment in envelope.attachments] == list(PHOTOS)
    assert len({attachment.name for attachment in envelope.attachments}) == 3
    assert [json.loads(part) for part in split_array(intake.raw_of(envelope))] == raw


async def test_message_after_an_album_comes_after_it(api: BotApi, intake: RecordingIntake, polling: Polling):
    """A text that follows does not wait for the album's time, nor overtake it; other chats wait for neither."""
    api.inject_album(*PHOTOS)
    api.inject_message("Вот так")
    api.inject_message("Другой", chat_id=5)
    async with polling(album_linger_s=30):
        await until(lambda: len(intake.envelopes) == 3)
    mine = [envelope for envelope in intake.envelopes if envelope.sender and envelope.sender.value == "700001"]
    assert [len(envelope.attachments) for envelope in mine] == [3, 0]


async def test_full_album_is_registered_at_once(api: BotApi, intake: RecordingIntake, polling: Polling):
    """Ten parts are all that an album has."""
    api.inject_album(*(PHOTOS[0][:-1] + bytes([at]) for at in range(MAX_PARTS)))
    async with polling(album_linger_s=30):
        await until(lambda: bool(intake.envelopes))
    assert len(intake.only.attachments) == MAX_PARTS


async def test_stop_registers_open_albums(api: BotApi, intake: RecordingIntake, polling: Polling):
    """What was acknowledged is registered before the daemon ends."""
    api.inject_album(*PHOTOS)
    async with polling(album_linger_s=30):
        await api.wait_until_confirmed()
        assert not intake.envelopes
    assert len(intake.only.attachments) == 3


async def test_straggler_is_a_message_of_its_own(api: BotApi, intake: RecordingIntake, polling: Polling):
    """A part that comes after its album is registered is neither lost nor added twice."""
    api.inject_album(*PHOTOS[:2], group="77")
    async with polling(album_linger_s=0.1):
        await until(lambda: len(intake.envelopes) == 1)
        api.inject_album(PHOTOS[2], group="77")
        await until(lambda: len(intake.envelopes) == 2)
    assert [len(envelope.attachments) for envelope in intake.envelopes] == [2, 1]
    assert intake.envelopes[0].external_id != intake.envelopes[1].external_id


async def test_registry_down_in_mid_album(api: BotApi, intake: RecordingIntake, polling: Polling):
    """Parts that are committed wait for the registry and end in one message."""
    intake.down = TransientError("no store")
    api.inject_album(*PHOTOS)
    async with polling(album_linger_s=0.1):
        await until(lambda: intake.calls >= 1)
        assert not intake.envelopes
        intake.down = None
        await until(lambda: bool(intake.envelopes))
    assert len(intake.only.attachments) == 3


async def test_store_down_acknowledges_no_part(
    api: BotApi, intake: RecordingIntake, cursors: RecordingCursors, polling: Polling
):
    """A part that cannot be committed comes again; then the album is whole."""
    cursors.down = TransientError("no store")
    api.inject_album(*PHOTOS)
    async with polling(album_linger_s=0.2) as connector:
        await until(lambda: "no store" in connector.health().detail)
        assert len(api.updates.ids) == 3
        cursors.down = None
        await until(lambda: bool(intake.envelopes))
    assert len(intake.only.attachments) == 3


async def test_album_the_intake_refuses_is_quarantined_whole_and_can_be_retried(
    api: BotApi, intake: RecordingIntake, polling: Polling
):
    """All its updates are kept as one array; `retry` makes one message of them."""
    intake.failure = lambda _: PermanentError("too odd")
    api.inject_album(*PHOTOS)
    async with polling(album_linger_s=0.1) as connector:
        await until(lambda: bool(intake.quarantined))
        intake.failure = lambda _: None
        ((item, content),) = intake.quarantined
        await connector.retry(content, item.context)
        with pytest.raises(PermanentError):
            await connector.retry(b"[]", item.context)
    assert len(intake.only.attachments) == 3


async def test_edited_part_revises_its_album(api: BotApi, intake: RecordingIntake, polling: Polling):
    """A new caption names the album's message as the one it changes."""
    api.inject_album(*PHOTOS, caption="Двор", group="5")
    update = json.loads(api.updates._waiting[0].content)
    async with polling(album_linger_s=0.1):
        await until(lambda: bool(intake.envelopes))
        edited = update["message"] | {"caption": "Двор 6", "edit_date": update["message"]["date"] + 9}
        api.inject_update({"edited_message": edited})
        await until(lambda: len(intake.envelopes) == 2)
    album, edit = intake.envelopes
    assert edit.revises == album.external_id
    assert (edit.text, edit.marks) == ("Двор 6", ("edited",))


class Crash(BaseException):
    """The process is killed here."""


class Steps:
    """A stage over cursors that outlive it, with a registration that can be struck down before or after its commit."""

    def __init__(self, cursors: RecordingCursors, intake: dict[frozenset[bytes], int], *, crash: str = "") -> None:
        self.registered = intake
        self._crash = crash
        self.stage = AlbumStage(cursors, connector="t", bot_id=1, linger_s=30, register=self._register)

    async def _register(self, _: AlbumKey, contents: Any, __: str) -> str:
        if self._crash == "before":
            raise Crash
        self.registered.setdefault(frozenset(contents), 0)
        self.registered[frozenset(contents)] += 1  # the intake knows a repetition by its id: made of this very set
        if self._crash == "after":
            raise Crash
        return "id"


@pytest.mark.parametrize("crash", ["before", "after"])
@pytest.mark.parametrize("late_part", [False, True])
async def test_crash_in_mid_album_loses_and_doubles_nothing(crash: str, late_part: bool):  # noqa: FBT001
    """Struck down around the registration, the next run registers exactly the same set; a late part stands alone."""
    cursors, registered = RecordingCursors(), {}
    key = AlbumKey(5, "g")
    first = Steps(cursors, registered, crash=crash)
    for number in (1, 2):
        assert await first.stage.add(key, number, b"%d" % number, method="m") is Taken.STAGED
    with pytest.raises(Crash):
        await first.stage.settle(5)
    second = Steps(cursors, registered)
    if late_part:
        assert await second.stage.add(key, 3, b"3", method="m") is Taken.STRAGGLER
    await second.stage.recover()
    await second.stage.settle_all()
    assert set(registered) == {frozenset({b"1", b"2"})}
    for number in (1, 2):
        assert await second.stage.add(key, number, b"%d" % number, method="m") is Taken.KNOWN
    assert await second.stage.external_id_of(key, 2) == "id"
    assert await cursors.items("t", "open_album:") == {}


async def test_part_that_comes_twice_is_one_part():
    """A repetition of a staged part changes nothing."""
    steps = Steps(RecordingCursors(), {})
    for number in (1, 1, 2):
        assert await steps.stage.add(AlbumKey(5, "g"), number, b"%d" % number, method="m") is Taken.STAGED
    await steps.stage.settle_all()
    assert list(steps.registered) == [frozenset({b"1", b"2"})]


async def test_two_processes_that_take_parts_of_one_album_at_once():
    """Whichever is first, no part is lost and none comes twice; what a dead one left open the other registers."""
    cursors, registered = RecordingCursors(), {}
    one, other = Steps(cursors, registered), Steps(cursors, registered)
    key = AlbumKey(5, "g")
    for number, steps in ((1, one), (2, other), (3, one)):
        assert await steps.stage.add(key, number, b"%d" % number, method="m") is Taken.STAGED
    await asyncio.gather(one.stage.settle(5), other.stage.settle(5))
    assert set(registered) == {frozenset({b"1", b"2", b"3"})}
    for steps in (one, other):
        assert await steps.stage.add(key, 2, b"2", method="m") is Taken.KNOWN
    assert await cursors.items("t", "open_album:") == {}


async def test_parts_that_race_for_the_row_are_all_kept():
    """Both have read the row before either writes: compare-and-set lets one try again."""
    cursors, registered = RacingCursors(), {}
    one, other = Steps(cursors, registered), Steps(cursors, registered)
    key = AlbumKey(5, "g")
    await asyncio.gather(one.stage.add(key, 1, b"1", method="m"), other.stage.add(key, 2, b"2", method="m"))
    await one.stage.settle_all()
    assert set(registered) == {frozenset({b"1", b"2"})}


class RacingCursors(RecordingCursors):
    """A store whose readers wait for each other, once."""

    def __init__(self) -> None:
        super().__init__()
        self._readers = 0
        self._both = asyncio.Event()

    async def get(self, connector: str, name: str) -> str | None:
        value = await super().get(connector, name)
        if name.startswith("album:") and not self._both.is_set():
            self._readers += 1
            if self._readers == 2:
                self._both.set()
            await self._both.wait()
        return value
