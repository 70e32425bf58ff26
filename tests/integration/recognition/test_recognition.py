"""Faxes read by the real Tesseract: how well, when not, and that nothing stops the others."""

import asyncio
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import SequenceMatcher
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from PIL import Image

from appeals.envelope import AppealEnvelope, BlobRef, Channel
from config.channel_settings import RecognitionSettings
from connectors.media import describe_attachment
from connectors.pages.renderer import PageRenderer
from connectors.recognition.tesseract import Tesseract
from connectors.recognition.worker import RecognitionWorker, describe_tesseract
from queues.port import WorkItem
from tests.integration.recognition.conftest import STANDARD, bad_line, handwriting, tiff

RUSSIAN = """Главе администрации Центрального района
от Соколовой Веры Ивановны, ул. Садовая, д. 12, кв. 45

ЗАЯВЛЕНИЕ

Прошу принять меры по восстановлению отопления в нашем доме.
С понедельника 14 октября батареи холодные, температура в квартире
не поднимается выше 15 градусов. Заявка № 4512 не выполнена."""
ENGLISH = """Dear Sir or Madam,

I am writing to complain about the heating in our building at 12 Sadovaya
Street. The radiators have been cold since Monday, and the managing company
does not answer the telephone. Please inform me of the results in writing.

Yours faithfully, Vera Sokolova"""
HEADER = "16.10.2026 12:45   FROM: +78121234567   TO: CITY HALL   PAGE 1/1"


@dataclass
class Recognised:
    """What the worker said of one fax."""

    text: str
    confidence: float | None
    accepted: bool
    detail: str


@dataclass
class Office:
    """A store of transcripts and bytes with the port's rules: what is recognised is open no more."""

    envelopes: dict[UUID, AppealEnvelope] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    done: dict[UUID, Recognised] = field(default_factory=dict)

    def receive(self, *files: bytes) -> WorkItem:
        attachments = tuple(describe_attachment(f"{index}", "", content) for index, content in enumerate(files))
        self.blobs |= {item.sha256: content for item, content in zip(attachments, files, strict=True)}
        envelope = AppealEnvelope(
            channel=Channel.FAX,
            connector="fax",
            external_id=str(uuid4()),
            received_at=datetime.now(UTC),
            attachments=attachments,
            recognise=True,
            raw=BlobRef.of(b"raw"),
        )
        self.envelopes[envelope.id] = envelope
        return WorkItem(id=str(len(self.envelopes)), fields={"envelope_id": str(envelope.id)}, tries=1)

    async def open(self, ids: Sequence[UUID]) -> list["Pending"]:
        return [Pending(envelope=self.envelopes[item]) for item in ids if item not in self.done]

    async def recognised(
        self, envelope_id: UUID, *, text: str, confidence: float | None, accepted: bool, detail: str = ""
    ):
        self.done.setdefault(envelope_id, Recognised(text, confidence, accepted, detail))

    async def read_blob(self, sha256: str) -> bytes:
        return self.blobs[sha256]

    def of(self, item: WorkItem) -> Recognised:
        return self.done[UUID(item.fields["envelope_id"])]


@dataclass(frozen=True)
class Pending:
    """An envelope that waits for recognition."""

    envelope: AppealEnvelope


def make_worker(office: Office, pages: PageRenderer, command: Path | str, **settings: object) -> RecognitionWorker:
    chosen = RecognitionSettings.model_validate({"command": str(command), "processes": 1, **settings})
    return RecognitionWorker(office, office.read_blob, chosen, renderer=pages)


def difference(read: str, written: str) -> float:
    """Return the share of letters that differ, white space evened out."""
    return 1 - SequenceMatcher(None, " ".join(read.split()), " ".join(written.split()), autojunk=False).ratio()


async def test_reads_russian_and_english_off_a_bad_line(pages: PageRenderer, tesseract_path: Path):
    """Two pages, Russian in fine and English in standard resolution, with noise: under 3 % wrong, and accepted."""
    office = Office()
    russian = office.receive(tiff(bad_line(RUSSIAN)))
    english = office.receive(tiff(bad_line(ENGLISH, standard=True), dpi=STANDARD, compression="group3"))
    await make_worker(office, pages, tesseract_path).handle([russian, english])
    for item, written in ((russian, RUSSIAN), (english, ENGLISH)):
        found = office.of(item)
        assert found.accepted, found
        assert found.confidence > 0.9
        assert difference(found.text, written) < 0.03


async def test_a_sheet_upside_down_and_one_askew_are_read(pages: PageRenderer, tesseract_path: Path):
    """Sheets lie in the machine as they like: both pages of one fax."""
    office = Office()
    turned = bad_line(RUSSIAN).transpose(Image.Transpose.ROTATE_180)
    item = office.receive(tiff(turned, bad_line(ENGLISH, turn=1.5)))
    await make_worker(office, pages, tesseract_path).handle([item])
    assert office.of(item).accepted
    assert difference(office.of(item).text, f"{RUSSIAN} {ENGLISH}") < 0.03


