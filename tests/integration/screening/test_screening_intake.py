"""Screening around an intake: what is found is written on the files, and nothing stops a message."""

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from appeals.envelope import AppealEnvelope, BlobRef, Channel
from appeals.registration import Contents, QuarantineItem, Registration
from config.channel_settings import AttachmentSettings
from connectors.media import describe_attachment
from connectors.screening.clamav import ClamAv
from connectors.screening.intake import ScreeningIntake
from tests.clamd import EICAR, SIGNATURE, STREAM_MAX_BYTES, ClamdServer
from tests.unit.screening import hostile_files as hostile

INFECTED = f"infected:{SIGNATURE}.UNOFFICIAL"  # clamd's word for signatures that are not its own


class KeepingIntake:
    """An intake that keeps what it is handed, and insists on every blob being there."""

    def __init__(self) -> None:
        self.registered: list[tuple[AppealEnvelope, Contents]] = []

    async def register(self, envelope: AppealEnvelope, contents: Contents) -> Registration:
        for reference in (envelope.raw, *envelope.attachments):
            assert hashlib.sha256(contents[reference.sha256]).hexdigest() == reference.sha256
        self.registered.append((envelope, contents))
        return Registration(
            appeal_id=uuid7(),
            number="1",
            secret_code="",
            envelope_id=envelope.id,
            duplicate=False,
            joined=False,
        )

    async def quarantine(self, item: QuarantineItem, content: bytes) -> UUID:  # noqa: ARG002
        return uuid7()

    @property
    def findings(self) -> list[tuple[str, ...]]:
        """What was found in the files of the newest message."""
        return [item.findings for item in self.registered[-1][0].attachments]


def _message(
    *files: tuple[str, bytes], channel: Channel = Channel.EMAIL, raw_type: str = "message/rfc822"
) -> tuple[AppealEnvelope, dict[str, bytes]]:
    raw = b"the mail with all its files"
    attachments = tuple(describe_attachment(name, "application/octet-stream", content) for name, content in files)
    envelope = AppealEnvelope(
        channel=channel,
        connector=channel.value,
        external_id="1",
        received_at=datetime.now(UTC),
        attachments=attachments,
        raw=BlobRef.of(raw, raw_type),
    )
    blobs = {item.sha256: content for item, (_, content) in zip(attachments, files, strict=True)}
    return envelope, {envelope.raw.sha256: raw} | blobs


@pytest.fixture
def intake() -> KeepingIntake:
    """Return the intake behind."""
    return KeepingIntake()


@pytest.fixture
async def screening(intake: KeepingIntake) -> AsyncIterator[ScreeningIntake]:
    """Run a screening intake without a virus scanner."""
    async with ScreeningIntake(intake, AttachmentSettings(budget_s=20)) as screening:
        yield screening


async def test_findings_are_written_on_the_files(screening: ScreeningIntake, intake: KeepingIntake):
    """Each file has what was found in it; names count as well as bytes."""
    await screening.register(
        *_message(
            ("photo.jpg", b"\xff\xd8\xff\xe0"),
            ("invoice.pdf", b"MZ" + bytes(100)),
            ("42.zip", hostile.nested_zip_bomb(depth=5, width=4, leaf_bytes=1000)),
            ("book.pdf", hostile.pdf_of_many_pages(100_000)),
            ("fax.tif", hostile.tiff((60_000, 60_000))),
            ("page.html", b"<html>"),
            ("same.txt", b"<html>"),
        )
    )
    assert intake.findings == [
        (),
        ("executable", "extension_mismatch"),
        ("archive_bomb",),
        ("too_many_pages",),
        ("picture_bomb",),
        ("html",),
        ("html",),
    ]


async def test_a_message_without_files_is_passed_on_as_it_is(screening: ScreeningIntake, intake: KeepingIntake):
    """The same objects: no copy, no process, no wait."""
    envelope, contents = _message()
    await screening.register(envelope, contents)
    assert intake.registered[0][0] is envelope
    assert intake.registered[0][1] is contents
    assert all(process._process is None for process in screening._processes)


async def test_too_many_files_of_a_mail(intake: KeepingIntake):
    """The rest stays in the original alone, and the mark says so; a file that is among both is kept."""
    async with ScreeningIntake(intake, AttachmentSettings(max_count=2)) as screening:
        await screening.register(*_message(("1", b"one"), ("2", b"two"), ("3", b"three"), ("4", b"one")))
    envelope, contents = intake.registered[0]
    assert [item.name for item in envelope.attachments] == ["1", "2"]
    assert envelope.marks == ("truncated",)
    assert sorted(contents.values()) == [b"one", b"the mail with all its files", b"two"]


