"""The spool folder on a real file system: nothing lost, nothing taken twice."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from appeals.envelope import AppealEnvelope
from appeals.errors import ConfigurationError, TransientError
from appeals.registration import Contents, QuarantineItem, Registration
from config.channel_settings import FaxSettings
from connectors.fax.connector import FaxConnector
from connectors.fax.sinch import SinchGateway
from connectors.fax.spool import SpooledFile, SpoolVerdict
from okno.outside.fax_gateway import make_fax_document
from tests.integration.kiosk.recording_intake import RecordingIntake, make_ports

DEADLINE_S = 10
TIFF = make_fax_document(["Страница один", "Страница два"], "tiff")
PDF = make_fax_document(["Страница"])


@pytest.fixture
def intake() -> RecordingIntake:
    return RecordingIntake()


def make_connector(spool: Path, intake: RecordingIntake, *, unreadable_after_s: float = 0.3, max_bytes: int = 2**20):
    settings = FaxSettings(enabled=True, spool_dir=spool, number="+78120000000", max_body_bytes=max_bytes)
    ports = make_ports(intake)
    gateway = SinchGateway(settings, public_url=ports.public_url)
    return FaxConnector(settings, ports, gateways=(gateway,), settle_s=0.1, unreadable_after_s=unreadable_after_s)


@asynccontextmanager
async def working(connector: FaxConnector) -> AsyncIterator[None]:
    """Run the connector's life as the composition root does."""
    await connector.start()
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(connector.work())
        try:
            yield
        finally:
            await connector.stop()
            await work


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        await asyncio.sleep(0.02)


def names(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[2] for path in folder.iterdir())


async def test_takes_what_came_while_nobody_watched_and_what_comes_later(tmp_path: Path, intake: RecordingIntake):
    """A file that lay there before the start and one that is moved in later are registered and moved to done/."""
    (tmp_path / "+78121234567_2026-08-01.tif").write_bytes(TIFF)
    async with working(make_connector(tmp_path, intake)):
        await until(lambda: len(intake.envelopes) == 1)
        envelope = intake.only
        (tmp_path / ".incoming").write_bytes(PDF)
        (tmp_path / ".incoming").rename(tmp_path / "second.pdf")
        await until(lambda: names(tmp_path / "done") == ["+78121234567_2026-08-01.tif", "second.pdf"])
    assert envelope.sender.value == "+78121234567"
    assert envelope.external_id.startswith("spool:")
    assert [attachment.name for attachment in envelope.attachments] == [
        "+78121234567_2026-08-01.tif",
        "+78121234567_2026-08-01.tif.pdf",
    ]
    assert envelope.fields["pages"] == "2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "failed"]


async def test_crash_between_commit_and_move_does_not_take_a_file_twice(tmp_path: Path, intake: RecordingIntake):
    """The file is still there after the restart, is recognised by content and name, and only moved."""
    (tmp_path / "fax.tif").write_bytes(TIFF)
    async with working(make_connector(tmp_path, intake)):
        await until(lambda: names(tmp_path / "done") == ["fax.tif"])
    next((tmp_path / "done").iterdir()).rename(tmp_path / "fax.tif")  # as if the move had never happened

    async with working(make_connector(tmp_path, intake)):
        await until(lambda: names(tmp_path / "done") == ["fax.tif"])
    assert len(intake.envelopes) == 1