async def test_handwriting_is_left_to_people(pages: PageRenderer, tesseract_path: Path):
    """Only the machine's header line is read, and very surely: the fax as a whole is not trusted."""
    office = Office()
    item = office.receive(tiff(handwriting(header=HEADER)))
    await make_worker(office, pages, tesseract_path).handle([item])
    found = office.of(item)
    assert not found.accepted
    assert found.confidence < 0.4


async def test_an_empty_fax_is_left_to_people(pages: PageRenderer, tesseract_path: Path):
    """A white page has nothing to trust."""
    office = Office()
    item = office.receive(tiff(Image.new("1", (1728, 2292), 1)))
    await make_worker(office, pages, tesseract_path).handle([item])
    assert (office.of(item).accepted, office.of(item).text) == (False, "")


async def test_bad_documents_stop_nobody(pages: PageRenderer, tesseract_path: Path):
    """Garbage, a document without pages and one with a page too many: each is settled, with the reason."""
    office = Office()
    garbage = office.receive(b"%PDF-1.4 nothing")
    none = office.receive("План".encode())
    page = bad_line(ENGLISH, noise=0)
    long = office.receive(tiff(page, page))
    await make_worker(office, pages, tesseract_path, max_pages=1).handle([garbage, none, long])
    assert not any(found.accepted for found in office.done.values())
    assert "cannot be opened" in office.of(garbage).detail
    assert office.of(none).detail == "there is no page to read"
    assert "recognition.max_pages" in office.of(long).detail
    assert "radiators" in office.of(long).text  # the agent's draft


async def test_work_done_is_not_done_again(pages: PageRenderer, tesseract_path: Path):
    """Items come again at any time: what is settled stays as it is."""
    office = Office()
    item = office.receive(b"%PDF-1.4 nothing")
    worker = make_worker(office, pages, tesseract_path)
    await worker.handle([item])
    before = office.of(item)
    await worker.handle([item, item])
    assert office.of(item) is before


def script(path: Path, reading: str) -> Path:
    """Write a program that answers as Tesseract does, until it is to read a page."""
    path.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        "--version) echo 'tesseract 5.3.0';;\n"
        "--list-langs) printf 'List of available languages (1):\\neng\\n';;\n"
        f"*) {reading};;\n"
        "esac\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("reading", "detail"),
    [("exec sleep 60", "longer than 0.5 s"), ("exit 3", "ended with 3"), ("kill -9 $$", "ended with -9")],
)
async def test_a_tesseract_that_hangs_or_dies_costs_one_page(
    pages: PageRenderer, tmp_path: Path, reading: str, detail: str
):
    """The page counts as unread, its process is gone, the fax goes to people."""
    office = Office()
    item = office.receive(tiff(Image.new("1", (1728, 1100), 1)))
    await make_worker(office, pages, script(tmp_path / "tesseract", reading), page_timeout_s=0.5).handle([item])
    assert (office.of(item).accepted, detail in office.of(item).detail) == (False, True)


async def test_without_tesseract_everything_goes_to_people(pages: PageRenderer, tmp_path: Path):
    """Not installed, without our languages, or switched off: at once, with what to do; it may be installed later."""
    office = Office()
    first, second, third = (office.receive(b"%PDF-1.4 nothing") for _ in range(3))
    command = tmp_path / "tesseract"
    worker = make_worker(office, pages, command)
    await worker.handle([first])
    assert "install tesseract-ocr" in office.of(first).detail
    assert office.of(first).confidence is None
    script(command, "exit 3")
    worker._look_again_at = 0.0
    await worker.handle([second])
    assert "cannot be opened" in office.of(second).detail
    await make_worker(office, pages, command, enabled=False).handle([third])
    assert "switched off" in office.of(third).detail
    assert not any(found.accepted for found in office.done.values())


async def test_doctor_is_told_what_is_there(tesseract_path: Path, tmp_path: Path):
    """Found with its languages; one language missing; none of them; not there at all; switched off."""

    async def doctor(**settings: object) -> tuple[bool, str]:
        return await describe_tesseract(RecognitionSettings.model_validate(settings))

    ok, said = await doctor(command=str(tesseract_path))
    assert ok
    assert "rus, eng" in said
    english_only = str(script(tmp_path / "tesseract", "exit 0"))
    assert await doctor(command=english_only) == (False, "Tesseract 5.3.0 has no data for rus: install them")
    assert "none of the languages" in (await doctor(command=english_only, languages=["rus"]))[1]
    assert not (await doctor(command=str(tmp_path / "nothing")))[0]
    assert (await doctor(enabled=False))[0]


async def test_a_cancelled_page_leaves_no_process(tmp_path: Path):
    """The daemon stops in the middle of a page: the program is ended with it."""
    marker = tmp_path / "pid"
    program = script(tmp_path / "tesseract", f"echo $$ > {marker}; exec sleep 60")
    reading = asyncio.create_task(
        Tesseract(command=str(program), languages=["eng"], page_timeout_s=60).read(b"", dpi=300)
    )
    while not marker.exists() or not marker.read_text():
        await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not Path(f"/proc/{marker.read_text().strip()}").exists()