async def test_too_many_files_of_another_channel(intake: KeepingIntake):
    """Where the original does not hold the files, all are kept."""
    async with ScreeningIntake(intake, AttachmentSettings(max_count=2)) as screening:
        files = (("1", b"one"), ("2", b"two"), ("3", b"three"))
        await screening.register(*_message(*files, channel=Channel.TELEGRAM, raw_type="application/json"))
    assert len(intake.registered[0][0].attachments) == 3
    assert intake.registered[0][0].marks == ()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_process_that_dies_or_hangs(intake: KeepingIntake, sent: signal.Signals):
    """The file stays unchecked, the message is registered, and the next file is looked at by another process."""
    settings = AttachmentSettings(budget_s=1.0)
    async with ScreeningIntake(intake, settings) as screening:
        assert await screening.rescan(hostile.encrypted_zip()) == ("encrypted",)
        os.kill(screening._processes[0]._process.pid, sent)
        await screening.register(*_message(("papers.zip", hostile.encrypted_zip())))
        if sent is signal.SIGSTOP:
            assert intake.findings == [("unchecked",)]
        await screening.register(*_message(("papers.zip", hostile.encrypted_zip())))
        assert intake.findings == [("encrypted",)]


async def test_many_messages_at_once(screening: ScreeningIntake, intake: KeepingIntake):
    """They share the process, and each gets its own answer."""
    names = [f"{number}.zip" for number in range(20)]
    files = {
        name: hostile.encrypted_zip() if index % 2 else hostile.zip_of({"a": b""}) for index, name in enumerate(names)
    }
    await asyncio.gather(*(screening.register(*_message((name, content))) for name, content in files.items()))
    found = {envelope.attachments[0].name: envelope.attachments[0].findings for envelope, _ in intake.registered}
    assert found == {name: ("encrypted",) if index % 2 else () for index, name in enumerate(names)}


async def test_a_caller_that_gives_up(screening: ScreeningIntake, intake: KeepingIntake):
    """A cancelled registration leaves no half answer for the next one."""
    task = asyncio.create_task(screening.register(*_message(("a.zip", hostile.encrypted_zip()))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await screening.register(*_message(("b.zip", hostile.zip_of({"a": b""}))))
    assert intake.findings == [()]


# ---- ClamAV
@pytest.mark.parametrize("over", ["unix", "tcp"])
async def test_viruses(own_clamd_server: ClamdServer, intake: KeepingIntake, over: str):
    """A real clamd is asked over its socket; its word for the virus is in the finding; the message is registered."""
    address = own_clamd_server.addresses[over == "tcp"]
    async with ScreeningIntake(intake, AttachmentSettings(clamav=address, budget_s=20)) as screening:
        await screening.register(
            *_message(
                ("virus.txt", EICAR),
                ("clean.txt", b"hello"),
                ("large.txt", b"x" * (STREAM_MAX_BYTES + 1)),
                ("packed.zip", hostile.zip_of({"virus.txt": EICAR})),
                ("empty.txt", b""),
            )
        )
        assert intake.findings == [(INFECTED,), (), ("unchecked",), (INFECTED,), ()]
        assert screening.trouble == ""
        own_clamd_server.kill()
        await screening.register(*_message(("virus.txt", EICAR)))
        assert intake.findings == [("unchecked",)]
        assert "ClamAV does not answer" in screening.trouble
        assert await screening.rescan(EICAR) == ("unchecked",)  # at once, without knocking again


async def test_a_scanner_that_hangs(intake: KeepingIntake):
    """A socket that takes all and says nothing delays a message for the time-out, once, and refuses nothing."""
    connections: list[asyncio.StreamWriter] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        settings = AttachmentSettings(clamav=f"tcp://127.0.0.1:{port}", clamav_timeout_s=0.2, budget_s=20)
        async with ScreeningIntake(intake, settings) as screening:
            await screening.register(*_message(("a.txt", b"hello"), ("b.txt", b"hello again")))
            assert intake.findings == [("unchecked",), ("unchecked",)]
    assert len(connections) == 1


@pytest.mark.parametrize("answer", [b"", b"\0", b"\xff" * 10_000, b"stream: what ERROR\0", b"HTTP/1.1 400 Bad\r\n\r\n"])
async def test_a_scanner_that_talks_nonsense(answer: bytes):
    """Whatever comes back from the socket, the file is unchecked and nothing is raised."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        scanner = ClamAv(f"tcp://127.0.0.1:{port}", timeout_s=5)
        assert await scanner.scan(b"x" * 300_000) == ("unchecked",)