async def test_half_written_file_is_waited_for(tmp_path: Path, intake: RecordingIntake):
    """A file that grows slowly is registered once, whole; its readable beginnings are not taken for the fax."""
    path = tmp_path / "slow.tif"
    async with working(make_connector(tmp_path, intake, unreadable_after_s=DEADLINE_S)):
        with path.open("wb") as file:
            for start in range(0, len(TIFF), len(TIFF) // 20):
                file.write(TIFF[start : start + len(TIFF) // 20])
                file.flush()
                await asyncio.sleep(0.03)  # the writer's pace, shorter than the time to settle
        await until(lambda: names(tmp_path / "done") == ["slow.tif"])
    assert intake.contents[intake.only.raw.sha256] == TIFF
    assert not intake.quarantined


async def test_half_written_file_that_stands_still_is_not_given_up_at_once(tmp_path: Path, intake: RecordingIntake):
    """A writer that pauses longer than the time to settle leaves an unreadable file: it stays until it is whole."""
    path = tmp_path / "paused.tif"
    connector = make_connector(tmp_path, intake, unreadable_after_s=DEADLINE_S)
    await connector.start()
    path.write_bytes(TIFF[: len(TIFF) // 2])
    taken = []
    take = connector._spool._take

    async def noting(file: SpooledFile) -> SpoolVerdict:
        taken.append(await take(file))
        return taken[-1]

    connector._spool._take = noting
    async with working(connector):
        await until(lambda: len(taken) > 2)
        assert set(taken) == {SpoolVerdict.LATER}
        path.write_bytes(TIFF)
        await until(lambda: names(tmp_path / "done") == ["paused.tif"])
    assert intake.contents[intake.only.raw.sha256] == TIFF
    assert not intake.quarantined


async def test_registry_down_leaves_the_file_in_place(tmp_path: Path, intake: RecordingIntake):
    """Down: the file stays and health says why; up again: it is registered without a restart."""
    intake.failure = TransientError("the registry is down")
    connector = make_connector(tmp_path, intake)
    async with working(connector):
        (tmp_path / "fax.pdf").write_bytes(PDF)
        await until(lambda: connector.health().state == "degraded")
        assert (tmp_path / "fax.pdf").exists()
        assert "the registry is down" in connector.health().detail
        assert intake.nothing_kept
        intake.failure = None
        connector._spool._changed.set()
        await until(lambda: names(tmp_path / "done") == ["fax.pdf"])
        await until(lambda: connector.health().state == "up")
    assert len(intake.envelopes) == 1


async def test_unreadable_file_is_quarantined_and_moved_to_failed(tmp_path: Path, intake: RecordingIntake):
    """A file that is no fax is kept twice over, in quarantine with its bytes and in failed/; the next one is taken."""
    (tmp_path / "a-readme.txt").write_bytes(b"not a fax")
    async with working(make_connector(tmp_path, intake)):
        await until(lambda: names(tmp_path / "failed") == ["a-readme.txt"])
        (tmp_path / "b.pdf").write_bytes(PDF)
        await until(lambda: names(tmp_path / "done") == ["b.pdf"])
    ((item, content),) = intake.quarantined.values()
    assert (item.stage, content) == ("decode", b"not a fax")
    assert item.context["name"] == "a-readme.txt"


async def test_a_bug_that_one_file_brings_out_does_not_stop_the_others(tmp_path: Path):
    """An unforeseen error leaves the file in place and visible; the next file is taken."""

    class BuggyIntake(RecordingIntake):
        async def quarantine(self, item: QuarantineItem, content: bytes) -> UUID:
            raise ZeroDivisionError(item.stage, len(content))

    buggy = BuggyIntake()
    connector = make_connector(tmp_path, buggy)
    (tmp_path / "a.txt").write_bytes(b"junk")
    (tmp_path / "b.pdf").write_bytes(PDF)
    async with working(connector):
        await until(lambda: names(tmp_path / "done") == ["b.pdf"])
        await until(lambda: "ZeroDivisionError" in connector.health().detail)
    assert (tmp_path / "a.txt").exists()


async def test_file_too_large_is_moved_aside_and_seen(tmp_path: Path, intake: RecordingIntake):
    """More than the limit is not read into memory: it lies in failed/, and the quarantine names it."""
    (tmp_path / "big.tif").write_bytes(bytes(5_000))
    async with working(make_connector(tmp_path, intake, max_bytes=4_096)):
        await until(lambda: names(tmp_path / "failed") == ["big.tif"])
    ((item, content),) = intake.quarantined.values()
    assert content == b"big.tif"
    assert "5000 bytes" in item.reason


async def test_same_name_again_is_another_fax(tmp_path: Path, intake: RecordingIntake):
    """Fax servers number files anew: the second file of a name is registered and overwrites nothing in done/."""
    async with working(make_connector(tmp_path, intake)):
        (tmp_path / "fax00001.tif").write_bytes(TIFF)
        await until(lambda: len(names(tmp_path / "done")) == 1)
        (tmp_path / "fax00001.tif").write_bytes(make_fax_document(["Другой"], "tiff"))
        await until(lambda: names(tmp_path / "done") == ["fax00001.tif", "fax00001.tif"])
    assert len(intake.envelopes) == 2


async def test_file_overwritten_after_the_commit_is_put_back(tmp_path: Path, intake: RecordingIntake):
    """Between commit and move the writer puts another fax under the same name: both are registered."""

    class OverwritingIntake(RecordingIntake):
        async def register(self, envelope: AppealEnvelope, contents: Contents) -> Registration:
            registration = await super().register(envelope, contents)
            if len(self.envelopes) == 1:
                (tmp_path / "new").write_bytes(PDF)
                (tmp_path / "new").replace(tmp_path / "fax.tif")
            return registration

    overwriting = OverwritingIntake()
    (tmp_path / "fax.tif").write_bytes(TIFF)
    async with working(make_connector(tmp_path, overwriting)):
        await until(lambda: len(overwriting.envelopes) == 2 and names(tmp_path / "done") == ["fax.tif"])
    assert [envelope.attachments[0].detected_media_type for envelope in overwriting.envelopes.values()] == [
        "image/tiff",
        "application/pdf",
    ]
    assert intake.nothing_kept


async def test_links_hidden_and_partial_files_are_left_alone(tmp_path: Path, intake: RecordingIntake):
    """A symbolic link is never followed; uploads under way are not touched."""
    outside = tmp_path / "secret.pdf"
    outside.write_bytes(PDF)
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "link.pdf").symlink_to(outside)
    (spool / ".hidden.pdf").write_bytes(PDF)
    (spool / "upload.pdf.part").write_bytes(PDF)
    async with working(make_connector(spool, intake)):
        (spool / "taken.pdf").write_bytes(PDF)
        await until(lambda: names(spool / "done") == ["taken.pdf"])
    assert len(intake.envelopes) == 1
    assert sorted(path.name for path in spool.iterdir()) == [
        ".hidden.pdf",
        "done",
        "failed",
        "link.pdf",
        "upload.pdf.part",
    ]


async def test_file_name_that_is_not_utf8_is_taken(tmp_path: Path, intake: RecordingIntake):
    """A name in an old encoding costs neither the fax nor the daemon."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xf4\xe0\xea\xf1.pdf")).write_bytes(PDF)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xf4\xe0\xea\xf1.txt")).write_bytes(b"junk")
    async with working(make_connector(tmp_path, intake)):
        await until(lambda: len(names(tmp_path / "done")) == 1 and len(names(tmp_path / "failed")) == 1)
    assert intake.only.attachments[0].name.endswith(".pdf")


async def test_folder_that_vanishes_and_comes_back(tmp_path: Path, intake: RecordingIntake):
    """A network folder that goes away makes the connector degraded, not dead; back again, it is read on."""
    spool = tmp_path / "spool"
    connector = make_connector(spool, intake)
    connector._spool._scan_interval_s = 0.1
    async with working(connector):
        spool.rename(tmp_path / "away")
        await until(lambda: connector.health().state == "degraded")
        (tmp_path / "away" / "fax.pdf").write_bytes(PDF)
        (tmp_path / "away").rename(spool)
        await until(lambda: names(spool / "done") == ["fax.pdf"])


async def test_quarantined_file_can_be_retried(tmp_path: Path, intake: RecordingIntake):
    """`retry` registers the bytes under the file's own external id."""
    connector = make_connector(tmp_path, intake)
    await connector.retry(PDF, {"source": "spool", "name": "+78121234567.pdf", "external_id": "spool:abc"})
    assert (intake.only.external_id, intake.only.sender.value) == ("spool:abc", "+78121234567")


async def test_unusable_folder_is_a_configuration_error(tmp_path: Path, intake: RecordingIntake):
    """`start` names the setting and the folder."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"fax\.spool_dir: .*file"):
        await make_connector(tmp_path / "file", intake).start()
    with pytest.raises(ConfigurationError, match="or spool_dir"):
        await FaxConnector(
            FaxSettings(), make_ports(intake), gateways=[SinchGateway(FaxSettings(), public_url="x")]
        ).start()
